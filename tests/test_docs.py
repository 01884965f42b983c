"""The documents are true of the code."""

from __future__ import annotations

import ast
import copy
import importlib.util
import inspect
import io
import os
import re
import subprocess
import sys
import types
from importlib import import_module
from pathlib import Path

import pytest
from msgspec import Struct, structs

import tracking_hooks
from benchmarks.bounds import BOUNDS
from tracking_hooks import ConfigurationError, Rejected, Unavailable, events, plugins
from tracking_hooks.delivery import batches, disk, instance, patience, relay, spawn, worker
from tracking_hooks.delivery.batches import TRIES, Batches
from tracking_hooks.hookspecs import LifecycleSpecs
from tracking_hooks.markers import PROJECT, READER_GROUP, RULES_GROUP, TRAINER_GROUP
from tracking_hooks.recording import given, supervisor
from tracking_hooks.run.journal import COMMON, FORMAT, Head, Journal, read, read_head
from tracking_hooks.secretshapes import SHAPES
from tracking_hooks.settings import describe
from tracking_hooks.testing import KINDS, play, recorded_addendum, recorded_run, sample_addendum, sample_run
from tracking_hooks.testing.contract import Contract
from tracking_hooks.trainerspecs import TrainerSpecs
from tracking_hooks.userspecs import UserSpecs

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "docker/*.md", "plugins/*/README.md")
    for path in ROOT.glob(pattern)
)
WEBHOOK = ROOT / "examples/tracking-hooks-webhook"
PLANS = re.compile(
    r"""\b(?: yet | for\ now | so\ far | planned | to\ come | upcoming | coming\ soon | in\ (?:the|a)\ future | TODO
    | not\ implemented | nothing\ (?:records|calls|uses)\ it | will\ be\ (?:added|supported|possible|available) )\b""",
    re.IGNORECASE | re.VERBOSE,
)
"""Words of a plan. Documents describe what exists; a plan that was carried out leaves such words false."""


def text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text(document), re.MULTILINE | re.DOTALL)


def prose(document: str) -> str:
    return re.sub(r"^```.*?^```$", "", text(document), flags=re.MULTILINE | re.DOTALL)


def table(document: str, header: str) -> list[list[str]]:
    """The rows below a table's header line."""
    _, _, rest = text(document).partition(f"{header}\n")
    assert rest, f"{document} has no table {header}"
    rows = rest.split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def anchors(document: str) -> set[str]:
    """The fragments by which a host of Markdown links to headings."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def own_parameters(spec: object) -> list[str]:
    return [name for name in inspect.signature(spec).parameters if name not in COMMON]


HOOKS = {
    **{
        name: own_parameters(spec)
        for name, spec in {**vars(UserSpecs), **vars(LifecycleSpecs)}.items()
        if not name.startswith("_")
    },
    **{
        name: [p for p in inspect.signature(spec).parameters if p != "self"]
        for name, spec in vars(TrainerSpecs).items()
        if not name.startswith("_")
    },
}
STRUCTS = [
    name for name in events.__all__ if inspect.isclass(found := getattr(events, name)) and issubclass(found, Struct)
]


# -- docs/hooks.md --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_heading_with_its_exact_parameters(hook):
    heading = f"### {hook}({', '.join(HOOKS[hook])})"
    assert heading in text("docs/hooks.md").splitlines(), f"docs/hooks.md lacks the line: {heading}"


def test_no_hook_is_documented_that_does_not_exist():
    headings = re.findall(r"^### (\w+)\(", text("docs/hooks.md"), re.MULTILINE)
    assert sorted(headings) == sorted(HOOKS)
    lifecycle = [name for name in headings if name not in vars(UserSpecs)]
    assert lifecycle == [name for name in HOOKS if name in lifecycle], "they stand in the order of hookspecs.py"


@pytest.mark.parametrize("hook", [name for name in HOOKS if name.startswith("on_")])
def test_the_order_of_events_shows_every_hook(hook):
    (order,) = [block for block in blocks("docs/hooks.md", "python") if "on_run_start" in block]
    call = f"{hook}({', '.join(HOOKS[hook])})"
    aside = {"on_system_metrics", "on_console", "on_action", *vars(UserSpecs)}
    assert hook in aside or call in order, f"the order of events in docs/hooks.md lacks {call}"


@pytest.mark.parametrize("name", STRUCTS)
def test_every_field_that_a_hook_can_read_is_documented(name):
    _, _, section = text("docs/hooks.md").partition(f"### {name}\n")
    assert section, f"docs/hooks.md lacks the heading: ### {name}"
    fields = re.findall(r"^\| `(\w+)` \|", section.split("\n#")[0], re.MULTILINE)
    assert fields == [field.name for field in structs.fields(getattr(events, name))]


# -- docs/secrets.md ------------------------------------------------------------------------------------------


def test_the_table_of_secrets_is_that_of_the_code():
    rows = table("docs/secrets.md", "| Secret | What it looks like |")
    assert rows == [[shape.name, shape.form] for shape in SHAPES]


# -- docs/settings.md -----------------------------------------------------------------------------------------


def test_the_table_of_settings_is_the_one_in_the_code():
    described = [[f"`{name}`", f"`{default}`" if default else "", meaning] for name, default, meaning in describe()]
    assert table("docs/settings.md", "| Variable | Default | Meaning |") == described


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_variable_that_is_mentioned_exists(document):
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")]
    known = {name for name, _, _ in describe()}
    known |= set(re.findall(r"\bTRACKING_HOOKS_[A-Z_]+\b", "".join(path.read_text("utf-8") for path in sources)))
    assert set(re.findall(r"\bTRACKING_HOOKS(?:_[A-Z]+)*\b", text(document))) <= known


# -- docs/promises.md -----------------------------------------------------------------------------------------

SHOWN_BY = re.findall(r"^- `(.+)::(.+)`$", text("docs/promises.md"), re.MULTILINE)


@pytest.mark.parametrize(("file", "test"), SHOWN_BY)
def test_every_test_that_a_promise_names_exists(file, test):
    assert re.search(rf"^    def {test}\(|^def {test}\(", text(file), re.MULTILINE)


def test_every_promise_is_shown_by_tests():
    promises = re.split(r"^## (?=\d+\.)", text("docs/promises.md"), flags=re.MULTILINE)[1:]
    assert [int(promise.partition(".")[0]) for promise in promises] == list(range(1, 14))
    assert all(len(re.findall(r"^- `\S+::test_\w+`$", promise, re.MULTILINE)) > 1 for promise in promises)


def test_the_bounds_beside_the_promises_are_those_of_the_benchmarks():
    known = {bound.what: f"at {'least' if bound.is_least else 'most'} {bound.bound:g}" for bound in BOUNDS}
    header = "| Median | Bound | Measured | Holds |"
    found = {row[0]: row[2:] for row in table("docs/benchmarks.md", header)}
    rows = table("docs/promises.md", header)
    assert rows == [[what, known[what], *found.get(what, ["–", "not measured"])] for what, *_ in rows]


# -- words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_the_documents_tell_what_exists_and_no_plans(document):
    lines = enumerate(re.sub("`.*?`", "", text(document)).splitlines(), 1)  # messages are quoted as they are
    found = [f"{document}:{number}: {word}" for number, line in lines for word in PLANS.findall(line)]
    assert not found


@pytest.mark.parametrize("sentence", ["Rules are planned and not there.", "None for now.", "Nothing records it yet."])
def test_a_plan_is_recognised_by_its_words(sentence):
    assert PLANS.search(sentence)


def test_every_word_of_the_glossary_is_explained_once():
    rows = table("docs/glossary.md", "| Word | Meaning |")
    words = [word for row in rows for word in re.findall(r"\*\*`?(\w[\w -]*)`?\*\*", row[0])]
    assert len(words) == len(set(words)) > 10
    assert {"README.md", "docs/design.md"} <= {name for name in DOCUMENTS if "glossary.md)" in text(name)}


# -- commands and links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_images_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"[a-z]+://", target):
            continue
        path, _, fragment = target.partition("#")
        found = ((ROOT / document).parent / path).resolve() if path else ROOT / document
        assert found.exists(), f"{document} links to {target}, which does not exist"
        if fragment:
            assert fragment in anchors(found.relative_to(ROOT).as_posix()), f"{document} links to {target}"


# -- the examples ---------------------------------------------------------------------------------------------


def test_the_plugin_in_the_readme_is_the_example():
    assert text("examples/csv_tracker.py") in blocks("README.md", "python")


@pytest.fixture
def csv_tracker():
    spec = importlib.util.spec_from_file_location("csv_tracker", ROOT / "examples/csv_tracker.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CsvTracker


def test_the_plugin_in_the_readme_writes_every_metric_of_every_epoch(csv_tracker, tmp_path):
    calls, run = recorded_run(tmp_path / "train", epochs=3), sample_run(tmp_path / "train")
    state = play(csv_tracker(), calls, run)

    (path,) = tmp_path.glob("*.csv")
    header, *lines = path.read_text().splitlines()
    epochs = [call.args for call in calls if call.hook == "on_epoch_end"]
    assert header == "epoch,metric,value"
    assert lines == [f"{e['epoch']},{name},{value}" for e in epochs for name, value in e["metrics"].items()]
    assert state["url"] == path.as_uri()


def test_the_plugin_in_the_readme_writes_an_epoch_once_that_is_delivered_again(csv_tracker, tmp_path):
    calls, run = recorded_run(tmp_path / "train", epochs=3), sample_run(tmp_path / "train")
    last = max(index for index, call in enumerate(calls) if call.hook == "on_epoch_end")
    state = play(csv_tracker(), calls[:last], run)
    play(csv_tracker(), calls[last:], run, state=dict(state))
    (path,) = tmp_path.glob("*.csv")
    once = path.read_bytes()
    play(csv_tracker(), calls[last:], run, state=dict(state))
    assert path.read_bytes() == once


@pytest.mark.parametrize(
    ("language", "file"), [("toml", "pyproject.toml"), ("python", "src/tracking_hooks_webhook/__init__.py")]
)
def test_the_package_in_the_guide_is_the_example(language, file):
    assert (WEBHOOK / file).read_text() in blocks("docs/writing-a-plugin.md", language)


def test_the_test_in_the_guide_is_one_of_the_example():
    shown = blocks("docs/writing-a-plugin.md", "python")[-1]
    assert shown[shown.index("def test") :] in (WEBHOOK / "tests/test_webhook.py").read_text()


def test_a_sink_that_passes_everything_on_takes_fifteen_lines_and_puts_no_secret_into_a_destination():
    source = (WEBHOOK / "src/tracking_hooks_webhook/__init__.py").read_text()
    _docstring, *statements = ast.parse(source).body
    lines = [line for line in source.splitlines()[statements[0].lineno - 1 :] if line.strip()]
    assert len(lines) <= 15
    assert "destination[" not in source and "Capture" not in source


class Acme(types.ModuleType):
    """The client library of the tracker that the guide connects: it keeps runs in memory."""

    Unreachable = type("Unreachable", (Exception,), {})
    Invalid = type("Invalid", (Exception,), {})

    def __init__(self):
        super().__init__("acme")
        self.runs, self.fails = {}, {}
        acme = self

        class Client:
            def __init__(self, server, token, timeout):
                assert (server, token, timeout) == ("http://acme", "a-token", 20)

            def find(self, uid):
                acme.fail("find")
                return next((number for number, run in acme.runs.items() if run["uid"] == uid), None)

            def create(self, uid, name, params):
                number = len(acme.runs) + 1
                acme.runs[number] = {"uid": uid, "name": name, "params": params, "points": {}, "files": {}}
                return number

            def update(self, number, points, status):
                acme.fail("update")
                acme.runs[number]["points"] |= {(name, step, time): value for name, step, value, time in points}
                acme.runs[number] |= {"status": status} if status else {}

            def runs(self):
                return [
                    {**run, "points": [[*point, value] for point, value in sorted(run["points"].items())]}
                    for run in acme.runs.values()
                ]

            def upload(self, number, name, path):
                acme.fail("upload")
                acme.runs[number]["files"][name] = path.read_bytes()

        self.Client = Client

    def fail(self, what):
        if what in self.fails:
            raise self.fails[what]


@pytest.fixture
def acme(monkeypatch):
    """The client library, with the classes of the guide's plugin as attributes."""
    module = Acme()
    monkeypatch.setitem(sys.modules, "acme", module)
    monkeypatch.setenv("ACME_TOKEN", "a-token")
    scope = {}
    for block in blocks("docs/writing-a-plugin.md", "python"):
        if "Acme" in block or "ACME" in block:
            exec(block, scope)
    module.AcmeTracker, module.AcmeFiles, module.capture = (
        scope[name] for name in ("AcmeTracker", "AcmeFiles", "capture")
    )
    return module


ACME = {"server": "http://acme"}


def test_the_tracker_in_the_guide_has_a_run_once_that_is_delivered_twice(acme, tmp_path):
    calls, run = recorded_run(tmp_path), sample_run(tmp_path)
    state = play(acme.AcmeTracker(), calls, run, destination=ACME)
    once = copy.deepcopy(acme.runs)
    (found,) = once.values()
    epochs = [call.args for call in calls if call.hook == "on_epoch_end"]
    assert len(found["points"]) == sum(len(epoch["metrics"]) for epoch in epochs)
    assert (found["uid"], found["params"], found["status"]) == (run.uid, calls[0].args["params"], "finished")
    assert state == {"id": 1, "url": "http://acme/runs/1", "ended": calls[-1].seq}
    play(acme.AcmeTracker(), calls, run, destination=ACME)
    assert list(acme.runs) == [1]
    resumed = structs.replace(calls[0], seq=len(calls) + 1)
    play(acme.AcmeTracker(), [resumed], run, destination=ACME, state=state, before=calls)
    assert acme.runs[1]["status"] == "running"


def test_the_tracker_in_the_guide_keeps_the_contract_as_the_guide_tests_it(acme, monkeypatch, tmp_path):
    (block,) = [block for block in blocks("docs/writing-a-plugin.md", "python") if "(Contract)" in block]
    scope = {"acme": acme}
    exec(block, scope)
    contract = scope["TestContract"]()
    monkeypatch.setattr(contract, "plugin", "acme:AcmeTracker", raising=False)
    monkeypatch.setattr(contract, "destination", lambda folder: acme.runs.clear() or ACME)
    for kind in KINDS:
        contract.test_a_run_is_one_run_and_twice_is_once(kind, tmp_path / kind)
    contract.test_every_epoch_is_there("everything", tmp_path / "epochs")
    contract.test_restarted_and_killed_at_every_event(tmp_path / "killed")
    contract.test_killed_while_it_opens(tmp_path / "opens")
    contract.test_batches_make_no_difference(7, tmp_path / "batches")
    contract.test_an_outage_doubles_nothing(tmp_path / "outages")
    contract.test_the_start_may_be_set_aside(tmp_path / "start")
    contract.test_an_addendum_makes_no_run(tmp_path / "addendum")


def test_the_tests_in_the_guide_are_those_of_the_suite():
    rows = table("docs/writing-a-plugin.md", "| Test | What it does |")
    rules = [name for part in Contract.__mro__ for name in vars(part) if name.startswith("test_")]
    assert [row[0].strip("`") for row in rows] == rules


def test_the_tracker_in_the_guide_makes_no_run_of_what_comes_after_its_end(acme, tmp_path):
    recorded_run(tmp_path)
    with pytest.raises(Unavailable, match="is not in http://acme") as caught:
        play(acme.AcmeTracker(), recorded_addendum(tmp_path), sample_addendum(tmp_path), destination=ACME)
    assert caught.value.only_this_run
    assert acme.runs == {}


def test_the_files_in_the_guide_find_the_run_and_do_not_make_it(acme, tmp_path):
    calls, run = recorded_run(tmp_path), sample_run(tmp_path)
    with pytest.raises(Unavailable, match=f"the run {run.uid} is not in http://acme"):
        play(acme.AcmeFiles(), calls, run, destination=ACME)
    assert acme.runs == {}
    play(acme.AcmeTracker(), calls, run, destination=ACME)
    play(acme.AcmeFiles(), calls, run, destination=ACME)
    assert sorted(acme.runs[1]["files"]) == ["args.yaml", "best.pt", "last.pt", "results.csv", "results.png"]


def test_the_refusals_in_the_guide_mean_what_it_says(acme, tmp_path):
    calls, run = recorded_run(tmp_path), sample_run(tmp_path)
    for error, meaning in [(acme.Unreachable("down"), Unavailable), (acme.Invalid("no such name"), Rejected)]:
        acme.fails = {"update": error}
        with pytest.raises(meaning, match=str(error)):
            play(acme.AcmeTracker(), calls, run, destination=ACME)
    acme.fails = {"upload": acme.Invalid("too large")}
    with pytest.raises(Rejected, match="too large"):
        play(acme.AcmeFiles(), calls, run, destination=ACME)


def test_the_plugin_in_the_guide_says_what_it_says_of_a_mistake_in_the_configuration(acme, monkeypatch, tmp_path):
    monkeypatch.setenv("ACME_SERVER", "http://acme")
    sides = {"acme": plugins.check("acme", acme, TrainerSpecs)}
    assert plugins.capture(sides, sample_run(tmp_path))["acme"].destination == ACME
    shown = " ".join(text("docs/writing-a-plugin.md").split())
    monkeypatch.delenv("ACME_SERVER")
    with pytest.raises(ConfigurationError) as caught:
        plugins.capture(sides, sample_run(tmp_path))
    assert f"`{caught.value}`" in shown
    for part in (acme.AcmeTracker, acme.AcmeFiles):
        plugins.check("acme", part(), LifecycleSpecs)
    monkeypatch.delenv("ACME_TOKEN")
    with pytest.raises(ConfigurationError) as caught:
        plugins._instance("acme", acme.AcmeTracker)
    assert f"`{caught.value}`" in shown


def test_of_two_chats_in_the_guide_the_one_that_works_gets_a_message_once(monkeypatch, tmp_path):
    (block,) = [block for block in blocks("docs/writing-a-plugin.md", "python") if "class Chats" in block]
    exec(block, scope := {})
    received, down = [], {"http://two"}

    def urlopen(request, timeout):
        if request.full_url in down:
            raise ConnectionRefusedError(request.full_url)
        received.append(request.full_url)
        return io.BytesIO()

    monkeypatch.setitem(scope, "urlopen", urlopen)
    monkeypatch.setenv("CHAT_URLS", "http://one http://two")
    calls, run, state = recorded_run(tmp_path), sample_run(tmp_path), {}
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            play(scope["Chats"](), calls, run, state=state)
    down.clear()
    play(scope["Chats"](), calls, run, state=state)
    assert received == ["http://one", "http://two"]


def test_the_tests_of_the_package_in_the_guide_pass(tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, WEBHOOK / "tests"]
    environment = {**os.environ, "PYTHONPATH": str(WEBHOOK / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_entry_points_of_the_package_in_the_guide_lead_to_its_hooks(monkeypatch, importable):
    tomllib = pytest.importorskip("tomllib")
    importable(WEBHOOK / "src")
    monkeypatch.setenv("WEBHOOK_URL", "http://127.0.0.1:9")
    points = tomllib.loads((WEBHOOK / "pyproject.toml").read_text())["project"]["entry-points"]
    assert list(points) == [PROJECT]
    module, _, attribute = points[PROJECT]["webhook"].partition(":")
    webhook = plugins.check("webhook", getattr(import_module(module), attribute)(), LifecycleSpecs)
    assert webhook.hook.on_event.get_hookimpls()


def test_the_entry_points_of_the_tracker_in_the_guide_lead_to_its_parts(acme, importable, tmp_path):
    tomllib = pytest.importorskip("tomllib")
    modules = {"tracker": "The relay side:", "files": "The relay side for files", "trainer": "The trainer side:"}
    (tmp_path / "tracking_hooks_acme").mkdir()
    for name, first in modules.items():
        (code,) = [code for code in blocks("docs/writing-a-plugin.md", "python") if code.startswith(f'"""{first}')]
        (tmp_path / f"tracking_hooks_acme/{name}.py").write_text(code)
    importable(tmp_path)
    (shown,) = [code for code in blocks("docs/writing-a-plugin.md", "toml") if "tracking_hooks_acme" in code]
    found = tomllib.loads(shown)["project"]["entry-points"]
    assert list(found) == [PROJECT, TRAINER_GROUP]
    for name, point in found[PROJECT].items():
        module, _, attribute = point.partition(":")
        plugins.check(name, getattr(import_module(module), attribute)(), LifecycleSpecs)
    plugins.check("acme", import_module(found[TRAINER_GROUP]["acme"]), TrainerSpecs)


def test_the_groups_of_entry_points_are_those_of_the_code():
    for document in ("docs/hooks.md", "docs/writing-a-plugin.md"):
        (header,) = re.findall(r"^\| Group \|.*\|$", text(document), re.MULTILINE)
        assert [row[0] for row in table(document, header)] == [
            f"`{g}`" for g in (PROJECT, TRAINER_GROUP, RULES_GROUP, READER_GROUP)
        ]


def test_the_calls_for_scripts_are_those_of_the_handle():
    rows = table("docs/your-script.md", "| Call | Event | What it takes |")
    for call, event, _ in rows:
        name, parameters = re.fullmatch(r"`(\w+)\((.*)\)`", call).groups()
        shown = [parameter.partition("=")[0] for parameter in parameters.split(", ")]
        assert shown == list(inspect.signature(getattr(tracking_hooks, name)).parameters)
        assert hasattr(UserSpecs, event.strip("`")) or hasattr(LifecycleSpecs, event.strip("`"))


def test_the_public_names_are_those_of_the_package():
    (row,) = [row for row in table("docs/hooks.md", "| Public | What it is |") if row[0] == "`tracking_hooks.__all__`"]
    assert sorted(re.findall(r"`(\w+)`", row[1])) == sorted(tracking_hooks.__all__)


# -- docs/plugins.md ------------------------------------------------------------------------------------------


def test_the_directory_of_plugins_is_what_their_packages_say():
    command = [sys.executable, ROOT / "docs/plugins.py"]
    written = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    assert text("docs/plugins.md") == written, "write it: python docs/plugins.py > docs/plugins.md"
    for folder in (ROOT / "plugins").iterdir():
        assert folder.name in written, f"{folder.name} is not in docs/plugins.toml"


# -- docs/journal.md ------------------------------------------------------------------------------------------


def test_the_format_of_the_journal_is_the_one_in_the_code():
    written = subprocess.run(
        [sys.executable, ROOT / "docs/journal.py"], capture_output=True, encoding="utf-8", check=True
    ).stdout
    assert text("docs/journal.md") == written, "write it: python docs/journal.py > docs/journal.md"


# -- docs/design.md -------------------------------------------------------------------------------------------


def test_the_line_of_a_journal_that_is_shown_can_be_read(tmp_path):
    (line,) = blocks("docs/design.md", "json")
    path = tmp_path / "journal.jsonl"
    head = Head(format=FORMAT, created=0.0, run=sample_run(tmp_path), plugins={})
    Journal.create(path, head).close()
    with path.open("a") as file:
        file.write(line)
    _, offset = read_head(path)
    (entry,) = read(path, offset)
    assert entry.call, entry.damage


def test_the_exit_codes_of_a_relay_are_those_of_the_code():
    known = [spawn.DELIVERED, spawn.PENDING, spawn.BUSY, spawn.IDLE, spawn.REFUSED, spawn.HANGING]
    assert [int(row[0]) for row in table("docs/design.md", "| Exit code of a relay | Meaning |")] == known


@pytest.mark.parametrize(
    ("document", "sentence", "is_true"),
    [
        ("design", "up to 2,000 events or 4 MB", (Batches(None).bounds(0)[0], disk._BATCH_BYTES) == (2000, 4 << 20)),
        ("design", "up to 16 MB of files", batches._BYTES == 16 << 20),
        ("design", "and ten more for each megabyte of its files", instance._BYTES_PER_SECOND * 10 == 1e6),
        ("settings", "and ten seconds more for each megabyte of the file", instance._BYTES_PER_SECOND * 10 == 1e6),
        ("design", "asked again every three seconds", relay._FLUSH_EVERY == 3),
        ("design", "If a minute brings no progress", relay._CONFIRMATION == 60),
        ("design", "An event over which three processes died", TRIES == 3),
        ("design", "that event is tried three times in all", TRIES == 3),
        ("design", "up to five times without progress", supervisor._RESTARTS == 5),
        ("design", "tries again after 0.5 to 16 seconds", (patience._FIRST, patience._LONGEST + 1) == (0.5, 16)),
        ("design", "once more, for three seconds, when it is asked to leave", relay._LAST_TRY == 3),
        ("design", "`sync` itself gives up after five seconds", relay._DRAIN_PATIENCE == 5),
        ("design", "also after ten seconds without anything to do", relay._IDLE == 10),
        ("design", "rest after thirty seconds without anything to do", relay._IDLE_OF_ADDENDUM == 30),
        ("your-script", "Up to 1 GB a file is copied", given.MOST == 1e9),
        ("design", "The process is replaced when it has grown by 200 MB", worker.GROWTH == 200e6),
    ],
)
def test_the_figures_of_delivery_are_those_of_the_code(document, sentence, is_true):
    assert sentence in " ".join(text(f"docs/{document}.md").split())
    assert is_true


def test_every_module_is_in_the_table_of_modules():
    named = " ".join(row[0] for row in table("docs/design.md", "| Module | Runs in | Its one reason to exist |"))
    package = ROOT / "src/tracking_hooks"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.name != "__init__.py"}
    listed = {module for module in modules if f"`{module}`" in named or f"`{module.split('/')[0]}/`" in named}
    assert listed == modules
