"""What stands before the programs of an environment, so that commands as they are shown fit into a test.

What imports PyTorch is forked, servers are started in the background, and programs that take a person or a service have
a stand-in.
"""

from __future__ import annotations

from pathlib import Path

from tests.support import forked_command, forking, served_command

_FORKED = """#!/bin/sh
# What Python or PyTorch reads at its start asks for a process that has really started.
case "$1" in {first}) ;; *) exec {program} "$@" ;; esac
if [ ! -x {program} ] || env | grep -qE '^(TORCH_|PYTHON[A-OQ-Z])'; then exec {program} "$@"; fi
exec {python} -I -S {client} "${address}" {command} "$@"
"""
_SERVED = """#!/bin/sh
case "$1" in {first}) exec {python} -I -S {client} {command} "$@" {options} ;; esac
exec {program} "$@"
"""
_STANDINS = {
    "clearml-init": """#!/bin/sh
# Asks for what is in the environment here.
""",
    "cvat-cli": """#!/bin/sh
# Takes files that exist, behind "local".
while [ "$1" != local ]; do shift; done
shift
ls "$@"
""",
}
_COMMANDS = "sync|status|simulate|worst|group|open"


def write(folder: Path, environment: Path) -> None:
    """Write the programs into a folder that is to come first in ``PATH``."""
    folder.mkdir()
    bin_ = environment / "bin"
    python, started = bin_ / "python", bin_ / "started-yolo"
    (bin_ / "yolo").rename(started)
    (bin_ / "yolo").symlink_to(folder / "yolo")  # beside Python, where the doctor looks for it
    for name, first, program, command in [
        ("python", "-c|*.py", python, python),
        ("yolo", "*", started, f"{python} {started}"),
        ("tracking-hooks", _COMMANDS, bin_ / "tracking-hooks", f"{python} {bin_ / 'tracking-hooks'}"),
    ]:
        client, address = forked_command.__file__, forking.TRIALS
        text = _FORKED.format(
            first=first, program=program, python=python, client=client, address=address, command=command
        )
        _write(folder / name, text)
    mlflow = f'{python} -I -S {forked_command.__file__} "${forking.SERVERS}" {python} -m mlflow'
    for name, first, command, options in [
        ("mlflow", "server", mlflow, "--workers 1"),
        ("tensorboard", "*", bin_ / "tensorboard", ""),
    ]:
        text = _SERVED.format(
            first=first, program=bin_ / name, python=python, client=served_command.__file__, command=command,
            options=options,
        )  # fmt: skip
        _write(folder / name, text)
    for name, text in _STANDINS.items():
        _write(folder / name, text)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
