"""The packages belong together: one version, one form, and each of them is found by what it is about."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.release.packages import CORE, FOLDERS, ROOT, module

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PLUGINS = sorted(FOLDERS.keys() - {CORE})
IN_COMMON = ("requires-python", "license", "license-files", "readme")
FIELDS = {"name", "description", *IN_COMMON, "keywords", "classifiers", "dependencies"}


def settings(package: str) -> dict[str, Any]:
    return tomllib.loads((FOLDERS[package] / "pyproject.toml").read_text("utf-8"))


def project(package: str) -> dict[str, Any]:
    return settings(package)["project"]


def source(package: str) -> Path:
    return FOLDERS[package] / "src" / module(package)


def test_the_version_stands_in_one_file():
    version = project(CORE)["version"]
    assert str(Version(version)) == version, "as PyPI writes it, or the files have another name than the tag"
    for package in PLUGINS:
        assert "version" not in project(package)
        assert project(package)["dynamic"] == ["version"]
        assert settings(package)["tool"]["hatch"]["version"] == {"path": "../../pyproject.toml"}


@pytest.mark.parametrize("package", PLUGINS)
def test_a_plugin_accepts_the_core_that_it_is_released_with(package):
    (core,) = [one for one in map(Requirement, project(package)["dependencies"]) if one.name == CORE]
    assert core.specifier.contains(project(CORE)["version"], prereleases=True)


@pytest.mark.parametrize("package", FOLDERS)
def test_all_packages_have_the_same_form(package):
    found = project(package)
    assert found.keys() - {"version", "dynamic", "entry-points", "scripts", "optional-dependencies"} == FIELDS
    assert {name: found[name] for name in IN_COMMON} == {name: project(CORE)[name] for name in IN_COMMON}
    assert found["name"] == package
    assert settings(package)["build-system"] == settings(CORE)["build-system"]
    built = settings(package)["tool"]["hatch"]["build"]["targets"]
    assert built["wheel"]["packages"] == [source(package).relative_to(FOLDERS[package]).as_posix()]
    assert {"/src", "/tests", "/README.md", "/LICENSE"} <= set(built["sdist"]["include"])


@pytest.mark.parametrize("package", FOLDERS)
def test_each_package_brings_the_license_and_says_that_it_is_typed(package):
    assert (FOLDERS[package] / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (source(package) / "py.typed").is_file()


@pytest.mark.parametrize("package", FOLDERS)
def test_who_searches_finds_each_package(package):
    found = project(package)
    words, about = found["keywords"], found["description"]
    assert {"yolo", "ultralytics", "computer-vision", "object-detection", "mlops"} <= set(words)
    assert "Ultralytics YOLO" in about
    assert len(about) <= 160, "a list of results cuts the rest off"
    assert len(set(words)) == len(words)
    assert all(word == word.lower() and " " not in word for word in words)
    selected = package.removeprefix("tracking-hooks-")
    trackers = {name.removeprefix("tracking-hooks-") for name in PLUGINS} - {"control", "notify", "otel"}
    assert (trackers if package == CORE else {selected} & trackers) <= set(words)


@pytest.mark.parametrize("package", FOLDERS)
def test_the_classifiers_are_those_of_the_core_and_sorted_as_on_pypi(package):
    known = pytest.importorskip("trove_classifiers").sorted_classifiers
    classifiers = project(package)["classifiers"]
    assert classifiers == sorted(set(classifiers), key=known.index)
    about = ("Topic", "Framework")
    assert [one for one in classifiers if not one.startswith(about)] == [
        one for one in project(CORE)["classifiers"] if not one.startswith(about)
    ]
    assert "Typing :: Typed" in classifiers


def test_the_pythons_are_those_that_a_training_was_tried_with():
    names = (name.rpartition(" ")[2] for name in project(CORE)["classifiers"] if " :: Python :: 3." in name)
    versions = sorted(map(Version, names))
    allowed = SpecifierSet(project(CORE)["requires-python"])
    assert allowed.contains(versions[0])
    assert not allowed.contains(f"3.{versions[0].minor - 1}")
    tried = (ROOT / "docs/compatibility.md").read_text("utf-8") + (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert [version for version in versions if f"Python {version}." not in tried] == []
