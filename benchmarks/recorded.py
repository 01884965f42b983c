"""Runs that were recorded and that nobody has delivered, for a relay or for ``sync``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from benchmarks.processes import peak_memory
from tests.support.runs import write_run
from tracking_hooks import plugins
from tracking_hooks.delivery.spawn import DELIVERED, start_relay
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings
from tracking_hooks.testing import STARTED, recorded_run, sample_run


def run_of(save_dir: Path, calls: Iterable[Call], plugin: str = "", number: int = 0, **head: object) -> RunFolder:
    """Write a run down.

    :param plugin: where it is to be delivered, as the variables say now
    :param number: what makes its uid
    """
    run = msgspec.structs.replace(sample_run(save_dir), uid=f"20261124-000000-{number:08x}", name=save_dir.name)
    captured = plugins.of_parts(plugins.capture(plugins.load_trainer_sides([plugin]), run)) if plugin else {}
    places = {label: capture.place for label, capture in captured.items() if capture.place}
    destinations = {label: capture.destination for label, capture in captured.items()}
    return write_run(run, calls, destinations, places=places, **head)


def epochs(save_dir: Path, number: int, metrics: int) -> Iterator[Call]:
    """Return the events of a long training without files."""
    yield recorded_run(save_dir)[0]
    for epoch in range(1, number + 1):
        values = {f"metrics/value_{index:02}": 1 / (epoch + index) for index in range(metrics)}
        yield Call(0, STARTED + epoch, "on_epoch_end", {"epoch": epoch, "step": epoch, "metrics": values})
    yield Call(0, STARTED + number + 1, "on_run_end", {"status": "finished", "error": None})


def batches(save_dir: Path, number: int, metrics: int) -> Iterator[Call]:
    """Return the events of a training that has recorded so many batches."""
    yield recorded_run(save_dir)[0]
    for step in range(1, number + 1):
        values = {f"batch/loss_{index}": 1 / (step + index) for index in range(metrics)}
        yield Call(0, STARTED + step, "on_batch_end", {"epoch": 1, "step": step, "metrics": values})
    yield Call(0, STARTED + number + 1, "on_run_end", {"status": "finished", "error": None})


def deliver(folder: RunFolder, label: str) -> int:
    """Let a relay deliver all of it; return the most memory that the relay had, in bytes."""
    relay = start_relay(folder, label, Settings(), drain=True)
    with peak_memory(relay.pid) as peak:
        relay.wait()
    if relay.returncode != DELIVERED:
        raise SystemExit(f"{label}: exit code {relay.returncode}\n{folder.relay(label).log.read_text()}")
    return max(peak)
