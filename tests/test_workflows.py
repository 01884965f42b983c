"""What a release publishes was built once, tried, and attested; who may sign runs nothing of ours."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from tests.makefile import ROOT
from tests.release.__main__ import parser

yaml = pytest.importorskip("yaml")
JOBS: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/release.yaml").read_text("utf-8"))["jobs"]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text("utf-8")


def steps(job: str, action: str = "", command: str = "") -> list[dict[str, Any]]:
    """The steps of a job that use an action, or run a command."""
    found = JOBS[job]["steps"]
    return [step for step in found if action in step.get("uses", "") and command in step.get("run", "")]


def before(job: str) -> set[str]:
    """The jobs that have succeeded when a job begins."""
    needed = set(JOBS[job].get("needs", []))
    return needed.union(*map(before, needed))


def of_steps(job: str, action: str) -> list[dict[str, Any]]:
    """What the steps of a job give to an action."""
    return [step["with"] for step in steps(job, action)]


def test_the_packages_are_built_once_and_nothing_is_published_that_was_not_tried():
    stored = [(job, given["name"]) for job in JOBS for given in of_steps(job, "upload-artifact")]
    assert [job for job, name in stored if name == "dist"] == ["build"]
    assert [job for job in JOBS if steps(job, "pypi-publish")] == ["pypi"]
    assert before("pypi") >= {"build", "try", "attest", "images"}
    assert before("images") >= {"build", "try"}
    assert before("release") >= {"pypi"}


def test_what_is_run_is_the_rehearsal_with_options_that_it_has():
    commands = [
        line.strip() for job in ("build", "try") for step in steps(job) for line in step.get("run", "").splitlines()
    ]
    rehearsed = [command for command in commands if "python -m tests.release" in command]
    build, tried = [parser().parse_args(shlex.split(command)[3:]) for command in rehearsed]
    assert build.build_only and build.tag == "$GITHUB_REF_NAME"
    assert str(tried.built) == "dist" and not tried.borrow and not build.borrow
    for job, options in (("build", build), ("try", tried)):
        for given in of_steps(job, "upload-artifact"):
            assert all(path.startswith(f"{options.folder}/") for path in given["path"].split())


def test_each_file_has_an_attestation_of_where_it_was_built_and_each_wheel_an_sbom():
    where, what = of_steps("attest", "actions/attest@")
    assert where == {"subject-path": "dist/*"}
    assert what == {"subject-path": "dist/*.whl", "sbom-path": "packages.cdx.json"}
    assert [given["attestations"] for given in of_steps("pypi", "pypi-publish")] == [True]


def test_each_image_is_built_with_these_wheels_and_attested_by_its_digest():
    targets = {one["target"] for one in JOBS["images"]["strategy"]["matrix"]["include"]}
    assert targets == set(re.findall(r"^FROM python AS (?!wheels)(\w+)$", DOCKERFILE, re.MULTILINE))
    (stored,) = of_steps("images", "download-artifact")
    (mount,) = re.findall(r"from=wheels,source=(/\w+)", DOCKERFILE)
    (build,) = steps("images", command="docker build")
    assert stored == {"name": "dist", "path": f"built{mount}/"}
    assert "--build-context wheels=built" in build["run"]
    where, what = of_steps("images", "actions/attest@")
    assert where["subject-digest"] == what["subject-digest"] == "${{ steps.publish.outputs.digest }}"
    assert "sbom-path" not in where and what["sbom-path"] == "${{ env.SBOM }}"
    names = [step.get("name", "") for step in steps("images")]
    assert names.index("Scan for what can be mended") < names.index("Publish") < names.index("Where it was built")


def test_who_signs_packages_runs_no_command_and_nobody_has_more_rights_than_needed():
    may = {job: {right for right, kind in JOBS[job]["permissions"].items() if kind == "write"} for job in JOBS}
    assert may == {
        "build": set(),
        "try": set(),
        "attest": {"attestations", "id-token"},
        "images": {"attestations", "id-token", "packages"},
        "pypi": {"id-token"},
        "release": {"contents"},
    }
    assert not any("run" in step for job in ("attest", "pypi") for step in JOBS[job]["steps"])


def test_the_release_has_the_checksums_the_sboms_and_the_notes():
    stored = [given for job in JOBS for given in of_steps(job, "upload-artifact")]
    assert {given["name"].partition("-")[0] for given in stored} == {"dist", "about", "sbom"}
    (about,) = [given["path"] for given in stored if given["name"] == "about"]
    assert about.split() == ["release/SHA256SUMS", "release/notes.md"]
    (made,) = steps("release", command="gh release create")
    assert "--notes-file notes.md" in made["run"]
    assert of_steps("release", "download-artifact") == [{"path": "files/", "merge-multiple": True}]
