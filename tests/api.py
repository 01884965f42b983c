"""The public API as a list of signatures: ``python -m tests.api`` writes it anew.

A line that is gone or reads otherwise breaks somebody's plugin or script. Listed is what docs/hooks.md calls public.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tests/data/api.txt"

MODULES = (
    "events", "actions", "pages", "predictions", "drawing", "hookspecs", "userspecs", "trainerspecs", "testing",
    "testing.contract",
)  # fmt: skip
"""Besides the names of the package itself."""

_COLLECTING = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}


@functools.cache
def _package() -> griffe.Module:
    loaded = griffe.load("tracking_hooks", search_paths=[ROOT / "src"], resolve_aliases=True)
    assert isinstance(loaded, griffe.Module)
    return loaded


def lines() -> list[str]:
    """Return the lines, sorted."""
    import tracking_hooks

    package = _package()
    found = {line for name in tracking_hooks.__all__ for line in _of(f"tracking_hooks.{name}", _home(package, name))}
    for module in MODULES:
        for name, member in package[module].members.items():
            if not name.startswith("_") and (not member.is_alias or name in (package[module].exports or ())):
                found |= set(_of(f"tracking_hooks.{module}.{name}", _final(member)))
    return sorted(found)


def _home(package: griffe.Module, name: str) -> griffe.Object:
    import tracking_hooks

    return _final(package[f"{tracking_hooks._HOMES[name]}.{name}"])


def _final(member: griffe.Object | griffe.Alias) -> griffe.Object:
    return member.final_target if isinstance(member, griffe.Alias) else member


def _of(path: str, member: griffe.Object) -> Iterator[str]:
    """Return the lines of a function, a class with its members, or a value."""
    if isinstance(member, griffe.Function):
        yield f"{path}({', '.join(_parameters(member.parameters))})"
    elif isinstance(member, griffe.Class):
        yield f"{path}({', '.join(map(str, member.bases))})"
        for name, inner in member.all_members.items():
            if not name.startswith("_"):
                yield from _of(f"{path}.{name}", _final(inner))
    elif isinstance(member, griffe.Attribute):
        yield f"{path}: {member.annotation or ''}".rstrip(": ") + (" = …" if member.value is not None else "")


def _parameters(parameters: griffe.Parameters) -> Iterator[str]:
    kinds = [one.kind for one in parameters]
    for index, one in enumerate(parameters):
        if one.kind is griffe.ParameterKind.keyword_only and griffe.ParameterKind.keyword_only not in kinds[:index]:
            yield "*"
        annotation = f": {one.annotation}" if one.annotation else ""
        default = "" if one.default is None or one.kind in _COLLECTING else " = …"
        yield f"{_COLLECTING.get(one.kind, '')}{one.name}{annotation}{default}"


if __name__ == "__main__":
    LIST.write_text("\n".join(lines()) + "\n")
