"""The journal: what was acknowledged is read back, once and in order, whatever happens to the file."""

import json
import math
import os
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from tests.support.systems import posix
from tracking_hooks.events import Checkpoint, ConfusionMatrix, Curve, Stop
from tracking_hooks.run.encoding import plain
from tracking_hooks.run.journal import EVENTS, FORMAT, Call, Head, Journal, JournalError, read, read_head
from tracking_hooks.run.lines import seal
from tracking_hooks.run.story import reopen
from tracking_hooks.testing import recorded_run, sample_run


def head(**changes):
    return Head(**{"format": FORMAT, "created": 1.0, "run": sample_run(Path("/train")), "plugins": {}, **changes})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


@pytest.fixture
def log(path):
    return Journal.create(path, head())


def write_five(log):
    for step in range(5):
        log.append("on_log", 1.0, {"metrics": {}, "step": step})


def entries(path):
    return list(read(path, read_head(path)[1]))


def steps(path):
    return [entry.call.args["step"] for entry in entries(path) if not entry.damage]


def damages(path):
    return [entry.damage for entry in entries(path) if entry.damage]


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


# -- values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, -0.0, 1e300, 5e-324, 0.1 + 0.2, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("where", ["metrics", "per_class", "curves", "confusion_matrix"])
def test_every_float_comes_back_wherever_it_stands(log, path, value, where):
    args = {
        "metrics": {"a": value},
        "per_class": {"square": {"a": value}},
        "curves": [Curve(name="PR", x_label="", y_label="", x=[value], y={"square": [value]})],
        "confusion_matrix": ConfusionMatrix(labels=["square"], matrix=[[value]]),
    }
    empty = {"metrics": {}, "per_class": None, "curves": [], "confusion_matrix": None}
    checkpoint = Checkpoint(path=Path("best.pt"), kind="best")
    log.append("on_final_validation", 1.0, {**empty, where: args[where], "checkpoint": checkpoint})
    (entry,) = entries(path)
    assert entry.damage == ""
    assert repr(entry.call.args[where]) == repr(args[where])


@pytest.mark.parametrize("value", [None, True, 7, 10**18, "null", "NaN", "größer\n\"'\0", [1, None], {"a": {"b": []}}])
def test_every_kind_of_parameter_comes_back(log, path, value):
    log.append("on_run_start", 1.0, {"params": {"x": value}, "environment": None, "resumed": False})
    (entry,) = entries(path)
    assert entry.call.args["params"] == {"x": value}


def test_a_parameter_that_is_not_finite_leaves_its_event_readable(log, path):
    log.append("on_run_start", 1.0, {"params": {"lr": math.inf}, "environment": None, "resumed": False})
    (entry,) = entries(path)
    assert entry.damage == ""


def test_a_name_that_is_no_utf_8_does_not_cost_the_event(log, path):
    name, spelled = "caf\udce9", "caf?"
    log.append("on_log", 1.0, {"metrics": {name: 0.5, "nan": math.nan}, "step": 1})
    log.append("on_validation_end", 1.0, {"epoch": 1, "attempt": 1, "metrics": {}, "per_class": {name: {name: 0.5}}})
    first, second = (entry.call.args for entry in entries(path))
    assert first["metrics"][spelled] == 0.5
    assert math.isnan(first["metrics"]["nan"])
    assert second["per_class"] == {spelled: {spelled: 0.5}}


def test_a_save_dir_that_is_no_utf_8_has_a_journal(path):
    log = Journal.create(path, head(run=sample_run(Path("/project/caf\udce9"))))
    write_five(log)
    assert read_head(path)[0].run.save_dir == Path("/project/caf?")
    assert steps(path) == [0, 1, 2, 3, 4]


def test_paths_and_numpy_scalars_are_written_as_plain_values(log, path):
    numpy = pytest.importorskip("numpy")
    log.append("on_log", 1.0, {"metrics": {"a": numpy.float32(0.5), "b": numpy.int64(3)}, "step": numpy.int32(2)})
    log.append("on_run_start", 1.0, {"params": {"data": Path("/a/b.yaml")}, "environment": None, "resumed": False})
    first, second = (entry.call.args for entry in entries(path))
    assert first == {"metrics": {"a": 0.5, "b": 3.0}, "step": 2}
    assert second["params"] == {"data": "/a/b.yaml"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "NaN"),
        ({"a": [math.inf, (-math.inf, 0.5)]}, {"a": ["Infinity", ["-Infinity", 0.5]]}),
        (Path("/a/b"), "/a/b"),
        ({Path("/a"): 1, 2: True}, {"/a": 1, "2": True}),
        ("caf\udce9", "caf?"),
        (None, None),
        (Stop(reason="enough"), {"type": "stop", "reason": "enough"}),
        (Curve(name="PR", x_label="", y_label="", x=[math.nan], y={}),
         {"name": "PR", "x_label": "", "y_label": "", "x": ["NaN"], "y": {}}),
        (complex(1, 2), "(1+2j)"),
    ],
)  # fmt: skip
def test_any_argument_has_a_form_as_plain_json(value, expected):
    found = plain({"x": value})
    assert found == {"x": expected}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_an_argument_as_plain_json_is_what_its_line_says(log, path, tmp_path):
    calls = recorded_run(tmp_path / "train")
    for call in calls:
        log.append(call.hook, call.time, call.args)
    for call, line in zip(calls, lines(path)[1:], strict=True):
        args = {name: value for name, value in plain(call.args).items() if value is not None}
        assert json.loads(line)["args"] == args


# -- the file -------------------------------------------------------------------------------------------------


def test_the_journal_is_for_its_owner_only(path):
    before = os.umask(0)
    try:
        Journal.create(path, head())
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_each_line_is_json_with_the_checksum_as_its_last_key(log, path):
    write_five(log)
    for line in lines(path):
        assert list(json.loads(line))[-1] == "crc"


def test_reading_goes_on_where_it_stopped(log, path):
    write_five(log)
    _, offset = read_head(path)
    seen = []
    while piece := list(read(path, offset, max_calls=2)):
        assert len(piece) <= 2
        seen += [entry.call.seq for entry in piece]
        offset = piece[-1].end
    assert seen == [1, 2, 3, 4, 5]
    assert offset == path.stat().st_size


def test_a_read_is_bounded_in_bytes_but_gets_on(log, path):
    write_five(log)
    assert len(list(read(path, read_head(path)[1], max_bytes=1))) == 1


def test_threads_append_whole_lines_under_rising_numbers(log, path):
    given = []

    def work(name):
        given.extend(
            [log.append("on_log", 1.0, {"metrics": {f"m{name}": 0.5} | {"x": 1.0}, "step": i}) for i in range(50)]
        )

    threads = [threading.Thread(target=work, args=[name]) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given) == list(range(1, 401))
    assert [entry.call.seq for entry in entries(path)] == list(range(1, 401))


def test_a_closed_journal_does_not_write_into_a_file_that_was_opened_since(log, path, tmp_path):
    fd = log._fd
    log.close()
    with (tmp_path / "weights.pt").open("wb") as other:
        assert other.fileno() == fd, "the system gives the lowest free number"
        with pytest.raises((OSError, ValueError)):
            log.append("on_log", 1.0, {"metrics": {}, "step": 1})
    assert (tmp_path / "weights.pt").read_bytes() == b""


@posix("limit for the size of files")
def test_what_did_not_fit_on_the_disk_spoils_nothing_that_comes_later(path, python):
    done = python(
        """
        import resource, sys
        from pathlib import Path
        from tracking_hooks.run.journal import FORMAT, Head, Journal
        from tracking_hooks.testing import sample_run

        path = Path(sys.argv[1])
        log = Journal.create(path, Head(format=FORMAT, created=1.0, run=sample_run(path), plugins={}))
        log.append("on_log", 1.0, {"metrics": {}, "step": 0})
        room = path.stat().st_size + 20
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        for step in (1, 2):
            try:
                log.append("on_log", 1.0, {"metrics": {}, "step": step})
            except OSError:
                print("refused")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print("acknowledged", log.append("on_log", 1.0, {"metrics": {}, "step": 3}))
        """,
        path,
    )
    assert done.stdout.count("refused") == 2
    assert "acknowledged" in done.stdout
    assert steps(path) == [0, 3]


# -- damage ---------------------------------------------------------------------------------------------------


def test_a_torn_tail_is_not_read_yet(log, path):
    write_five(log)
    path.write_bytes(path.read_bytes()[:-3])
    assert steps(path) == [0, 1, 2, 3]
    assert damages(path) == []


def test_behind_a_torn_tail_the_journal_goes_on(log, path):
    write_five(log)
    path.write_bytes(path.read_bytes()[:-3])
    log = reopen(path)[0]
    write_five(log)
    assert steps(path) == [0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert len(damages(path)) == 1


def test_a_line_that_only_lacks_its_newline_keeps_its_number_to_itself(log, path):
    write_five(log)
    path.write_bytes(path.read_bytes()[:-1])
    write_five(reopen(path)[0])
    numbers = [entry.call.seq for entry in entries(path) if entry.call]
    assert numbers == sorted(set(numbers))


def test_the_number_of_a_damaged_last_line_is_not_given_again(log, path):
    write_five(log)
    path.write_bytes(path.read_bytes()[:-8] + b"XXXXXXX\n")
    assert reopen(path)[0].append("on_log", 1.0, {"metrics": {}, "step": 9}) > 5


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda line: b"\0" * (len(line) - 1) + b"\n", id="NUL bytes"),
        pytest.param(lambda line: b"garbage\xff\xfe\n", id="garbage"),
        pytest.param(lambda line: b"{}\n", id="another JSON object"),
        pytest.param(lambda line: line.replace(b'"step":3', b'"step":7'), id="a changed number"),
        pytest.param(lambda line: line[:-4] + bytes([line[-4] ^ 1]) + line[-3:], id="a changed checksum"),
        pytest.param(lambda line: line[:20] + b"\n" + line[20:], id="a newline in the middle"),
    ],
)
def test_a_damaged_line_is_reported_and_the_others_are_read(log, path, damage):
    write_five(log)
    whole = lines(path)
    path.write_bytes(b"".join([*whole[:4], damage(whole[4]), *whole[5:]]))
    assert steps(path) == [0, 1, 2, 4]
    assert damages(path)
    assert all(damages(path))


def test_an_unknown_hook_is_reported_and_the_others_are_read(log, path):
    log.append("on_hyperspace", 1.0, {"speed": 9})
    write_five(log)
    assert steps(path) == [0, 1, 2, 3, 4]
    (damage,) = damages(path)
    assert "'on_hyperspace'" in damage
    assert "newer tracking-hooks" in damage


def test_what_an_unknown_hook_was_given_is_read_as_plain_json(log, path):
    given = {
        "speed": math.nan,
        "path": Path("/a"),
        "checkpoint": Checkpoint(path=Path("/b"), kind="best"),
        "none": None,
    }
    log.append("on_hyperspace", 1.5, given)
    (entry,) = entries(path)
    checkpoint = {"path": "/b", "kind": "best", "size": None, "digest": None}
    assert entry.call == Call(1, 1.5, "on_hyperspace", {"speed": "NaN", "path": "/a", "checkpoint": checkpoint})
    (entry,) = read(path, read_head(path)[1], only={"on_log"})
    assert entry.call == Call(1, 1.5, "on_hyperspace", {})


def test_an_unknown_hook_that_was_given_no_arguments_is_damaged(log, path):
    line = b'{"seq":1,"time":1.0,"hook":"on_hyperspace","args":[1]}'
    with path.open("ab") as file:
        file.write(seal(line))
    (entry,) = entries(path)
    assert entry.call is None
    assert "unreadable line" in entry.damage


@pytest.mark.parametrize(
    ("hook", "args", "word"),
    [
        ("on_checkpoint_saved", {"epoch": 1, "checkpoint": {"path": "a.pt", "kind": "averaged"}}, "averaged"),
        (
            "on_artifact",
            {"artifact": {"path": "a", "kind": "hologram", "name": "a", "size": 1, "digest": ""}},
            "hologram",
        ),
        ("on_action", {"action": {"type": "dance", "reason": "joy"}, "plugin": "mine", "outcome": "done"}, "dance"),
        ("on_run_end", {"status": "paused"}, "paused"),
    ],
)
def test_an_unknown_word_is_reported_and_takes_its_own_line_only(log, path, hook, args, word):
    log.append("on_log", 1.0, {"metrics": {}, "step": 1})
    log.append(hook, 1.0, args)
    log.append("on_log", 1.0, {"metrics": {}, "step": 2})
    assert steps(path) == [1, 2]
    (damage,) = damages(path)
    assert word in damage


def test_an_unknown_field_is_passed_over_wherever_it_stands(log, path):
    checkpoint = {"path": "a.pt", "kind": "last", "mood": {"calm": [1]}}
    log.append("on_checkpoint_saved", 1.0, {"epoch": 1, "checkpoint": checkpoint, "colour": "red"})
    (entry,) = entries(path)
    assert entry.call.args == {"epoch": 1, "checkpoint": Checkpoint(path=Path("a.pt"), kind="last")}
    line = msgspec.json.decode(lines(path)[0])
    line["run"]["mood"] = line["mood"] = "calm"
    path.write_bytes(seal(msgspec.json.encode({name: value for name, value in line.items() if name != "crc"})))
    assert read_head(path)[0] == head()


def test_no_line_calls_what_is_not_an_event(log, path):
    names = ["open", "on_event", "flush", "poll", "__init__", "__class__"]
    for name in names:
        log.append(name, 1.0, {})
    assert [entry.call.hook for entry in entries(path)] == names
    assert not EVENTS & set(names)
    assert all("unknown hook" in entry.damage for entry in entries(path))


def test_a_line_of_an_older_or_newer_version_may_lack_or_add_parameters(log, path):
    log.append("on_log", 1.0, {"metrics": {"a": 1.0}, "colour": "red"})
    (entry,) = entries(path)
    assert entry.call.args == {"metrics": {"a": 1.0}, "step": None}


def test_a_newer_format_is_refused_in_a_sentence(path):
    Journal.create(path, head(format=FORMAT + 1)).close()
    with pytest.raises(JournalError, match="written by a newer tracking-hooks: upgrade it") as caught:
        read_head(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"{}\n", b"\0" * 300])
def test_what_is_no_journal_is_refused_in_a_sentence(path, content):
    path.write_bytes(content)
    with pytest.raises(JournalError, match="does not begin like a journal") as caught:
        read_head(path)
    assert str(path) in str(caught.value)


class AnyAccident(RuleBasedStateMachine):
    """Appends, kills in mid-write, damaged bytes, restarts, and reads from any place where a read has ended."""

    places = Bundle("places")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "journal.jsonl"
        self.log = Journal.create(self.path, head())
        self.start = self.path.stat().st_size
        self.acknowledged = []  # (number, where its line starts, the line)
        self.torn = set()  # numbers of lines that nobody was told of: they may be read, but need not

    def teardown(self):
        self.log.close()
        self.folder.cleanup()

    def _append(self, value):
        start = self.path.stat().st_size
        seq = self.log.append("on_log", 1.0, {"metrics": {"value": value}, "step": None})
        return seq, start, self.path.read_bytes()[start:]

    @rule(value=st.floats(allow_nan=False, allow_infinity=False))
    def append(self, value):
        self.acknowledged.append(self._append(value))

    @rule(value=st.integers(0, 9), data=st.data())
    def die_while_writing(self, value, data):
        seq, start, line = self._append(float(value))
        self.log.close()
        kept = data.draw(st.just(len(line) - 1) | st.integers(0, len(line) - 1))  # also: all but the newline
        os.truncate(self.path, start + kept)
        if self.path.stat().st_size == start + len(line) - 1:
            self.torn.add(seq)
        self.log = reopen(self.path)[0]

    @rule()
    def restart(self):
        self.log.close()
        self.log = reopen(self.path)[0]

    @precondition(lambda self: self.path.stat().st_size > self.start)
    @rule(data=st.data(), flip=st.integers(1, 255))
    def damage(self, data, flip):
        content = bytearray(self.path.read_bytes())
        content[data.draw(st.integers(self.start, len(content) - 1))] ^= flip
        with self.path.open("r+b") as file:
            file.write(content)

    @rule(target=places, max_calls=st.integers(1, 4))
    def read_some(self, max_calls):
        return self._check(self.start, max_calls)

    @rule(target=places, place=places, max_calls=st.integers(1, 4) | st.none())
    def read_on(self, place, max_calls):
        return self._check(place, max_calls)

    @invariant()
    def everything_is_read(self):
        self._check(self.start, None)

    def _check(self, place, max_calls):
        found = list(read(self.path, place, max_calls=max_calls))
        end = found[-1].end if found else place
        if max_calls is None:
            end = self.path.stat().st_size
        numbers = [entry.call.seq for entry in found if entry.call]
        assert numbers == sorted(set(numbers)), "read twice, or out of order"
        content = self.path.read_bytes()
        undamaged = {
            seq
            for seq, start, line in self.acknowledged
            if place <= start < end and content[start - 1 : start + len(line)] == b"\n" + line
        }
        assert undamaged <= set(numbers), "lost"
        assert set(numbers) <= {*(seq for seq, _, _ in self.acknowledged), *self.torn}, "invented"
        return found[-1].end if found else place


TestAnyAccident = AnyAccident.TestCase
TestAnyAccident.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, database=None, derandomize=True
)


def test_a_new_journal_does_not_go_into_that_of_another_run(log):
    before = log.path.read_bytes()
    with pytest.raises(FileExistsError, match="another run"):
        Journal.create(log.path, read_head(log.path)[0])
    assert log.path.read_bytes() == before
