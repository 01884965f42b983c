"""The part for node_exporter: keeps the latest value of each gauge in a text file, one for each run."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracking_hooks import Run, Unavailable, hookimpl
from tracking_hooks_otel.gauges import Gauges

ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Textfile(Gauges):
    """Delivers to a file that node_exporter reads whenever it is scraped."""

    key = "textfile"

    @hookimpl
    def open(self, run: Run, state: dict[str, Any], destination: Mapping[str, Any]) -> None:
        """Name the file. The first flush makes it."""
        super().open(run, state, destination)
        if self.wanted:
            self.path = Path(destination["textfile"]) / f"yolo-{run.uid}.prom"
            state["url"] = self.path.as_uri()
            if run.addendum and not self.path.exists():
                raise Unavailable(f"the run {run.uid} is not in {self.path.parent}", only_this_run=True)

    @hookimpl
    def flush(self) -> None:
        """Write the latest values. The file is replaced as a whole: a scrape never sees half of it."""
        if self.points:
            with _alone(self.path):
                self._write()
            self.points = []

    def _write(self) -> None:
        latest = read(self.path)
        for gauge, labels, value, time in self.points:
            series = ",".join(f'{name}="{text.translate(ESCAPES)}"' for name, text in labels.items())
            if time >= latest.get((gauge, series), (0, 0))[1]:
                latest[gauge, series] = value, time
        texts: dict[str, str] = {}
        for (gauge, series), (value, at) in sorted(latest.items()):
            head = texts.get(gauge, f"# HELP {gauge} Of YOLO trainings, by tracking-hooks-otel\n# TYPE {gauge} gauge\n")
            texts[gauge] = f"{head}# at {at!r}\n{gauge}{{{series}}} {value!r}\n"
        new = self.path.with_suffix(".new")
        new.write_bytes("".join(texts.values()).encode())
        new.replace(self.path)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let nobody else write to a file meanwhile: an addendum to the run has a process of its own."""
    if sys.platform == "win32":  # where a folder cannot be opened
        import msvcrt

        with path.with_suffix(".lock").open("ab") as file:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            yield
    else:
        import fcntl

        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def read(path: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """Return value and time of each series in a file. The times are comments: node_exporter refuses others."""
    latest, time = {}, 0.0
    for line in path.read_bytes().decode().split("\n") if path.exists() else ():
        if line.startswith("# at "):
            time = float(line[5:])
        elif line and line[0] != "#":
            series, _, value = line.rpartition("} ")
            gauge, _, labels = series.partition("{")
            latest[gauge, labels] = float(value), time
    return latest
