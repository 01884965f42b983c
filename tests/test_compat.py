"""What is said to work has been tried: the table of results, the page made of it, the lower bounds."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.compat import __main__ as compat
from tests.compat import cells, comparison, environment, page, results, training
from tests.compat.cells import CELLS, OLDEST, Cell
from tests.compat.comparison import Differs
from tests.compat.environment import CannotBeHad
from tests.compat.results import Result
from tests.makefile import ROOT, commands, run
from tracking_hooks.hosts.ultralytics import checkup

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = {
    1: {"train/box_loss": "2.5", "metrics/mAP50(B)": "0.25"},
    2: {"train/box_loss": "2.25", "metrics/mAP50(B)": "0"},
}
HELD = {"train/box_loss": [[1, 2.500001], [2, 2.25]], "metrics/mAP50B": [[1, 0.25], [2, 0.0]]}


def test_the_page_shows_what_the_results_say():
    assert page.PAGE.read_text(encoding="utf-8") == page.render(results.read()), "make compat writes it"


def test_every_cell_has_been_tried_and_every_result_is_that_of_a_cell():
    assert set(results.read()) == {cell.name for cell in CELLS}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_training_was_tracked_wherever_it_trains_untracked_or_a_sentence_says_that_it_is_not(cell):
    assert results.is_as_said(cell, results.read()[cell.name])


def test_results_name_no_folder_of_the_machine():
    assert not re.search(r"(?<![\w:])/(?!/)\w", results.FILE.read_text(encoding="utf-8"))


def lower_bounds(path: Path) -> dict[str, str]:
    """The oldest version that is allowed of each package, by name."""
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    optional = (text for texts in project.get("optional-dependencies", {}).values() for text in texts)
    found = {}
    for requirement in map(Requirement, [*project["dependencies"], *optional]):
        if not requirement.name.startswith("tracking-hooks"):
            (found[requirement.name],) = [one.version for one in requirement.specifier if one.operator == ">="]
    return found


def test_the_oldest_version_that_is_allowed_of_each_dependency_was_tried():
    untried = {"tomli": "for Python 3.10 only", "nvidia-ml-py": "needs a GPU"}
    whole = {(result.package, Version(result.version)) for result in results.read().values() if not result.tracked}
    for package, version in lower_bounds(ROOT / "pyproject.toml").items():
        assert package in untried or (package, Version(version)) in whole, f"{package} {version}"


@pytest.mark.parametrize("tracker", ["mlflow", "tensorboard", "wandb"])
def test_the_oldest_version_that_is_allowed_of_a_tracker_was_tried(tracker):
    allowed = lower_bounds(ROOT / f"plugins/tracking-hooks-{tracker}/pyproject.toml")[tracker]
    found = results.read().values()
    whole = {Version(one.version) for one in found if one.cell.startswith(f"{tracker}==") and tracker in one.values}
    assert Version(allowed) in whole


def test_the_oldest_ultralytics_is_that_of_which_the_doctor_knows():
    assert ".".join(map(str, checkup._OLDEST)) == OLDEST.version


@pytest.mark.parametrize("file", ["README.md", "CHANGELOG.md"])
def test_the_oldest_ultralytics_that_is_promised_was_tried(file):
    assert f" from {OLDEST.version} on" in (ROOT / file).read_text(encoding="utf-8")


def test_make_compat_runs_the_cells_that_are_asked_for(tmp_path):
    (command,) = commands("compat", "--list --only pluggy")
    listed = run([sys.executable, *shlex.split(command)[1:]], home=tmp_path)
    assert listed.split() == [cell.name for cell in CELLS if cell.package == "pluggy"]


# -- what counts as whole --------------------------------------------------------------------------------------


def test_each_value_of_the_table_is_compared():
    assert comparison.same("mlflow", TABLE, HELD) == 4


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([[1, 2.5]], r"has the steps \[1\] instead of \[1, 2\]"),
        ([[1, 2.5], [2, 2.25], [3, 2.0]], r"has the steps \[1, 2, 3\]"),
        ([[1, 2.5], [2, 2.25], [2, 2.25]], "two values for a step"),
        ([[1, 2.5], [2, 2.26]], "of epoch 2 is 2.26 instead of 2.25"),
    ],
    ids=["lost", "too many", "doubled", "other"],
)
def test_what_a_tracker_has_otherwise_is_a_failure(points, why):
    with pytest.raises(Differs, match=why):
        comparison.same("mlflow", TABLE, HELD | {"train/box_loss": points})


def test_what_pip_cannot_fetch_is_said_and_not_tried(tmp_path, monkeypatch):
    def refuse(cell):
        raise CannotBeHad("pip: No matching distribution found for pluggy==0.0.0")

    monkeypatch.setattr(environment, "prepare", refuse)
    result = training.run(Cell("pluggy", "0.0.0"), tmp_path, tmp_path / "data.yaml")
    assert (result.bare, result.tracked) == ("pip: No matching distribution found for pluggy==0.0.0", "not tried")


def test_a_cell_that_cannot_be_fetched_is_told_and_keeps_what_was_found_earlier(tmp_path, monkeypatch):
    (cell,) = [one for one in CELLS if one.package == "pluggy"]
    untried = Result(cell.package, cell.version, cell.name, bare="pip: no network", tracked="not tried")
    monkeypatch.setattr(training, "run", lambda *_: untried)
    monkeypatch.setattr(results, "write", lambda _: pytest.fail("the results were replaced"))
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(sys, "argv", ["tests.compat", "--only", cell.name])
    with pytest.raises(SystemExit, match=re.escape(cell.name)):
        compat.main()
    assert page.PAGE.read_text(encoding="utf-8") == page.render(results.read())


def test_a_training_that_fails_untracked_as_well_stands_on_the_page_with_the_reason(monkeypatch):
    old = Cell("ultralytics", "8.0.0")
    monkeypatch.setattr(page, "GROUPS", {"Ultralytics": (old,)})
    found = {old.name: Result("ultralytics", "8.0.0", old.name, python="3.11.0", bare="ValueError: a|b", tracked="too")}
    assert "| ultralytics 8.0.0 | Python 3.11.0 | fails: ValueError: a\\|b | too |" in page.render(found)


def test_a_row_names_what_has_another_version_than_usual_or_is_not_installed(monkeypatch):
    usual, other = Cell("ultralytics"), Cell("torch", "2.4.1", note="slowly")
    monkeypatch.setattr(page, "GROUPS", {"All": (usual, other)})
    beside = {"torch": "2.14.1", "numpy": "2.4.6", "wandb": "0.31.0"}
    found = {
        usual.name: Result("ultralytics", "8.4.0", usual.name, "3.11.7", beside, values={"mlflow": 3}),
        other.name: Result("torch", "2.4.1", other.name, "3.10.1", {"torch": "2.4.1", "numpy": "1.26.4"}, values={}),
    }
    shown = page.render(found)
    assert "| ultralytics 8.4.0 (installed) |  | trains | mlflow: all of 3 |" in shown
    assert "| torch 2.4.1 | Python 3.10.1; numpy 1.26.4; no wandb; slowly | trains |" in shown


def test_the_names_of_cells_are_different():
    assert len({cell.name for cell in CELLS}) == len(CELLS)
    assert cells.PRESENT in {cell.version for cell in CELLS}
