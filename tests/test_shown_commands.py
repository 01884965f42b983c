"""Programs, options and files exist that documents name in their text, in blocks that no test runs, and in scripts.

The other blocks are run: see ``tests/e2e/test_blocks.py``.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import suppress

import click
import pytest

from tests.makefile import ROOT, TARGETS
from tests.support.blocks import SHELL, blocks
from tracking_hooks.cli import main

DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "docker/*.md", "docker/slurm/*", "examples/*.py", "plugins/*/README.md")
    for path in ROOT.glob(pattern)
)
PACKAGES = {"tracking-hooks", *(path.name for path in (ROOT / "plugins").iterdir())}


def text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def shown(document: str) -> list[str]:
    """The command lines of a document: in blocks that no test runs, and in the text as code of several words."""
    if not document.endswith(".md"):  # a script says in its first lines how to call it
        return re.findall(r"^(?:# +)?((?:[A-Z_]+=\S+ )*(?:python|tracking-hooks) .+)$", text(document), re.MULTILINE)
    shells = "".join(block.commands for block in blocks(document) if block.not_run and block.language in SHELL)
    prose = re.sub(r"^```.*?^```$", "", text(document), flags=re.MULTILINE | re.DOTALL)
    code = [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", prose) if " " in code]
    return [*shells.replace("\\\n", " ").splitlines(), *code]


def calls(document: str, *program: str) -> list[list[str]]:
    """The arguments of each call of a program, up to the next command of the line."""
    found = []
    for line in shown(document):
        words = split(line)
        for at in range(len(words)):
            if words[at : at + len(program)] == list(program):
                arguments = words[at + len(program) :]
                ends = [index for index, word in enumerate(arguments) if set(word) <= set("();<>|&")]
                found.append([word.strip("[]…") for word in arguments[: ends[0] if ends else None]])
    return [arguments for arguments in found if arguments]


def split(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return []  # code, but not of a shell


def all_calls(*program: str) -> list[tuple[str, list[str]]]:
    return [(document, words) for document in DOCUMENTS for words in calls(document, *program)]


def ids(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


@pytest.mark.parametrize(("document", "words"), all_calls("tracking-hooks"), ids=ids)
def test_a_command_of_ours_exists_with_each_option(document, words):
    command = main.get_command(click.Context(main), words[0])
    assert command, f"{document} shows tracking-hooks {words[0]}"
    with suppress(click.BadOptionUsage):  # "simulate --control" is a way to speak of it
        command.make_parser(click.Context(command)).parse_args(words[1:])  # raises NoSuchOption


@pytest.mark.parametrize(("document", "words"), all_calls("make"), ids=ids)
def test_a_target_of_make_exists(document, words):
    assert {word for word in words if "=" not in word} <= set(TARGETS), f"{document} shows make {shlex.join(words)}"


@pytest.mark.parametrize(("document", "words"), all_calls("python"), ids=ids)
def test_a_script_or_module_of_ours_exists_with_each_option(document, words):
    if words[0] == "-m":
        path = ROOT / words[1].replace(".", "/")
        start, rest = words[:2], words[2:]
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{document} shows {words}"
    elif "/" not in words[0]:
        pytest.skip("a script of the reader's")
    else:
        start, rest = words[:1], words[1:]
        assert (ROOT / words[0]).exists(), f"{document} shows {words}"
    if options := [word.partition("=")[0] for word in rest if word.startswith("--")]:
        help_ = subprocess.run(
            [sys.executable, *start, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert set(options) <= set(re.findall(r"--[\w-]+", help_)), f"{document} shows {words}"


@pytest.mark.parametrize(("document", "words"), all_calls("pip", "install"), ids=ids)
def test_a_package_that_is_to_be_installed_exists(document, words):
    for word in words:
        if "/" in word:
            assert (ROOT / word / "pyproject.toml").exists(), f"{document} shows {word}"
        elif word.startswith("tracking-hooks"):
            name, _, extra = word.rstrip("]").partition("[")
            assert name in PACKAGES, f"{document} shows {word}"
            assert not extra or f"\n{extra} = [" in text("pyproject.toml"), f"{document} shows {word}"


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if shown(name)])
def test_the_files_of_this_repository_that_commands_name_exist(document):
    folders = [path.name for path in ROOT.iterdir() if path.is_dir()]
    tops = "|".join(sorted(name for name in folders if name[0] != "." and name != "runs"))  # trainings make that one
    for line in shown(document):
        for path in re.findall(rf"(?:^|[ =])((?:{tops})/[\w./-]+)", line):
            made = path.startswith(("docker/secrets", "docker/backups", "build/"))
            assert made or (ROOT / path).exists(), f"{document} shows {path}"
