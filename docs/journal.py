"""Prints the format of the journal as the code has it: ``python docs/journal.py > docs/journal.md``."""

from __future__ import annotations

import ast
import inspect
import json
import sys
import types
import typing
from pathlib import Path

from msgspec import NODEFAULT, Struct, structs

from tracking_hooks.hookspecs import LifecycleSpecs
from tracking_hooks.run.journal import COMMON, EVENTS, FORMAT, Head
from tracking_hooks.userspecs import UserSpecs

PAGE = """\
# The format of the journal

This page is written by `python docs/journal.py` from the code that reads and writes journals; a test compares the two.
What the fields mean is told in [hooks.md](hooks.md), how journals are used in [design.md](design.md#the-journal).

## The file

`journal.jsonl` is UTF-8 text, one JSON object a line. The first line is the [head](#the-head), each other line is an
[event](#an-event). The present format is number {format}.

- **A line ends with a newline.** Where that is missing at the end of the file, the line is still being written, or its
  writer has died: a reader waits, and a later writer ends it with a newline. Empty lines mean nothing.
- **Every line has a checksum**, `crc`, as its last key: the CRC-32 (that of zlib) of all bytes of the line before
  `,"crc":`, in eight hexadecimal digits, lower case. A line whose checksum differs is damaged.
- **Numbers that JSON does not have** are the strings `"NaN"`, `"Infinity"` and `"-Infinity"`, where this page says
  *number*. Elsewhere these are strings like any other.
- **Paths** are absolute, as they were on the machine that recorded the run. What lies below the root folder moves
  with it.
- **Text that is no UTF-8**, as in a file name, is written with a question mark for what cannot be kept.

## What a reader does

- A damaged line is skipped, and reported; so is one that it does not understand. The lines beside it are read.
- A field that it does not know is ignored, an event whose `hook` it does not know is skipped, or passed on as the JSON
  that it is: a newer release wrote it.
- A field that is missing has its default, and a parameter that is missing is null: an older release wrote the line.
- A word that it does not know, where this page lists words, costs the line that it stands in.
- A head with a `format` above the one that it knows is refused: it would be misread.

So within one format, releases add fields with defaults, hooks and words, and take nothing away. A recorded journal of
each format is read by a test, for ever (`tests/data`).

In the tables, `{{string: number}}` is an object with numbers as its values. Keys that are integers stand in quotes, as
JSON wants it.

## The head

{head}

## An event

| Field | Type | Default |
| --- | --- | --- |
| `seq` | integer: its number, from 1, rising; a gap where lines could not be written | |
| `time` | number: when it happened, in seconds since 1970 | |
| `hook` | string: one of the hooks below | |
| `args` | object: that hook's own parameters; one that is null is left out | |
| `crc` | string: the checksum | |
{hooks}
## Types

{types}"""

_WORDS = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "`true` or `false`",
    type(None): "null",
    Path: "path",
    typing.Any: "any JSON value",
}


class _Types:
    """Names types, and remembers the Structs among them."""

    def __init__(self) -> None:
        self.structs: dict[str, type[Struct]] = {}

    def name(self, kind: typing.Any) -> str:
        origin, parts = typing.get_origin(kind), typing.get_args(kind)
        if origin is typing.Literal:
            return " or ".join(f'`"{word}"`' for word in parts)
        if origin in (typing.Union, types.UnionType):
            return " or ".join(self.name(part) for part in parts)
        if origin in (list, tuple):
            return f"list of {f'{len(parts)} of ' if origin is tuple else ''}{self.name(parts[0])}"
        if origin is dict:
            return f"{{{self.name(parts[0])}: {self.name(parts[1])}}}"
        if isinstance(kind, type) and issubclass(kind, Struct):
            self.structs[kind.__name__] = kind
            return f"[{kind.__name__}](#{kind.__name__.lower()})"
        return _WORDS[kind]

    def table(self, kind: type[Struct]) -> str:
        """Return the fields of a Struct as a table."""
        hints, told = typing.get_type_hints(kind), _docstrings(kind)
        rows = []
        config = kind.__struct_config__
        if config.tag:
            rows.append(f'| `{config.tag_field}` | `"{config.tag}"` | |')
        for field in structs.fields(kind):
            what = self.name(hints[field.name]) + (f": {told[field.name]}" if field.name in told else "")
            rows.append(f"| `{field.name}` | {what} |{_default(field)} |")
        return "\n".join(["| Field | Type | Default |", "| --- | --- | --- |", *rows])


def _default(field: structs.FieldInfo) -> str:
    if field.required:
        return ""
    value = field.default if field.default is not NODEFAULT else field.default_factory()
    return f" `{json.dumps(value)}`"


def _docstrings(kind: type[Struct]) -> dict[str, str]:
    """Return what is said below each field of a class, as part of a sentence."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    found = {}
    for field, below in zip(definition.body, definition.body[1:]):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            said = " ".join(inspect.cleandoc(below.value.value).replace("``", "`").split())
            found[field.target.id] = (said[0].lower() if said[1].islower() else said[0]) + said[1:].removesuffix(".")
    return found


def page() -> str:
    """Return the page."""
    named = _Types()
    head = named.table(Head)
    hooks = ""
    for hook, spec in {**vars(LifecycleSpecs), **vars(UserSpecs)}.items():
        if hook in EVENTS:
            hints = typing.get_type_hints(spec)
            own = [name for name in inspect.signature(spec).parameters if name not in COMMON]
            rows = "".join(f"| `{name}` | {named.name(hints[name])} |\n" for name in own)
            hooks += f"\n### {hook}\n\n| Parameter | Type |\n| --- | --- |\n{rows}"
    tables: dict[str, str] = {}
    while missing := named.structs.keys() - tables.keys():
        tables |= {name: named.table(named.structs[name]) for name in missing}
    listed = "\n".join(f"### {name}\n\n{tables[name]}\n" for name in sorted(tables))
    return PAGE.format(format=FORMAT, head=head, hooks=hooks, types=listed)


if __name__ == "__main__":
    sys.stdout.write(page())
