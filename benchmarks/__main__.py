"""Runs all groups of benchmarks, one after the other, and writes the page.

A group's samples are kept when it is done: after an interruption, ``--from GROUP`` goes on.
"""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks import group
from benchmarks.samples import RESULTS

GROUPS = ("loop", "start_end", "validation", "recording", "delivery", "memory", "growth", "profiles")


def main() -> None:
    parser = group.parser("python -m benchmarks", __doc__)
    parser.add_argument("--from", dest="first", choices=GROUPS, default=GROUPS[0], help="the first group to run")
    parser.add_argument("--only", choices=GROUPS, action="append", help="a group to run, and no other")
    given = parser.parse_args()
    chosen = group.options(given)
    arguments = [*chosen.words, "--results", str(chosen.results)]
    for name in given.only or GROUPS[GROUPS.index(given.first) :]:
        started = time.monotonic()
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=False).returncode:
            raise SystemExit(f"{name} failed; to go on from there: --from {name}")
        print(f"{name}: {(time.monotonic() - started) / 60:.1f} minutes", file=sys.stderr, flush=True)
    page = ["--page", str(chosen.results / "benchmarks.md")] if chosen.results != RESULTS.resolve() else []
    subprocess.run([sys.executable, "-m", "benchmarks.page", "--results", str(chosen.results), *page], check=True)


if __name__ == "__main__":
    main()
