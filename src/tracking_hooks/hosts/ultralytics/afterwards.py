"""What is done with a checkpoint outside of its training: validations, exports and benchmarks are added to its run.

Ultralytics' own validations of a training pass the same way and are none of these; nor are those of a benchmark.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from msgspec import structs
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER, RANK

from tracking_hooks.hosts.ultralytics import callbacks, exported, validation
from tracking_hooks.hosts.ultralytics.guard import guard
from tracking_hooks.hosts.ultralytics.plots import wait_until_drawn
from tracking_hooks.recording import addenda, configuration
from tracking_hooks.recording.addenda import Addendum
from tracking_hooks.run import checkpoints, journal, portable
from tracking_hooks.run.checkpoints import Found
from tracking_hooks.settings import is_off

_PLOTTING_TIMEOUT = 10.0
_GENERIC = ("data", "dataset")

_of_trainings: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""Validators that a trainer has used, by id: its last validation is called like one of the user's."""

_trainers: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""These trainers, by the ids of their validators."""

_in_benchmark: ContextVar[bool] = ContextVar("in_benchmark", default=False)


def validate(original: Callable[..., Any], validator: Any, *args: Any, **kwargs: Any) -> Any:
    """Validate (``BaseValidator.__call__``), and add what came of it to the run."""
    trainer, model = [*args, None, None][:2]
    trainer = kwargs.get("trainer", trainer)
    if trainer is not None:
        _of_trainings[id(validator)] = validator
        if isinstance(trainer, BaseTrainer):  # what stands in for one may have no weak references
            _trainers[id(validator)] = trainer
    is_own = _of_trainings.get(id(validator)) is validator
    its_trainer = _trainers.get(id(validator)) if is_own else None
    looker = callbacks.looker(its_trainer, validator, is_final=trainer is None)
    if looker:
        looker.begin(its_trainer, validator)
    try:
        metrics = original(validator, *args, **kwargs)
    finally:
        if looker:
            looker.stop()
    if looker:
        with guard("keeping what the model sees"):
            looker.keep(its_trainer, validator)
    if trainer is not None:
        with guard("recording the validation"):
            callbacks.validated(trainer, validator)
    elif not is_own:
        with guard("adding the validation to its run"):
            if added := _run_of(kwargs.get("model", model), validator.args):
                _record_evaluation(*added, validator, metrics)
    return metrics


def export(original: Callable[..., Any], exporter: Any, *args: Any, **kwargs: Any) -> Any:
    """Export (``Exporter.__call__``), and add the file to the run."""
    result = original(exporter, *args, **kwargs)
    with guard("adding the export to its run"):
        if added := _run_of(kwargs.get("model", args[0] if args else None), exporter.args):
            addendum, found = added
            artifact = exported.artifact(addendum.folder, Path(str(result)))
            made = str(exporter.args.format)
            addendum.record("on_export", artifact=artifact, format=made, checkpoint=found.checkpoint)
            # A validation of the exported file belongs to the run, too, wherever it lies.
            checkpoints.note(
                found.folder, structs.replace(found.checkpoint, size=artifact.size, digest=artifact.digest)
            )
    return result


def benchmark(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Compare formats (``benchmark``), and add the table to the run."""
    token = _in_benchmark.set(True)
    try:
        table = original(*args, **kwargs)
    finally:
        _in_benchmark.reset(token)
    with guard("adding the benchmark to its run"):
        model = kwargs.get("model", args[0] if args else None)
        added = _run_of(getattr(model, "model", model)) if table is not None else None
        if added:
            addendum, found = added
            name = "-".join(["benchmark", *_unless_best(found)])
            addendum.record("on_table", artifact=exported.table(addendum.folder, table, name), step=None)
    return table


def _run_of(model: Any, args: Any = None) -> tuple[Addendum, Found] | None:
    """Return what to record with, and the checkpoint; None if it is of no run of mine, or nobody asks for this.

    :param model: a network, or the path of a file
    :param args: tell the path where the network does not
    """
    if RANK > 0 or _in_benchmark.get():
        return None
    settings = configuration.read_all_settings()
    if is_off(settings.selection) or settings.evaluations == "off":
        return None
    path = model if isinstance(model, (str, Path)) else getattr(model, "pt_path", None) or getattr(args, "model", None)
    found = checkpoints.find(Path(path)) if isinstance(path, (str, Path)) else None
    addendum = addenda.open_for(found.folder, LOGGER) if found else None
    return (addendum, found) if addendum and found else None


def _record_evaluation(addendum: Addendum, found: Found, validator: Any, metrics: Any) -> None:
    split = _name(found, validator.args)
    speed = {f"speed/{stage}_ms": value for stage, value in validator.speed.items() if stage != "loss"}
    addendum.record(
        "on_evaluation",
        split=split,
        metrics={**(metrics or {}), **speed},
        **validation.parts(validator),
        checkpoint=found.checkpoint,
    )
    wait_until_drawn(_PLOTTING_TIMEOUT)
    for path in map(Path, validator.plots):
        with guard(f"recording the plot {path}"):
            if path.is_file():
                artifact = exported.plot(addendum.folder, path, f"evaluation/{split}/{path.name}")
                addendum.record("on_artifact", artifact=artifact)


def _name(found: Found, args: Any) -> str:
    """Name what was validated: the split; the data and the file where they are others than those of the training."""
    used = _data(args.data, portable.working_folder())
    start = next(iter(journal.calls(found.folder.journal, ("on_run_start",))), None)
    trained_on = start.args["params"].get("data") if start else None
    is_other = start is not None and trained_on and _data(trained_on, start.args["environment"].cwd) != used
    return "-".join([*([used] if is_other else []), str(args.split), *_unless_best(found)])


def _data(given: object, folder: Path) -> str:
    """Return the name of a data set, which many of them have by their folder: ``shapes/data.yaml``."""
    path = folder / str(given)
    name = path.parent.name if path.stem in _GENERIC else path.stem
    return re.sub(r"[^\w.-]", "_", name)


def _unless_best(found: Found) -> list[str]:
    """Return the name of the file that was used, unless it is the weights that count."""
    checkpoint = found.checkpoint
    if checkpoint.path.suffix != ".pt" or checkpoint.kind in ("periodic", "action"):
        return [checkpoint.path.name]
    return [] if checkpoint.kind == "best" else [f"{checkpoint.kind}.pt"]
