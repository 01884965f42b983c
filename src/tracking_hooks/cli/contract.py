"""Runs the contract suite of ``tracking_hooks.testing`` against an installed plugin."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import click

import tracking_hooks
from tracking_hooks import plugins
from tracking_hooks.markers import READER_GROUP
from tracking_hooks.settings import ConfigurationError


def run(name: str) -> int:
    """Run it by pytest, in a process and a folder of its own; return the exit code.

    :raises click.ClickException: if it cannot be run
    """
    try:
        if name not in plugins.installed(READER_GROUP):
            plugins.load(name)
            raise click.ClickException(
                f"{name!r} does not say what a reader of its tracker sees: it needs an entry point {name!r} in the "
                f"group {READER_GROUP}, which names a module with observe(destination)."
            )
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    if not find_spec("pytest"):
        raise click.ClickException("The suite needs pytest: pip install pytest")
    checked = Path(tracking_hooks.__file__).parent / "testing/checked.py"
    environment = {**os.environ, "TRACKING_HOOKS_CHECKED_PLUGIN": name}
    with tempfile.TemporaryDirectory(prefix="tracking-hooks-") as folder:
        alone = ["-c", os.devnull, "--rootdir", folder, "--basetemp", f"{folder}/runs", "-p", "no:cacheprovider"]
        suite = [sys.executable, "-m", "pytest", "-q", *alone, str(checked)]
        hints = [sys.executable, "-m", "tracking_hooks.testing.unseen"]
        code = subprocess.run(suite, cwd=folder, env=environment, check=False).returncode
        if not code:
            subprocess.run(hints, cwd=folder, env=environment, check=False)
        return code
