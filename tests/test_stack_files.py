"""What the files of the stack say of each other is true. That they work is what ``make stack`` proves."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.makefile import make
from tests.stack import proofs
from tests.stack.engine import BASE, OTHERS, STANDINS, TARGETS
from tracking_hooks.settings import describe

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
COMPOSE = [DOCKER / "compose.yaml", DOCKER / "compose.gpu.yaml"]


def text(path):
    return path.read_text(encoding="utf-8")


def test_every_setting_of_the_compose_files_is_in_the_table():
    found = {}
    for path in COMPOSE:
        for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", text(path)):
            found.setdefault(name, default)
    table = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| `([^`]+)` \|", text(DOCKER / "README.md"), re.MULTILINE))
    assert table == found


def test_no_setting_of_the_compose_files_lacks_a_default():
    for path in COMPOSE:
        assert not re.findall(r"\$\{?\w+\}?(?!\w|:-)", re.sub(r"\$\{\w+:-[^}]*\}", "", text(path))), path


def test_every_variable_of_tracking_hooks_that_they_set_exists():
    known = {name for name, _, _ in describe()}
    for path in DOCKER.rglob("*"):
        if path.is_file() and "secrets" not in path.parts:
            assert set(re.findall(r"\bTRACKING_HOOKS(?:_[A-Z]+)*\b", text(path))) <= known, path


def test_the_trainer_image_has_every_plugin():
    dockerfile, ignored = text(DOCKER / "Dockerfile"), text(ROOT / ".dockerignore").splitlines()
    assert "COPY plugins /source/plugins" in dockerfile
    assert "pip wheel --no-deps --wheel-dir /wheels /source /source/plugins/*" in dockerfile
    assert {"!plugins", "!src", "!pyproject.toml"} <= set(ignored)


def test_every_file_that_the_dockerfile_copies_is_sent_to_the_builder():
    allowed = {line[1:] for line in text(ROOT / ".dockerignore").splitlines() if line.startswith("!")}
    for files in re.findall(r"^COPY (?!--from)(.+) \S+$", text(DOCKER / "Dockerfile"), re.MULTILINE):
        for name in files.split():
            assert (ROOT / name).exists()
            assert name in allowed


@pytest.mark.parametrize("target", TARGETS)
def test_each_image_is_built_from_a_target_without_root(target):
    stage = text(DOCKER / "Dockerfile").partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
    assert "\nUSER 10001\n" in stage
    assert 'ENTRYPOINT ["tini", "--", ' in stage


def test_stand_ins_have_the_names_and_releases_of_the_real_images():
    assert {BASE} == set(re.findall(r"^FROM (\S+/\S+)", text(DOCKER / "Dockerfile"), re.MULTILINE))
    assert set(OTHERS.values()) == set(re.findall(r"image: (docker\.io/\S+)", text(DOCKER / "compose.yaml")))
    for name, image in OTHERS.items():
        release = re.split(r"[:-]", image)[1]
        assert f"=={release}" in text(STANDINS / name / "Dockerfile"), f"the stand-in of {image} has another release"


def test_every_base_image_is_pinned_and_named_among_what_is_unproven():
    _, _, unproven = text(DOCKER / "README.md").partition("**not**")
    for image in (BASE, *OTHERS.values()):
        name = image.removeprefix("docker.io/").removeprefix("library/")
        assert re.search(r":\d", name)
        assert name in unproven


# -- what the proofs rely on ----------------------------------------------------------------------------------


def test_make_stack_says_what_it_would_prove():
    listed = make("stack", "ARGS=--list").splitlines()
    assert [line.partition(": ")[0] for line in listed] == list(proofs.ALL)
    assert all(line.endswith(".") for line in listed)


def test_every_module_that_the_files_run_exists():
    found = {}
    for path in DOCKER.rglob("*"):
        if path.is_file() and "secrets" not in path.parts and path.suffix != ".md":
            found |= dict.fromkeys(re.findall(r"\btracking_hooks(?:\.\w+)+", text(path)), path)
    assert "tracking_hooks.cli.shapes" in found, "the demo's data set"
    for module, path in found.items():
        assert importlib.util.find_spec(module), f"{path} names {module}, which does not exist"


def test_every_service_and_setting_of_the_proofs_is_in_the_compose_file():
    services = set(re.findall(r"^  ([a-z-]+):$", text(COMPOSE[0]).partition("\nservices:")[2], re.MULTILINE))
    assert {*proofs.SERVICES, "trainer"} <= services
    used = "".join(text(ROOT / "tests/stack" / name) for name in ("stack.py", "proofs.py"))
    settings = set(re.findall(r'"([A-Z_]+)":|\b(?<!")([A-Z_]{4,})=', used))
    known = set(re.findall(r"\$\{(\w+):-", text(COMPOSE[0])))
    assert {one or other for one, other in settings} <= known


def test_the_command_of_the_kubernetes_manifest_is_made_small_for_the_proof():
    command, grace = proofs.command_of_manifest()
    assert "/data/shapes/data.yaml" in " ".join(command)
    assert " epochs=4 " in command[-1], "so that the proof ends"
    assert grace > 0
