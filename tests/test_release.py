"""``make release-check`` says what is wrong with a release before it is one, and what is built keeps its promises."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import tracking_hooks
from tests.makefile import ROOT, make
from tests.release import contents, packages
from tests.release.packages import CORE, FOLDERS, Failed, sdist, version, wheel
from tracking_hooks.markers import PROJECT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONSUMER = ROOT / "tests/data/consumer.py"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with all that is built, and what was said."""
    pytest.importorskip("build")
    pytest.importorskip("twine")
    pytest.importorskip("cyclonedx_py")
    folder = tmp_path_factory.mktemp("release")
    return folder, make("release-check", f"ARGS=--borrow --build-only --folder {folder}")


def test_each_package_is_built_and_listed_with_its_checksum(release):
    folder, said = release
    built = {path for package in FOLDERS for path in (sdist(package, folder / "dist"), wheel(package, folder / "dist"))}
    assert set((folder / "dist").iterdir()) == built
    for path in built:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert re.search(rf"^{path.name} +[\d,]+ bytes  {digest}$", said, re.MULTILINE)
        assert f"{digest}  {path.name}\n" in (folder / "SHA256SUMS").read_text()


@pytest.mark.e2e
def test_what_is_built_trains_in_a_fresh_environment_and_all_is_delivered(release, tmp_path):
    folder, _ = release
    said = make("release-check", f"ARGS=--borrow --built {folder / 'dist'} --epochs 1 --folder {tmp_path / 'tried'}")
    assert re.search(r"^delivered: mlflow: \d+ events, .*tensorboard: \d+ events", said, re.MULTILINE)
    listed = json.loads((tmp_path / "tried/packages.cdx.json").read_text())
    assert listed["bomFormat"] == "CycloneDX"
    assert listed["serialNumber"] and listed["specVersion"], "without these, GitHub's action takes it for no SBOM"
    assert listed["metadata"]["component"]["name"] == CORE
    assert {"mlflow", "torch", "ultralytics", *FOLDERS} - {CORE} <= {one["name"] for one in listed["components"]}


# -- what is in the files -------------------------------------------------------------------------------------


@pytest.fixture
def dist(release, tmp_path):
    """Files that a test can spoil."""
    folder = tmp_path / "dist"
    folder.mkdir()
    for path in (release[0] / "dist").iterdir():
        (folder / path.name).hardlink_to(path)
    assert list(contents.mistakes(folder)) == []
    return folder


def change(path: Path, edit: Callable[[dict[str, bytes]], object]) -> None:
    """Replace an archive by one with other members."""
    members = contents._unpacked(path)
    edit(members)
    path.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


SPOILT = {
    "tracking_hooks_otel/py.typed of the source is missing": lambda files: files.pop("tracking_hooks_otel/py.typed"),
    "py.typed is missing": lambda files: files.pop("tracking_hooks_otel/py.typed"),
    "tests/test_otel.py is not of the source": lambda files: files.update({"tests/test_otel.py": b""}),
    "the license is missing": lambda files: files.pop(f"tracking_hooks_otel-{version()}.dist-info/licenses/LICENSE"),
    f"names {ROOT}": lambda files: files.update({"tracking_hooks_otel/otlp.py": f"{ROOT}/x".encode()}),
    "its metadata have Version 7": lambda files: files.update(
        {f"tracking_hooks_otel-{version()}.dist-info/METADATA": b"Name: tracking-hooks-otel\nVersion: 7\n\n"}
    ),
}


@pytest.mark.parametrize("mistake", SPOILT)
def test_a_wheel_is_refused_for(mistake, dist):
    path = wheel("tracking-hooks-otel", dist)
    change(path, SPOILT[mistake])
    assert any(said.startswith(path.name) and mistake in said for said in contents.mistakes(dist))


def test_files_that_are_missing_and_files_that_are_too_many_are_named(dist):
    wheel(CORE, dist).unlink()
    (dist / "notes.txt").touch()
    first, second = contents.mistakes(dist)
    assert "tracking_hooks-" in first and "was not built" in first
    assert second == "notes.txt is there, too: the upload would take it"


def test_an_sdist_is_enough_to_build_the_plugin_with_the_version_of_the_release(release, tmp_path):
    with tarfile.open(sdist("tracking-hooks-otel", release[0] / "dist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert not list(tmp_path.parent.glob("pyproject.toml")), "no other file has the version"
    packages.run([sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path / "built", unpacked])
    assert wheel("tracking-hooks-otel", tmp_path / "built").is_file()


def test_a_copy_of_the_repository_without_git_builds_the_same_version(tmp_path):
    pytest.importorskip("build")
    copied = tmp_path / "plugins/tracking-hooks-otel"
    for path in ("pyproject.toml", *(f"plugins/tracking-hooks-otel/{name}" for name in ("pyproject.toml", "LICENSE"))):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    (copied / "README.md").touch()
    (copied / "src/tracking_hooks_otel").mkdir(parents=True)
    (copied / "src/tracking_hooks_otel/__init__.py").touch()
    packages.run([sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path / "built", copied])
    assert wheel("tracking-hooks-otel", tmp_path / "built").is_file()


# -- the tag --------------------------------------------------------------------------------------------------


def test_a_tag_that_is_not_the_version_is_refused():
    with pytest.raises(Failed, match=f"the tag is v7.0, and the version in pyproject.toml {re.escape(version())}"):
        packages.notes("v7.0")


@pytest.mark.parametrize("heading", ["## [Unreleased]", "## [{}]"])
def test_a_version_that_the_changelog_does_not_date_is_refused(heading, monkeypatch, tmp_path):
    changelog(tmp_path, monkeypatch, f"{heading.format(version())}\n\n- Something.\n")
    with pytest.raises(Failed, match="CHANGELOG\\.md lacks the heading"):
        packages.notes(f"v{version()}")


def test_the_notes_of_a_release_are_its_part_of_the_changelog(monkeypatch, tmp_path):
    mine = f"## [{version()}] - 2026-12-01\n\n### Added\n\n- Something.\n"
    changelog(tmp_path, monkeypatch, f"## [Unreleased]\n\n{mine}\n## [0.0.1] - 2026-01-01\n\n- Older.\n")
    assert packages.notes(f"v{version()}") == "### Added\n\n- Something.\n"


def changelog(folder, monkeypatch, text):
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n{text}")
    (folder / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    monkeypatch.setattr(packages, "ROOT", folder)


def test_the_version_is_read_as_hatchling_reads_it():
    assert version() == tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


# -- types ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mypy(release, tmp_path_factory):
    """Checks a file as strictly as can be, in an environment that has the wheels, and of others the smallest ones."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("types")
    venv.create(folder / "venv")
    ours = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    for package in FOLDERS:
        zipfile.ZipFile(wheel(package, release[0] / "dist")).extractall(ours)
    for name in ("msgspec", "pluggy"):
        (ours / name).symlink_to(Path(sysconfig.get_path("purelib"), name))
    python = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"

    def check(file: Path) -> list[str]:
        how = ["--strict", "--config-file=", f"--cache-dir={folder / 'cache'}", "--python-executable", str(python)]
        command = [sys.executable, "-m", "mypy", *how, "--no-error-summary", "--hide-error-context", file.name]
        return subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=False).stdout.splitlines()

    return check


def test_what_users_write_is_right_and_their_mistakes_are_found(mypy):
    expected = {
        (number, marked[1])
        for number, line in enumerate(CONSUMER.read_text().splitlines(), 1)
        if (marked := re.search(r"# error: ([a-z-]+)$", line))
    }
    errors = [line for line in mypy(CONSUMER) if " note: " not in line]
    found = [re.fullmatch(r"consumer\.py:(\d+): error: .+\[(.+)\]", line) for line in errors]
    assert {(int(one[1]), one[2]) for one in found} == expected, errors


def test_no_public_name_is_without_a_type(mypy, tmp_path):
    targets = [f"tracking_hooks:{name}" for name in tracking_hooks.__all__]
    for folder in FOLDERS.values():
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        ours = [points for group, points in project["entry-points"].items() if group.startswith(PROJECT)]
        targets += [target for points in ours for target in points.values()]
    asked = tmp_path / "asked.py"
    imports = {f"import {target.partition(':')[0]}" for target in targets}
    names = [target.replace(":", ".") for target in targets if ":" in target]
    asked.write_text("\n".join([*sorted(imports), *(f"reveal_type({name})" for name in names)]))
    said = mypy(asked)
    assert len(said) == len(names) > len(tracking_hooks.__all__) + len(FOLDERS)
    for line in said:
        assert re.search(r'note: Revealed type is "(?!Any"|builtins\.object")', line), line
