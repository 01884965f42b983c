"""The site of the documents, built as ``make docs`` builds it."""

from __future__ import annotations

import importlib.util
import types
from pathlib import Path

import pytest

from tests.makefile import ROOT, make

needed = pytest.mark.skipif(not importlib.util.find_spec("zensical"), reason="zensical is not installed")


def script(name: str) -> types.ModuleType:
    """Import a script of docs/."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / f"docs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(folder: Path) -> Path:
    """Build the site in a folder, and return where its pages are."""
    make("docs", f"ARGS=--into {folder}")
    return folder / "site"
