"""Every command and code block of the documents is run, as a reader would who follows them."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.release.packages import ROOT
from tests.support.answering import answering
from tests.support.blocks import RUN, Block, blocks, every_block
from tests.support.home import Home
from tests.support.mlflow import mlflow_server
from tests.support.reader import Failed, Reader
from tests.support.small_trainings import PLOTS
from tests.support.wandb_standin import WandbStandIn
from tests.support.wheels import Environments, build

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="what the documents' reader types is forked, which takes Linux"),
]

NOT_RUN = 15
"""How many blocks are not run, each with its reason. It may only fall."""

INSTALLS = re.compile(r"^pip install (?:.* )?\"?tracking-hooks\b", re.MULTILINE)
DATA_SETS = ("coco8", "shapes", *(f"fold-{fold}" for fold in (1, 2)), *(f"fold{fold}" for fold in range(5)))
IMAGES = ("bus.jpg", "street.jpg", "a.jpg", "b.jpg", "0001.png", "0002.png")
TRAIN = 'from ultralytics import YOLO\n\nYOLO("yolo26n.pt").train(data="coco8.yaml")\n'


def to_run(document: str) -> list[Block]:
    return [block for block in blocks(document) if not block.not_run and not block.run_by]


DOCUMENTS = list(dict.fromkeys(block.document for block in every_block() if not block.not_run and not block.run_by))


@pytest.fixture(scope="module")
def environments(tmp_path_factory) -> Environments:
    folder = tmp_path_factory.mktemp("environments")
    return Environments(folder, build(folder / "wheels"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory, shapes) -> Path:
    """A small ``yolo26n.pt``, made of the few layers of the suite's network."""
    home = Home(tmp_path_factory.mktemp("weights"), shapes)
    home.run([home.python, "-c", "from ultralytics import YOLO; YOLO('yolo26n.yaml').save('yolo26n.pt')"])
    return home.work / "yolo26n.pt"


@pytest.fixture(scope="module")
def standins(tmp_path_factory) -> Iterator[dict[str, str]]:
    """What stands in for the servers that documents name."""
    with mlflow_server(tmp_path_factory.mktemp("server")) as server, answering(200, "") as (address, _):
        names = ["127.0.0.1:5000", "127.0.0.1:5001", "localhost:5000", "mlflow.example.org:5000"]
        yield {
            **{f"http://{name}": server for name in names},
            "runs-20261127-030124.tracking.tar.gz": "runs-*.tracking.tar.gz",
            "wandb/offline-run-…": "wandb/offline-run-*",
            "slack://… mailto://…": address.replace("http", "json"),
            "http://localhost:4318": address,
        }


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, str]]:
    """The variables by which the clients of W&B and ClearML find what stands in for their services."""
    wandb, clearml = WandbStandIn(), _clearml()
    wandb.start()
    hosts = {f"CLEARML_{name}_HOST": clearml.url for name in ("API", "FILES", "WEB")}
    keys = {"CLEARML_API_ACCESS_KEY": "a-key", "CLEARML_API_SECRET_KEY": "a-secret"}
    yield {**wandb.environment(), **hosts, **keys}
    wandb.stop()
    clearml.stop()


def _clearml() -> Any:
    spec = spec_from_file_location("standin", ROOT / "plugins/tracking-hooks-clearml/tests/standin.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Standin()


@pytest.fixture
def reader(
    tmp_path, shapes, settings, weights, database, environments, standins, services
) -> Iterator[Callable[..., Reader]]:
    """Return a function that makes a reader with a data set, weights and what else pages take for granted."""
    made: list[Reader] = []

    def make(*, installed: bool = True) -> Reader:
        home = Home(tmp_path / "home", shapes)
        _furnish(home, weights, database)
        shutil.copytree(settings, home.folder / "yolo")
        file = home.folder / "yolo/Ultralytics/settings.json"
        file.write_text(re.sub(r'"runs_dir": ".*"', f'"runs_dir": "{home.work / "runs"}"', file.read_text()))
        home.env |= {**services, **({"TRACKING_HOOKS": "mlflow"} if installed else {})}
        folders = {
            name: str(tmp_path / name.strip("/")) for name in ("/var/lib/node_exporter/textfile_collector", "/shared")
        }
        for folder in folders.values():
            Path(folder).mkdir(parents=True)
        standins_ = {**standins, **folders}
        made.append(Reader(tmp_path / "reader", home, environments, installed=installed, standins=standins_))
        return made[-1]

    yield make
    for one in made:
        one.close()


def _furnish(home: Home, weights: Path, database: Path) -> None:
    """Put into the working directory what documents name, and do not make."""
    (home.folder / "shapes").mkdir()
    for folder in (home.work, home.folder / "shapes"):
        shutil.copy(database, folder)
    shutil.copy(weights, home.work)
    for name in DATA_SETS:
        (home.work / f"{name}.yaml").write_text(home.data.read_text() + "\ntest: images/val\n")
    image = next((home.data.parent / "images/val").iterdir())
    for name in IMAGES:
        Image.open(image).convert("RGB").save(home.work / name)
    for folder in ("examples", "docker"):
        shutil.copytree(ROOT / folder, home.work / folder, ignore=shutil.ignore_patterns("__pycache__", "secrets"))
    shutil.copy(ROOT / "examples/csv_tracker.py", home.work)
    (home.work / "train.py").write_text(TRAIN)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_a_document_shows_can_be_done(document, reader):
    shown = to_run(document)
    commands = "\n".join(block.commands for block in shown)
    reads = reader(installed=not INSTALLS.search(commands))
    if "runs/" in commands.partition("yolo train")[0]:  # it is about a run that the reader has
        plots = f"{PLOTS}=1 " if "tracking-hooks worst" in commands else ""
        reads.shell(f"{plots}yolo train model=yolo26n.pt data=coco8.yaml")
    failures = []
    for block in shown:
        try:
            reads.run(block)
        except Failed as failure:
            failures.append(str(failure))
    assert not failures, "\n\n".join(failures)


# -- what is said of the other blocks -----------------------------------------------------------------------------


def test_a_block_is_run_or_says_why_not():
    unknown = [block.where for block in every_block() if block.language not in RUN]
    assert not unknown, "blocks that are no code begin with ```text"
    assert len([block for block in every_block() if block.not_run]) == NOT_RUN, "say fewer, if it has fallen"


@pytest.mark.parametrize("block", [block for block in every_block() if block.run_by], ids=lambda block: block.where)
def test_a_test_that_runs_a_block_instead_exists(block):
    file, _, name = block.run_by.partition("::")
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


# -- the reader ---------------------------------------------------------------------------------------------------


def block(code: str, language: str = "console", section: str = "# A page") -> Block:
    return Block(document="a page", line=1, section=section, language=language, code=code)


def test_what_the_reader_runs_is_what_was_built(reader):
    reads = reader()
    imports = (
        "import sys, tracking_hooks, tracking_hooks_mlflow as m; print(sys.prefix, tracking_hooks.__file__, m.__file__)"
    )
    own = reads.shell(f'python -c "{imports}"').splitlines()[-1].split()  # forked
    assert own == reads.shell(f'{reads.python} -c "{imports}"').splitlines()[-1].split()
    prefix, *files = own
    assert Path(prefix) == reads.python.parents[1]
    assert all(Path(file).is_relative_to(prefix) for file in files)
    reads.shell("PYTHONPATH=examples TRACKING_HOOKS=csv_tracker:CsvTracker yolo train model=yolo26n.pt data=coco8.yaml")
    assert len(reads.shell("cat runs/detect/*.csv").splitlines()) > 5


def test_a_block_fails_by_each_of_its_commands(reader):
    reads = reader()
    assert "two" in reads.run(block("$ echo one\none\n$ echo two |\n    cat\n"))
    for code in ("$ false\n$ true", "$ false | true", "$ trackinghooks status", "$ yolo train model=none.pt"):
        with pytest.raises(Failed, match="a page:1 cannot be run"):
            reads.run(block(code))
    with pytest.raises(Failed, match="NameError"):
        reads.run(block("tracking_hooks.log({})", "python"))
    with pytest.raises(Failed, match="nothere"):
        reads.run(block('[project.entry-points."tracking_hooks.rules"]\nmine = "nothere:Rule"', "toml"))


def test_what_is_exported_lasts_and_a_section_begins_where_the_page_does(reader):
    reads = reader()
    reads.run(block("$ export NAME='a  name'\n$ mkdir new\n$ cd new"))
    assert "a  name" in reads.run(block('test "$(basename $PWD)" = new\necho "$NAME"', "shell"))
    assert "a  name" in reads.run(block('test "$(basename $PWD)" = work; echo "$NAME"', "bash", "## Another"))
