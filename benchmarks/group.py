"""What every group of benchmarks has in common: its options, its rounds, and where its samples go."""

from __future__ import annotations

import argparse
import functools
import os
import random
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from benchmarks import samples
from benchmarks.samples import RESULTS, Sample

ROOT = Path(__file__).parents[1]
_QUICK = ROOT / "build/bench/quick"
_T = TypeVar("_T")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)


@dataclass(frozen=True)
class Options:
    """What a user can choose."""

    rounds: int
    seconds: float
    quick: bool
    device: str
    results: Path
    variants: tuple[str, ...] = ()
    """Parts of the names of those that are measured; none: all are."""

    @property
    def words(self) -> list[str]:
        """What a command says to take such samples."""
        size = ["--quick"] if self.quick else ["--rounds", str(self.rounds), "--seconds", f"{self.seconds:g}"]
        device = [] if self.device == "cpu" else ["--device", self.device]
        return [*size, *device, *(word for part in self.variants for word in ("--variant", part))]


def parser(prog: str, text: str) -> argparse.ArgumentParser:
    """Return a parser of the options; see ``options``."""
    made = argparse.ArgumentParser(prog=prog, description=text.splitlines()[0])
    made.add_argument("--rounds", type=int, default=3, help="rounds, each with every variant")
    made.add_argument("--seconds", type=float, default=15.0, help="length of a training's loop")
    made.add_argument("--device", default="cpu", help="of the trainings: cpu, or the number of a GPU")
    made.add_argument(
        "--variant", action="append", default=[], metavar="NAME",
        help="of loop and start_end: only those with this in their names; may be given several times",
    )  # fmt: skip
    made.add_argument("--quick", action="store_true", help="one small round: that it works, not what it costs")
    made.add_argument("--results", type=Path, help="the folder of the samples; of a quick round, one in build/")
    return made


def options(given: argparse.Namespace) -> Options:
    results = given.results or (_QUICK if given.quick else RESULTS)
    rounds, seconds = (1, 1.0) if given.quick else (given.rounds, given.seconds)
    return Options(rounds, seconds, given.quick, given.device, results.resolve(), tuple(given.variant))


class Group:
    """One run of a group of benchmarks: takes the samples, in a folder that is gone afterwards."""

    def __init__(self, chosen: Options, folder: Path, keep: Callable[[list[Sample]], None] = lambda _: None) -> None:
        """Begin.

        :param keep: is given the samples so far at the end of each round
        """
        self.options = chosen
        self.folder = folder
        self.taken: list[Sample] = []
        self._keep = keep
        self._round = self._rounds = 0

    def rounds(self, most: int | None = None) -> Iterator[int]:
        """Count the rounds, the first one as 0."""
        self._rounds = min(self.options.rounds, most or self.options.rounds)
        for number in range(self._rounds):
            self._round = number
            yield number
            self._keep(self.taken)

    def scaled(self, full: int, quick: int) -> int:
        """Return how many there are of something."""
        return quick if self.options.quick else full

    def chosen(self, variants: Sequence[_N], quick: Sequence[str]) -> list[_N]:
        """Return those that the user has named, else those of a quick round if it is one, else all.

        :raises SystemExit: if there is none of that name
        """
        if not (parts := self.options.variants):
            return [one for one in variants if one.name in quick or not self.options.quick]
        for part in parts:
            if not any(part in one.name for one in variants):
                raise SystemExit(f"no variant has “{part}” in its name: {'; '.join(one.name for one in variants)}")
        return [one for one in variants if any(part in one.name for part in parts)]

    def mixed(self, things: Sequence[_T]) -> list[_T]:
        """Return them in an order of this round, so that what the machine does beside meets all of them."""
        return random.Random(self._round).sample(things, len(things))

    def add(self, benchmark: str, variant: str, value: float, unit: str) -> None:
        """Take a sample, of the current round."""
        self.taken.append(Sample(benchmark, variant, unit, float(f"{value:.6g}"), self._round))
        number = f"round {self._round + 1} of {self._rounds}"
        print(f"{number}: {benchmark}, {variant}: {value:.4g} {unit}", file=sys.stderr, flush=True)


def main(name: str, text: str, measure: Callable[[Group], None]) -> None:
    """Run a group as a command; its samples replace those of the last time when all of them are there.

    If it is cut off, those of its whole rounds are in a file beside, ``.part``.
    """
    chosen = options(parser(f"python -m benchmarks.{name}", text).parse_args())
    label = name if chosen.device == "cpu" else f"{name}-gpu"
    first = samples.head(label, f"python -m benchmarks.{name} {shlex.join(chosen.words)}", chosen.device)
    for variable in [key for key in os.environ if key.startswith(("TRACKING_HOOKS", "MLFLOW_", "WANDB_"))]:
        del os.environ[variable]
    with tempfile.TemporaryDirectory(prefix="tracking-hooks-bench-") as folder:
        os.environ.update(XDG_STATE_HOME=f"{folder}/state", XDG_CACHE_HOME=f"{folder}/cache")
        os.environ.setdefault("MPLCONFIGDIR", f"{folder}/matplotlib")  # fonts are looked for once, in the warm-up
        os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", WANDB_MODE="offline", WANDB_SILENT="true")
        part = chosen.results / f"{label}.jsonl.part"
        group = Group(chosen, Path(folder), functools.partial(samples.write, part, first))
        measure(group)
    samples.write(part, first, group.taken)
    part.replace(part.with_suffix(""))
