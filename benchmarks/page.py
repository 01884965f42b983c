"""Writes ``docs/benchmarks.md`` out of the samples; measures nothing."""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks import samples
from benchmarks.bounds import BOUNDS, Bound
from benchmarks.contents import INTRODUCTION, SECTIONS, Section, Table
from benchmarks.samples import RESULTS, Head, Sample

PAGE = Path(__file__).parents[1] / "docs/benchmarks.md"


class Measured:
    """The samples of a group, by benchmark, variant and round."""

    def __init__(self, taken: Iterable[Sample]) -> None:
        self._values: dict[tuple[str, str], dict[int, float]] = {}
        self._units: dict[str, str] = {}
        for sample in taken:
            self._values.setdefault((sample.benchmark, sample.variant), {})[sample.round] = sample.value
            self._units[sample.benchmark] = sample.unit

    def values(self, benchmark: str, variant: str) -> list[float]:
        """Return the value of each round."""
        return list(self._values.get((benchmark, variant), {}).values())

    def variants(self, benchmark: str) -> list[str]:
        """Return all of them, the one with the largest median first."""
        found = [variant for name, variant in self._values if name == benchmark]
        return sorted(found, key=lambda variant: -statistics.median(self.values(benchmark, variant)))

    def unit(self, benchmark: str) -> str:
        """Return in what it was measured; nothing, if it was not."""
        return self._units.get(benchmark, "")

    def pairs(self, benchmark: str, variant: str, other: str) -> list[tuple[float, float]]:
        """Return the values of two variants, round by round."""
        here, there = (self._values.get((benchmark, name), {}) for name in (variant, other))
        return [(here[number], there[number]) for number in here if number in there]


def render(results: Path) -> str:
    """Return the page."""
    parts = [INTRODUCTION, *_bounds(results), *(line for section in SECTIONS for line in _section(section, results))]
    return "\n".join(parts)


def _bounds(results: Path) -> Iterator[str]:
    """Say of each bound whether it holds."""
    groups = {path.stem: Measured(samples.read(path)[1]) for path in results.glob("*.jsonl")}
    rows, reasons = [], []
    for bound in BOUNDS:
        value = _value(bound, groups[bound.group]) if bound.group in groups else None
        if value is not None:
            limit = f"{'at least' if bound.is_least else 'at most'} {bound.bound:g}"
            rows.append(
                f"| {bound.what} | {limit} | {number(value, 4)} | {'yes' if bound.holds(value) else '**no**'} |"
            )
            if not bound.holds(value):
                reasons.append(f"- **{bound.what[0].upper()}{bound.what[1:]}**: {bound.why}")
    if rows:
        yield from ("## Bounds", "", "| Median | Bound | Measured | Holds |", "| --- | ---: | ---: | --- |")
        yield from (*rows, "")
    if reasons:
        yield from ("Where the time goes, for the bounds that do not hold:", "", *reasons, "")


def _value(bound: Bound, measured: Measured) -> float | None:
    if not bound.to:
        found = measured.values(bound.benchmark, bound.variant)
    else:
        pairs = measured.pairs(bound.benchmark, bound.variant, bound.to)
        found = [here / there if bound.by == "ratio" else here - there for here, there in pairs]
    return statistics.median(found) if found else None


def _section(section: Section, results: Path) -> Iterator[str]:
    yield from (f"## {section.title}", "", section.text, "")
    for group in section.groups:
        file = results / f"{group}.jsonl"
        if file.exists():
            first, taken = samples.read(file)
            measured = Measured(taken)
            for table in section.tables:
                yield from _table(table, measured)
            yield from (_made_by(first), "")
        elif not group.endswith("-gpu"):
            yield from (f"There are no samples of this: `python -m benchmarks.{group}` takes them.", "")


def _made_by(first: Head) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in first.versions.items())
    machine = f"{first.cores} cores of {first.cpu}, {first.system}" + (f", {first.gpu}" if first.gpu else "")
    of_quick = " A quick round: its figures say nothing." if "--quick" in first.command else ""
    return f"`{first.command}` on {first.date}: {machine}; Python {first.python}, {versions}.{of_quick}"


def _table(table: Table, measured: Measured) -> Iterator[str]:
    columns = [benchmark for benchmark in table.columns if measured.unit(benchmark)]
    variants = table.rows or [variant for benchmark in columns for variant in measured.variants(benchmark)]
    rows = [row for row in variants if any(measured.values(benchmark, row) for benchmark in columns)]
    if not rows:
        return
    heads = [table.what]
    for benchmark in columns:
        heads.append(f"{benchmark}, {measured.unit(benchmark)}")
        if table.reference:
            heads.append(table.compared)
    yield from (f"| {' | '.join(heads)} |", f"| ---{' | ---:' * (len(heads) - 1)} |")
    for row in rows:
        cells = [row]
        for benchmark in columns:
            cells.append(_median(measured.values(benchmark, row)))
            if table.reference:
                cells.append(_compared(table, benchmark, row, measured))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _median(values: list[float]) -> str:
    """Say a median, and between which values it lies."""
    if not values:
        return ""
    if min(values) == max(values):
        return number(values[0])
    return f"{number(statistics.median(values))} ({number(min(values))} to {number(max(values))})"


def _compared(table: Table, benchmark: str, row: str, measured: Measured) -> str:
    """Say how a variant compares with its reference; a tie, if the reference differs as much from itself."""
    pairs = measured.pairs(benchmark, row, table.reference_of(row))
    if not pairs:
        return ""
    if table.is_difference:
        found = [here - there for here, there in pairs]
        own = [here - there for here, there in measured.pairs(benchmark, table.again, table.reference_of(row))]
        is_tie = abs(statistics.median(found)) <= max(map(abs, own), default=-1)
        texts = [f"{value:+.2f}" for value in (statistics.median(found), min(found), max(found))]
    else:
        found = [here / there for here, there in pairs if there]
        if not found:
            return ""
        own = [here / there for here, there in measured.pairs(benchmark, table.again, table.reference_of(row)) if there]
        is_tie = abs(math.log(statistics.median(found))) <= max((abs(math.log(ratio)) for ratio in own), default=-1)
        texts = [
            f"{value:.3f}" if value < 2 else number(value)
            for value in (statistics.median(found), min(found), max(found))
        ]
    between = f" ({texts[1]} to {texts[2]})" if texts[1] != texts[2] else ""
    return f"{texts[0]}{between}" + ", a tie" * (is_tie and row != table.again)


def number(value: float, count: int = 3) -> str:
    """Write a number with so many digits that count."""
    if value == round(value) and abs(value) < 1000:
        return f"{value:.0f}"
    digits = count - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of the samples")
    parser.add_argument("--page", type=Path, default=PAGE, help="what is written")
    options = parser.parse_args()
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(render(options.results), encoding="utf-8")
    print(f"written: {options.page}")


if __name__ == "__main__":
    main()
