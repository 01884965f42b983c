"""A table that the user has logged, as Markdown of a bounded size."""

from __future__ import annotations

import json

from tracking_hooks_tensorboard.markdown import table

_ROWS, _COLUMNS, _CHARACTERS = 200, 30, 300
"""How much is shown: TensorBoard sends a text whole to the browser. The rest is in the file that the table came in."""


def shown(data: bytes) -> str:
    """Return the first rows and columns, and how many are left out.

    :param data: ``{"columns": [names], "data": [rows]}``
    :raises ValueError: if it is something else
    """
    try:
        content = json.loads(data)
        columns, rows = list(content["columns"]), [list(row) for row in content["data"]]
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(f"it is not a table ({type(error).__name__}: {error})") from None
    text = table(map(_cell, columns[:_COLUMNS]), ([_cell(value) for value in row[:_COLUMNS]] for row in rows[:_ROWS]))
    left_out = [
        f"{count - most:,} {what}"
        for what, count, most in (("rows", len(rows), _ROWS), ("columns", len(columns), _COLUMNS))
        if count > most
    ]
    return f"{text}\n{' and '.join(left_out)} more in the logged table" if left_out else text


def _cell(value: object) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"
