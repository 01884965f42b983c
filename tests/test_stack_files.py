"""What the files of the stack say of each other is true. That they work is what ``make stack`` proves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
