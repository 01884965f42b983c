"""Prints the reference of the public names from their docstrings: ``python docs/api.py > docs/api.md``.

The source is read, not imported.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]

PAGE = """\
# API

This page is written by `python docs/api.py` from the docstrings of the names that are
[public](hooks.md#what-is-public); a test compares the two. The hooks, with their parameters and when they are called,
are in [Hooks](hooks.md); the commands are in [Commands](commands.md). Each name is imported from the module under which
it is listed.

{modules}"""

MODULES = {
    "tracking_hooks": "For scripts, plugins and rules. [Your script and the run](your-script.md) shows them at work.",
    "tracking_hooks.events": "The data that hooks receive. [Hooks](hooks.md#data) has more of each field.",
    "tracking_hooks.predictions": "What [the model sees](predictions.md): the data of the hook `on_predictions`.",
    "tracking_hooks.drawing": "Pictures of that data.",
    "tracking_hooks.testing": "For the tests of a plugin: see [Writing a plugin](writing-a-plugin.md#test).",
    "tracking_hooks.testing.contract": "The same as a suite of tests to inherit from.",
}
"""Each public module that is not a specification of hooks, and what it is there for."""

_MARKS = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}
_ROLES = {"param": "Parameter", "raises": "Raises", "return": "Returns", "returns": "Returns", "yields": "Yields"}
_FIELD = re.compile(r"^:(?=(?:param|raises|returns?|yields)\b)", re.MULTILINE)
_MADE = re.compile(r"field\(default_factory=(dict|list)\)|'")
_SHORT = {"dict": "{}", "list": "[]", None: '"'}


def page() -> str:
    """Return the page."""
    package = griffe.load("tracking_hooks", search_paths=[ROOT / "src"], resolve_aliases=True)
    told: set[str] = set()
    modules = []
    for path, about in MODULES.items():
        module = package if path == package.path else package[path.removeprefix(f"{package.path}.")]
        entries = [_entry(name, member, told) for name, member in _public(module)]
        modules.append(f"## {path}\n\n{about}\n\n" + "\n".join(entry for entry in entries if entry))
    return re.sub("\n{3,}", "\n\n", PAGE.format(modules="\n".join(modules)))


def _public(module: griffe.Object) -> Iterator[tuple[str, griffe.Object]]:
    """Yield what a module offers: what it lists, else what it defines."""
    for name in module.exports or module.members:
        member = module.members[str(name)]
        if module.exports or not (str(name).startswith("_") or member.is_alias):
            yield str(name), member.final_target if isinstance(member, griffe.Alias) else member


def _entry(name: str, member: griffe.Object, told: set[str]) -> str:
    """Return the section of a name; nothing for one that an earlier module has."""
    if member.path in told:
        return ""
    told.add(member.path)
    return f"### {name}\n\n{_described(name, member)}"


def _described(name: str, member: griffe.Object) -> str:
    if isinstance(member, griffe.Function):
        return f"{_code(_signature(name, member))}\n{_prose(member)}"
    if not isinstance(member, griffe.Class):
        shown = f"{name} = {member.value}" if "Alias" in str(member.annotation) or not member.annotation else name
        return f"{_code(shown)}\n{_prose(member)}"
    parts = [_code(_head(name, member)), _prose(member)]
    made = member.members.get("__init__")
    if _is_raised(member) and made:
        parts.append(_listed(made))
    if fields := _fields(member):
        parts.append(f"| Field | Type | Meaning |\n| --- | --- | --- |\n{fields}")
    for inner, method in _members(member):
        if isinstance(method, griffe.Function) and not inner.startswith("test_"):
            parts.append(f"#### {name}.{inner}\n\n{_described(inner, method)}")
    return "\n".join(parts)


def _head(name: str, member: griffe.Class) -> str:
    made = member.members.get("__init__")
    if _is_raised(member) and isinstance(made, griffe.Function):
        return _signature(name, made).removesuffix(" -> None")
    return f"class {name}({', '.join(map(str, member.bases))})".replace("()", "")


def _is_raised(member: griffe.Class) -> bool:
    return any(str(base) == "Exception" for base in member.bases)


def _members(owner: griffe.Class) -> list[tuple[str, griffe.Object]]:
    found = {name: member for name, member in owner.all_members.items() if not name.startswith("_")}
    return [(name, m.final_target if isinstance(m, griffe.Alias) else m) for name, m in found.items()]


def _fields(owner: griffe.Class) -> str:
    rows = []
    for name, member in _members(owner):
        if isinstance(member, griffe.Attribute) and (member.annotation or member.docstring):
            typed = " = ".join(str(part) for part in (member.annotation, member.value) if part is not None)
            cells = [
                f"`{name}`",
                f"`{_MADE.sub(lambda found: _SHORT[found[1]], typed)}`" if typed else "",
                _text(member),
            ]
            rows.append(f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |\n")
    return "".join(rows)


def _signature(name: str, function: griffe.Function) -> str:
    """Return a call as one writes it, over several lines if it is long."""
    given: list[str] = []
    for one in (one for one in function.parameters if one.name not in {"self", "cls"}):
        if one.kind is griffe.ParameterKind.keyword_only and not any(word.startswith("*") for word in given):
            given.append("*")
        annotation = f": {one.annotation}" if one.annotation else ""
        default = "" if one.default is None or one.kind in _MARKS else f" = {one.default}"
        given.append(f"{_MARKS.get(one.kind, '')}{one.name}{annotation}{default}")
    returned = f" -> {function.returns}" if function.returns else ""
    name = "".join(f"@{one.value}\n" for one in function.decorators if str(one.value) == "contextmanager") + name
    line = f"{name}({', '.join(given)}){returned}"
    return line if len(line) < 90 else f"{name}(\n    " + ",\n    ".join(given) + f",\n){returned}"


def _code(signature: str) -> str:
    """Return a signature as a block; it is no code that anybody could run."""
    return "```text\n" + signature.replace("'", '"') + "\n```\n"


def _text(member: griffe.Object) -> str:
    return re.sub("``", "`", member.docstring.value) if member.docstring else ""


def _prose(member: griffe.Object) -> str:
    """Return a docstring as Markdown, its fields as a list."""
    return f"{_FIELD.split(_text(member))[0].strip()}\n{_listed(member)}"


def _listed(member: griffe.Object) -> str:
    """Return the fields of a docstring, such as ``:param name:``, as a list."""
    fields = [_field(" ".join(field.split())) for field in _FIELD.split(_text(member))[1:]]
    return "".join(["\n", *(f"{field}\n" for field in fields)]) if fields else ""


def _field(field: str) -> str:
    what, _, text = field.partition(":")
    role, _, name = what.partition(" ")
    code = f" `{name}`" if name else ""
    return f"- {_ROLES[role]}{code}: {text.strip()}"


if __name__ == "__main__":
    sys.stdout.write(page())
