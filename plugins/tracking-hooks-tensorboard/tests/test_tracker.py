"""The event file, read with TensorBoard's own reader."""

import copy
import math
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, TENSORS, EventAccumulator
from tensorboard.plugin_util import markdown_to_safe_html

from tests.support.classes import names, thousand
from tracking_hooks.delivery import relay
from tracking_hooks.delivery.spawn import DELIVERED
from tracking_hooks.events import Artifact, Error, Missing, Model, Origin, Rejected, SaveCheckpoint, Unavailable
from tracking_hooks.run.journal import Call
from tracking_hooks.settings import Settings
from tracking_hooks.testing import BATCHES, STARTED, play, recorded_addendum, recorded_run, sample_run
from tracking_hooks_tensorboard import texts as markdown
from tracking_hooks_tensorboard.eventfile import EventFile
from tracking_hooks_tensorboard.tracker import TensorBoardTracker
from tracking_hooks_tensorboard.values import scalars


def read(logdir: Path) -> EventAccumulator:
    return EventAccumulator(str(logdir), size_guidance={SCALARS: 0, IMAGES: 0, TENSORS: 0}).Reload()


def points(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(point.step, pytest.approx(point.value, abs=1e-6)) for point in events.Scalars(tag)]


def texts(events: EventAccumulator, tag: str) -> list[str]:
    return [event.tensor_proto.string_val[0].decode() for event in events.Tensors(tag)]


def content(logdir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in logdir.iterdir()}


RUN = sample_run(Path("/runs/train"))


def deliver(calls: list[Call], logdir: Path, tracker: TensorBoardTracker | None = None, **options):
    destination = {"logdir": str(logdir)}
    return play(tracker or TensorBoardTracker(), calls, run=RUN, destination=destination, **options)


def event_file(logdir: Path) -> Path:
    (path,) = logdir.iterdir()
    return path


def again(calls: list[Call], *, epoch: int) -> list[Call]:
    """Return what a run adds that is resumed at the given epoch; those that were settled are not settled again."""
    start = next(i for i, c in enumerate(calls) if c.hook == "on_epoch_start" and c.args["epoch"] == epoch)
    resume = Call(0, 0, "on_run_start", {**calls[0].args, "resumed": True})
    rest = [call for call in calls[start:] if call.hook != "on_epoch_end"]
    return [Call(1000 + i, STARTED + 1000 + i, call.hook, call.args) for i, call in enumerate([resume, *rest])]


@pytest.fixture
def calls(tmp_path, recorded) -> list[Call]:
    return recorded(tmp_path / "run")


@pytest.fixture
def logdir(tmp_path) -> Path:
    return tmp_path / "tb"


def test_every_value_of_every_epoch_is_there_once(calls, logdir):
    deliver(calls, logdir)
    events = read(logdir)
    epochs = [call for call in calls if call.hook == "on_epoch_end"]
    assert [call.args["epoch"] for call in epochs] == [1, 2, 3]
    for tag in epochs[0].args["metrics"]:
        points = events.Scalars("metrics/fitness" if tag == "fitness" else tag)
        assert [(p.step, p.wall_time) for p in points] == [(c.args["epoch"], c.time) for c in epochs]
        expected = [c.args["metrics"][tag] for c in epochs]
        assert [p.value for p in points] == pytest.approx(expected, nan_ok=True)


def test_curves_over_epochs_batches_and_seconds_have_their_own_steps(calls, logdir):
    deliver(calls, logdir)
    events = read(logdir)
    assert [p.step for p in events.Scalars("train_batch/box_loss")] == [BATCHES, 2 * BATCHES, 3 * BATCHES]
    systems = [call for call in calls if call.hook == "on_system_metrics"]
    assert [p.step for p in events.Scalars("system/cpu_percent")] == [c.time - STARTED for c in systems]


def test_time_series_opens_curves_over_epochs(calls, logdir, tmp_path):
    deliver([*calls[:-1], *recorded_addendum(tmp_path / "run"), calls[-1]], logdir)
    tags = read(logdir).Tags()
    groups = sorted({tag.partition("/")[0] for kind in ("scalars", "images", "histograms") for tag in tags[kind]})
    assert groups[:2] == ["lr", "metrics"]  # TensorBoard's page opens the first two


def test_the_first_text_is_what_the_run_has_come_to(calls, logdir):
    deliver(calls, logdir)
    events = read(logdir)
    own = [tag for tag in events.Tags()["tensors"] if tag[0].isalpha() and not tag.startswith("custom_scalars")]
    assert min(own) == "Result"
    (result,) = texts(events, "Result")
    for line in (
        "| status | finished |",
        "| epochs | 3 |",
        "| figures of | best.pt |",
        "| metrics/mAP50(B) | 0.91 |",
    ):
        assert line in result


def test_without_a_final_validation_the_result_is_that_of_the_last_epoch(calls, logdir):
    rest = [call for call in calls if call.hook not in ("on_final_validation", "on_run_end")]
    error = Error(type="ValueError", message="boom", traceback="")
    end = Call(999, STARTED + 999, "on_run_end", {"status": "failed", "error": error})
    state = deliver(rest, logdir)
    deliver([end], logdir, state=state, before=rest)  # by another relay
    (result,) = texts(read(logdir), "Result")
    for line in ("| status | failed |", "| error | ValueError: boom |", "| figures of | epoch 3 |"):
        assert line in result
    assert "| metrics/fitness | 0.575 |" in result


def test_of_1000_classes_20_have_curves_and_the_table_has_all(logdir, tmp_path):
    folder = thousand(tmp_path / "run", {"tensorboard": {"logdir": str(logdir)}})
    assert relay.Relay(folder, "tensorboard", Settings(), drain=True).run() == DELIVERED
    events = read(logdir)
    curves = {tag.split("/")[1] for tag in events.Tags()["scalars"] if tag.startswith("per_class/")}
    assert len(curves) == 20
    assert {"class 3", "class 5"} <= curves
    assert {tag.split("/")[1] for tag in events.Tags()["tensors"] if tag.startswith("pr_curves(B)/")} == curves
    assert texts(events, "best/per_class")[0].count("| class ") == 1001


def test_a_clock_set_back_does_not_fold_the_system_curve(logdir, tmp_path):
    calls = [
        Call(seq, STARTED + offset, "on_system_metrics", {"metrics": {"system/cpu_percent": float(offset)}})
        for seq, offset in enumerate([0, 10, 4, 5, 30])
    ]
    deliver(calls, logdir)
    assert points(read(logdir), "system/cpu_percent") == [(0, 0), (10, 10), (11, 4), (12, 5), (30, 30)]


def test_the_best_checkpoint_stands_beside_the_curves(calls, logdir):
    deliver(calls, logdir)
    events = read(logdir)
    assert points(events, "validation/best/metrics/mAP50(B)") == [(3, 0.91)]
    assert len(events.Scalars("metrics/mAP50(B)")) == 3
    assert "| square | 0.95 |" in texts(events, "best/per_class")[0]


def test_values_that_are_not_finite_are_shown_as_they_are(calls, logdir):
    log = Call(999, STARTED + 999, "on_log", {"metrics": {"up": math.inf, "down": -math.inf}, "step": 7})
    deliver([*calls, log], logdir)
    events = read(logdir)
    assert math.isnan(events.Scalars("val/box_loss")[0].value)
    assert points(events, "up") == [(7, math.inf)]
    assert points(events, "down") == [(7, -math.inf)]


def test_what_the_user_logs_without_a_step_stands_at_its_number(logdir, tmp_path):
    calls = [Call(seq, STARTED, "on_log", {"metrics": {"mine": 1.0}, "step": None}) for seq in (4, 9)]
    deliver(calls, logdir)
    assert points(read(logdir), "mine") == [(4, 1), (9, 1)]


def test_the_environment_names_the_group_and_the_run_whose_weights_it_started_from(calls, logdir):
    origin = Origin(uid="first", name="train", checkpoint="best.pt")
    run = replace(RUN, group="5-fold", parent="above", started_from=origin)
    play(TensorBoardTracker(), calls, run=run, destination={"logdir": str(logdir)})
    (environment,) = texts(read(logdir), "environment")
    for line in (
        "| in the group of run | above |",
        "| group | 5-fold |",
        "| started from | best.pt of train, run first |",
    ):
        assert line in environment


@pytest.mark.parametrize(
    ("dirty", "said"), [(True, "ff (with uncommitted changes)"), (False, "ff |"), (None, "ff (whether there are")]
)
def test_what_git_does_not_say_of_changes_is_not_made_up(calls, logdir, dirty, said):
    environment = calls[0].args["environment"]
    calls[0].args["environment"] = replace(environment, git=replace(environment.git, dirty=dirty))
    deliver(calls, logdir)
    assert said in texts(read(logdir), "environment")[0]


def test_texts_can_be_read(calls, logdir):
    calls[0].args["params"] |= {"name": "a|b\nc", "close_mosaic": 10, "tag": "__*<b>*__", "freeze": [0, 1]}
    deliver(calls, logdir)
    events = read(logdir)
    (params,) = texts(events, "params")
    assert "| epochs | 3 |" in params
    assert "| close_mosaic | 10 |" in params
    shown = markdown_to_safe_html(params)
    assert "<td>a|b<br>c</td>" in shown
    assert "<td>__*&lt;b&gt;*__</td>" in shown
    assert "<td>[0, 1]</td>" in shown
    assert shown.count("<tr>") == 1 + len(calls[0].args["params"])
    (environment,) = texts(events, "environment")
    for part in ("yolo train model=yolo26n.yaml", "8.4.190", "c0ffee", "uncommitted", RUN.uid):
        assert part in environment
    assert "| parameters | 2,500,000 |" in texts(events, "model")[0]
    assert "| images | 32 | 8 |" in texts(events, "dataset")[0]
    assert "| circle | 24 | 24 |" in texts(events, "dataset")[0]
    assert texts(events, "status") == ["finished"]
    assert "error" not in events.Tags()["tensors"]


def test_a_failed_run_shows_its_traceback(tmp_path, logdir):
    *calls, end = recorded_run(tmp_path / "run", status="failed")
    error = Error(type="ValueError", message="boom", traceback='File "a.py"\n  x = *y\n\nValueError: boom\n')
    end = Call(end.seq, end.time, end.hook, {"status": "failed", "error": error})
    deliver([*calls, end], logdir)
    events = read(logdir)
    assert texts(events, "status") == ["failed"]
    assert [event.step for event in events.Tensors("status")] == [2]  # the third epoch was not settled
    shown = markdown_to_safe_html(texts(events, "error")[0])
    assert shown.startswith("<pre><code>ValueError: boom\n")
    assert "  x = *y\n\nValueError: boom" in shown


def test_actions_are_shown(calls, logdir):
    args = {"action": SaveCheckpoint(name="good", reason="mAP | up"), "plugin": "keeper", "outcome": "done"}
    deliver([*calls, Call(999, STARTED + 999, "on_action", args)], logdir)
    (action,) = texts(read(logdir), "actions")
    assert "mAP | up" in markdown_to_safe_html(action)
    assert "| keeper | done |" in action


def test_plots_are_shown_byte_for_byte(calls, logdir, tmp_path):
    deliver(calls, logdir)
    events = read(logdir)
    assert events.Tags()["images"] == ["plots/results"]
    (image,) = events.Images("plots/results")
    assert image.encoded_image_string == (tmp_path / "run/results.png").read_bytes()
    assert (image.width, image.height, image.step) == (1, 1, 3)


def test_a_picture_that_is_none_is_rejected(logdir, tmp_path):
    path = tmp_path / "labels.jpg"
    path.write_bytes(b"not a picture")
    artifact = Artifact(path=path, kind="plot", name="labels.jpg", size=13, digest="")
    with pytest.raises(Rejected, match=r"labels\.jpg cannot be shown: it is neither a PNG nor a JPEG pic.*\.$"):
        deliver([Call(1, STARTED, "on_artifact", {"artifact": artifact})], logdir)


def test_other_files_are_left_alone(logdir, tmp_path):
    for name, kind in [("a.png", "file"), ("a.pdf", "plot"), ("a.log", "file")]:
        artifact = Artifact(path=tmp_path / name, kind=kind, name=name, size=1, digest="")
        deliver([Call(1, STARTED, "on_artifact", {"artifact": artifact})], logdir)
    assert event_file(logdir).read_bytes() == b""


@pytest.mark.parametrize("resumed", [False, True])
def test_a_crash_at_any_call_leaves_no_trace(tmp_path, resumed, recorded):
    calls = recorded(tmp_path / "run", epochs=2)
    begin = 0
    if resumed:
        begin = len(calls) - 1  # what comes before is the other case
        calls += again(calls, epoch=2)
    expected_state = deliver(calls, tmp_path / "undisturbed")
    expected = content(tmp_path / "undisturbed")

    for first in range(begin, len(calls)):
        for lost in range(1, len(calls) - first + 1):
            logdir, before = tmp_path / f"{first}-{lost}", calls[:first]
            state = deliver(before, logdir) if first else {}
            deliver(calls[first : first + lost], logdir, state=copy.deepcopy(state), before=before, flush=False)
            if logdir.exists():
                with event_file(logdir).open("ab") as file:
                    file.write(b"a torn record")
            state = deliver(calls[first:], logdir, state=state, before=before)
            assert content(logdir) == expected, (first, lost)
            assert state["size"] == expected_state["size"]


def test_a_replay_gives_what_the_live_run_gave(calls, tmp_path):
    tracker, state = TensorBoardTracker(), {}
    for index, call in enumerate(calls):  # live: flushed after each call
        deliver([call], tmp_path / "live", tracker, state=state, before=calls[:index])
    deliver(calls, tmp_path / "replayed")
    assert content(tmp_path / "live") == content(tmp_path / "replayed")


def test_a_replay_into_the_same_folder_begins_the_file_again(calls, logdir, monkeypatch):
    deliver(calls, logdir)
    before = content(logdir)
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    deliver(calls, logdir)
    assert content(logdir) == before


def resumed_in_the_third_epoch(folder: Path) -> tuple[list[Call], list[Call]]:
    """Return the two parts of a run: until it was killed in its third epoch, and from there on."""
    before, whole = recorded_run(folder, status="killed"), recorded_run(folder)
    settled = {call.args["epoch"] for call in before if call.hook == "on_epoch_end"}
    start = next(i for i, c in enumerate(whole) if c.hook == "on_epoch_start" and c.args["epoch"] == 3)
    rest = [c for c in whole[start:] if c.hook != "on_epoch_end" or c.args["epoch"] not in settled]
    resume = Call(0, 0, "on_run_start", {**whole[0].args, "resumed": True})
    return before, [Call(1000 + i, STARTED + 1000 + i, c.hook, c.args) for i, c in enumerate([resume, *rest])]


def test_a_resumed_run_keeps_all_points_and_shows_each_epoch_once(tmp_path, logdir):
    before, after = resumed_in_the_third_epoch(tmp_path / "run")
    deliver(after, logdir, state=deliver(before, logdir), before=before)
    events = read(logdir)
    assert [p.step for p in events.Scalars("train/box_loss")] == [1, 2, 3]
    assert [p.step for p in events.Scalars("train_batch/box_loss")] == [4, 8, 12, 12]
    assert len(events.Scalars("system/cpu_percent")) == 3
    assert texts(events, "status") == ["killed", "finished"]


def test_a_run_that_is_resumed_on_another_machine_goes_on_beside_the_file_that_was_copied_there(tmp_path, logdir):
    before, after = resumed_in_the_third_epoch(tmp_path / "run")
    deliver(before, logdir)
    copied = event_file(logdir).read_bytes()
    deliver(after, logdir)  # without the state, which stayed behind
    first, _second = sorted(logdir.iterdir())
    assert first.read_bytes() == copied
    assert [p.step for p in read(logdir).Scalars("train/box_loss")] == [1, 2, 3]


def test_points_that_the_script_writes_into_the_same_folder_stay(calls, logdir):
    """With a ``SummaryWriter`` of its own, made before the training has begun or while it runs."""
    logdir.mkdir()
    for number, name in enumerate(["1000000000.host.1.0", "9000000000.host.1.1"]):
        theirs = EventFile(logdir / f"events.out.tfevents.{name}", 0)
        theirs.path.touch()
        for step in (1, 2, 3, 4):
            theirs.append(STARTED - 100 + step, step, scalars({f"mine/{number}": 9.0}))
        theirs.write()
    deliver(calls, logdir)
    events = read(logdir)
    for number in (0, 1):
        assert points(events, f"mine/{number}") == [(1, 9), (2, 9), (3, 9), (4, 9)]
    assert [p.step for p in events.Scalars("train/box_loss")] == [1, 2, 3]


def test_the_folder_may_have_any_name(tmp_path):
    calls = recorded_run(tmp_path / "Läufe und 列車" / "train 2")
    logdir = tmp_path / "Läufe und 列車" / "tb [1] #"
    state = deliver(calls[:5], logdir)
    deliver(calls[5:], logdir, state=state, before=calls[:5])
    deliver(calls, logdir)  # finds the file again
    assert len(read(logdir).Scalars("train/box_loss")) == 3


def test_a_file_that_vanished_is_an_error_at_once(calls, logdir):
    tracker = TensorBoardTracker()
    state = deliver(calls[:5], logdir, tracker)
    event_file(logdir).unlink()
    with pytest.raises(FileNotFoundError):
        deliver(calls[5:], logdir, tracker, state=copy.deepcopy(state))
    with pytest.raises(FileNotFoundError):
        deliver(calls[5:], logdir, state=state)
    assert not list(logdir.iterdir())


def test_no_other_file_is_written_to_than_the_runs_own(calls, logdir):
    state = deliver(calls[:5], logdir)
    theirs = logdir / "events.out.tfevents.1760000000.host.another-run"
    theirs.write_bytes(b"theirs")
    with pytest.raises(Unavailable, match=f"{theirs.name} is not an event file of this run"):
        deliver(calls[5:], logdir, state=state | {"file": str(theirs), "size": 0})
    assert theirs.read_bytes() == b"theirs"


def test_where_the_file_was_made_it_is_found_before_anything_was_flushed(calls, logdir):
    state = deliver(calls[:1], logdir, flush=False)
    assert (Path(state["file"]), state["size"]) == (event_file(logdir), 0)
    deliver(calls, logdir, state=state)
    assert len(read(logdir).Scalars("train/box_loss")) == 3


def test_a_file_that_lost_data_is_not_written_to(calls, logdir):
    state = deliver(calls[:5], logdir)
    event_file(logdir).write_bytes(b"short")
    with pytest.raises(Unavailable, match="has lost data: it holds 5 of"):
        deliver(calls[5:], logdir, state=state)
    assert event_file(logdir).read_bytes() == b"short"


def test_a_folder_that_cannot_be_made_is_an_error(calls, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        deliver(calls, tmp_path / "file/tb")


def test_the_relay_imports_no_torch_no_tensorflow_and_no_clients_of_clouds():
    code = "import sys, tracking_hooks_tensorboard.tracker as t; t.TensorBoardTracker(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    modules = set(done.stdout.split())
    assert "tensorboard.compat.proto.event_pb2" in modules
    assert not modules & {"torch", "tensorflow", "ultralytics", "grpc", "PIL", "boto3", "fsspec", "numpy"}


# -- what is missing --------------------------------------------------------------------------------------------

PLOT = Missing(hook="on_artifact", name="results.png", reason="it is gone", first=30, last=30)


def test_what_is_missing_is_a_text_and_a_second_one_when_it_is_delivered_later(calls, tmp_path):
    logdir = tmp_path / "logdir"
    state = deliver(calls, logdir, missing=[PLOT])
    for missing in ([PLOT], [], []):  # after a crash, it comes again
        deliver([], logdir, state=state, before=calls, missing=missing)
    first, second = texts(read(logdir), "incomplete")
    assert "event 30, on_artifact results.png: it is gone" in first
    assert second.startswith("Complete")
    assert state["size"] == event_file(logdir).stat().st_size


def test_of_a_whole_run_nothing_is_said_to_be_missing(calls, tmp_path):
    deliver(calls, tmp_path / "logdir")
    assert "incomplete" not in read(tmp_path / "logdir").Tags()["tensors"]


@pytest.mark.parametrize(("count", "shown"), [(2, "class 0, class 1"), (1000, "1,000: see the data set")])
def test_a_model_names_its_classes_unless_they_are_too_many_for_a_cell(count, shown):
    classes = dict(enumerate(names(count)))
    model = Model(name="m", task="detect", parameters=1, gradients=1, layers=1, gflops=None, classes=classes)
    assert f"| classes | {shown} |" in markdown.model(model)


def test_runs_that_are_delivered_late_into_one_folder_are_shown_beside_each_other(logdir, tmp_path):
    """Neither had a file when the other one was recorded: both were recorded offline."""
    calls = recorded_run(tmp_path / "run")
    first, second = (replace(RUN, uid=f"20251009-08532{number}-0000000{number}") for number in (1, 2))

    def deliver_to(run, calls, **options):
        return play(TensorBoardTracker(), calls, run=run, destination={"logdir": str(logdir)}, **options)

    deliver_to(first, calls)
    state = deliver_to(second, calls[:9])
    deliver_to(second, calls[9:], state=state, before=calls[:9])
    addendum = replace(second, addendum="20251009-095320-00000003")
    deliver_to(addendum, recorded_addendum(tmp_path / "run"))
    for folder in (logdir, logdir / second.uid):
        assert [p.step for p in read(folder).Scalars("train/box_loss")] == [1, 2, 3]
    assert "mine/score" not in read(logdir).Tags()["scalars"]
    assert len(read(logdir / second.uid).Scalars("mine/score")) == 1
