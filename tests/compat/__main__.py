"""Runs cells, one after the other, keeps what came of each at once, and writes the page."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.compat import page, results, training
from tests.compat.cells import CELLS
from tests.compat.results import NOT_TRIED, is_as_said
from tracking_hooks.cli.shapes import make_shapes


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.compat", description=__doc__)
    parser.add_argument("--only", action="append", help="the beginning of a cell's name, such as ultralytics==8.3")
    parser.add_argument("--list", action="store_true", help="print the names of the cells")
    given = parser.parse_args()
    chosen = [cell for cell in CELLS if cell.name.startswith(tuple(given.only or [""]))]
    if given.list:
        print("\n".join(cell.name for cell in chosen))
        return
    found = results.read()
    failed = []
    with tempfile.TemporaryDirectory(prefix="compat-") as folder:
        data = make_shapes(Path(folder) / "shapes")
        for cell in chosen:
            result = training.run(cell, Path(folder) / cell.name.replace("==", "-"), data)
            if result.tracked != NOT_TRIED:  # else pip or the network failed, and what was found earlier still holds
                found[cell.name] = result
                results.write(found[other.name] for other in CELLS if other.name in found)
            told = [page.tracked(result), *filter(None, [result.bare])]
            print(f"{cell.name}: {'; '.join(told)}", file=sys.stderr, flush=True)
            failed += [] if is_as_said(cell, result) else [cell.name]
    page.PAGE.write_text(page.render(found), encoding="utf-8")
    if failed:
        raise SystemExit(f"these are not as they are said to be: {', '.join(failed)}")


if __name__ == "__main__":
    main()
