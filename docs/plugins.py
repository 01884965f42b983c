"""Prints the directory of plugins: ``python docs/plugins.py > docs/plugins.md``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]

PAGE = """\
# Plugins

This page is written by `python docs/plugins.py` from `docs/plugins.toml` and the packages themselves; a test compares
the two. To install one: `pip install` with the name of its package. To use it: `TRACKING_HOOKS` with the name of the
plugin; rules are named in `TRACKING_HOOKS_CONTROL`.

{rows}

A plugin of yours belongs here, too: see [Writing a plugin](writing-a-plugin.md), and open a pull request that adds it
to `docs/plugins.toml`. `tracking-hooks plugins --check NAME` is to pass.
"""


def rows() -> list[list[str]]:
    """Return a row for each plugin."""
    listed: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "docs/plugins.toml").read_text("utf-8"))
    return [_row(name, {**_here(name), **entry}) for name, entry in listed.items()]


def _here(name: str) -> dict[str, Any]:
    """Return what the package of a plugin in this repository says of itself."""
    folder = ROOT / f"plugins/tracking-hooks-{name}"
    if not folder.exists():
        return {}
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    return {
        "package": project["name"],
        "about": project["description"],
        "needs": ", ".join(_requirement(text) for text in project["dependencies"] if "tracking-hooks" not in text),
        "url": f"../plugins/{project['name']}/README.md",
        "kind": "rules" if "tracking_hooks.rules" in project["entry-points"] else "tracker",
    }


def _requirement(text: str) -> str:
    return re.sub(r"\s*;.*", "", text)


def _row(name: str, entry: dict[str, Any]) -> list[str]:
    package = f"[{entry['package']}]({entry['url']})"
    return [f"`{name}`", package, entry["kind"], entry["about"], entry["needs"] or "nothing else", entry["tested"]]


def page() -> str:
    """Return the page."""
    head = ["Plugin", "Package", "Kind", "What it does", "What it needs", "What it is tested with"]
    lines = [head, ["---"] * len(head), *rows()]
    return PAGE.format(rows="\n".join(f"| {' | '.join(cells)} |" for cells in lines))


if __name__ == "__main__":
    sys.stdout.write(page())
