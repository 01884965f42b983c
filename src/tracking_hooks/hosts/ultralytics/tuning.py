"""Ultralytics runs that consist of others: a tuning and its trials, one training after the other on many data sets.

The process that tunes records a run of its own: what is tried, one row a trial, the best of them. Its trials are
trainings like any other, in processes of their own or not, which find it by environment. Ultralytics announces
none of this by events.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from ultralytics.cfg import TASK2METRIC, get_cfg, get_save_dir
from ultralytics.engine import trainer as engine
from ultralytics.utils import DEFAULT_CFG, LOGGER
from ultralytics.utils import tuner as ray_tuner

from tracking_hooks.events import Params, Plan
from tracking_hooks.hosts.ultralytics import releases
from tracking_hooks.hosts.ultralytics.run import FILES, NAME, WEIGHTS, new_run, track
from tracking_hooks.recording import parents
from tracking_hooks.recording.parents import TRIAL
from tracking_hooks.recording.recorder import Recorder

_OF_ALL = 0
"""The step of what all trials together have come to; theirs are 1, 2, …"""


class _Tuning(NamedTuple):
    """What is read off a tuning before it begins."""

    args: SimpleNamespace
    save_dir: Path
    params: Params
    resumed: bool = False


def tune(original: Callable[..., Any], tuner: Any, *args: Any, **kwargs: Any) -> Any:
    """Tune with Ultralytics' own tuner (``Tuner.__call__``), each trial in a process of its own."""

    def describe() -> _Tuning:
        space = {name: list(limits) for name, limits in tuner.space.items()}
        params = {**vars(tuner.args), **kwargs, "space": space}
        return _Tuning(tuner.args, Path(tuner.tune_dir), params, resumed=releases.table_of_trials(tuner).exists())

    with _parent_run(describe) as recorder:
        if recorder is None:
            return original(tuner, *args, **kwargs)
        rows = _Rows(recorder, releases.table_of_trials(tuner), several=_several(tuner.args.data))
        rows.skip()  # those of a tuning that is gone on with
        if mutate := getattr(tuner, "_mutate", None):  # what the tuner calls at the start of each trial

            def mutate_and_record(*args: Any, **kwargs: Any) -> Any:
                rows.record()
                return mutate(*args, **kwargs)

            tuner._mutate = mutate_and_record
        try:
            return original(tuner, *args, **kwargs)
        finally:
            rows.record()
            rows.record_best()


def train_each(original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
    """Train on one data set after the other (``MultiTrainer.train``), as ``model.train(data=[a, b])`` does."""
    if parents.is_trial():  # it is a trial of a tuning: its trainings are known
        return original(trainer, *args, **kwargs)
    name = "multitrain"  # as Ultralytics names it

    def describe() -> _Tuning:
        given = SimpleNamespace(**{"project": None, "task": None, "exist_ok": False, **trainer.args})
        return _Tuning(given, _save_dir(given, name), trainer.args)

    with _parent_run(describe) as recorder:
        with _made_here(engine, name, recorder):
            metrics = original(trainer, *args, **kwargs)
        if recorder is not None:
            with _harmless("what the trainings came to"):
                for number, (label, values) in enumerate(metrics.items(), 1):
                    _record(recorder, number, {f"{label}/{metric}": value for metric, value in (values or {}).items()})
                _record(recorder, _OF_ALL, {f"mean/{metric}": v for metric, v in trainer.mean_metrics.items()})
        return metrics


def tune_with_ray(original: Callable[..., Any], model: Any, space: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Tune with Ray Tune (``run_ray_tune``), whose trials find the tuning by its folder (see ``parents.saved_to``)."""
    name = kwargs.get("name", "tune")

    def describe() -> _Tuning:
        given = get_cfg(DEFAULT_CFG, {name: value for name, value in kwargs.items() if hasattr(DEFAULT_CFG, name)})
        given.task, given.exist_ok = model.task, bool(kwargs.get("resume"))
        place = _save_dir(given, name)
        params = {**kwargs, "space": {name: str(domain) for name, domain in (space or {}).items()}}
        return _Tuning(given, place, params, resumed=given.exist_ok and place.exists())

    with _parent_run(describe) as recorder:
        with _made_here(ray_tuner, name, recorder):
            results = original(model, space, *args, **kwargs)
        if recorder is not None:
            with _harmless("the trials"):
                _record_ray(recorder, results, TASK2METRIC[model.task])
        return results


def _parent_run(describe: Callable[[], _Tuning]) -> AbstractContextManager[Recorder | None]:
    """Record a run for the time of a tuning, whose trials are handed on to it; see ``parents.recorded``."""
    return parents.recorded(lambda: _begin(describe()), LOGGER, "the tuning itself")


def _begin(tuning: _Tuning) -> Recorder | None:
    args, save_dir, params, resumed = tuning
    device = getattr(args, "device", None)
    run = new_run(args, save_dir, save_dir.name)
    tracking = track(run, [str(device)] if device else [], (save_dir,) * resumed)
    if tracking is None:
        return None
    save_dir.mkdir(parents=True, exist_ok=True)
    recorder = tracking.start(params, Plan(host=NAME, checkpoints=WEIGHTS, files=FILES))
    recorder.check()
    recorder.begin(params=params, environment=tracking.environment)
    return recorder


@contextmanager
def _harmless(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 nothing of ours may end a tuning
        LOGGER.warning(f"tracking-hooks: {what} cannot be recorded ({type(error).__name__}: {error})")


@contextmanager
def _made_here(module: Any, name: str, recorder: Recorder | None) -> Iterator[None]:
    """Let Ultralytics take the folder that its tuning is already recorded to, rather than the next free one.

    :param module: the one that asks for it, by that name
    """
    original = getattr(module, "get_save_dir", None)
    if recorder is None or original is None:
        yield
        return

    def get_save_dir(args: Any, name_asked_for: str | None = None, **kwargs: Any) -> Path:
        asked = kwargs.get("name", name_asked_for)
        return recorder.run.save_dir if asked == name else Path(original(args, asked))

    module.get_save_dir = get_save_dir
    try:
        yield
    finally:
        module.get_save_dir = original


def _save_dir(args: SimpleNamespace, name: str) -> Path:
    """Return the folder that Ultralytics is about to make for a tuning."""
    place = SimpleNamespace(project=args.project, task=args.task, mode="train", exist_ok=args.exist_ok)
    return Path(get_save_dir(place, name=name))


def _several(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and len(data) > 1


def _record(recorder: Recorder, trial: int, metrics: Mapping[str, Any]) -> None:
    recorder.record("on_log", metrics=dict(metrics), step=trial)


class _Rows:
    """The rows of a tuner's results file, of which each is recorded once."""

    def __init__(self, recorder: Recorder, table: Path, *, several: bool) -> None:
        self._recorder = recorder
        self._table = table
        self._several = several
        self._rows: list[Any] = []

    def skip(self) -> None:
        """Leave out the rows that are there."""
        with _harmless("the table of trials"):
            self._read()
            self._name_next()

    def record(self) -> None:
        """Record the trials that have ended since."""
        with _harmless("a trial's row"):
            for row in self._read():
                _record(self._recorder, row["iteration"], self._metrics(row))
            self._name_next()

    def record_best(self) -> None:
        """Record which trial was the best."""
        with _harmless("the best trial"):
            if self._rows:
                best = self._best(len(self._rows))
                metrics = {"best/trial": best["iteration"], "best/fitness": best["fitness"]}
                metrics |= {f"best/{name}": value for name, value in best["hyperparameters"].items()}
                _record(self._recorder, _OF_ALL, metrics)

    def _metrics(self, row: Any) -> dict[str, Any]:
        metrics = {"tune/fitness": row["fitness"], "tune/best_fitness": self._best(row["iteration"])["fitness"]}
        metrics |= {f"tune/{name}": value for name, value in row["hyperparameters"].items()}
        for name, values in row["datasets"].items():
            metrics |= {f"{name}/{key}" if self._several else key: value for key, value in values.items()}
        return metrics

    def _read(self) -> list[Any]:
        """Return the rows that are new."""
        if not self._table.exists():
            return []
        rows = releases.trials(self._table)
        new, self._rows = rows[len(self._rows) :], rows
        return new

    def _best(self, number: int) -> Any:
        return max((row for row in self._rows if row["iteration"] <= number), key=lambda row: row["fitness"])

    def _name_next(self) -> None:
        os.environ[TRIAL] = f"trial-{len(self._rows) + 1}" + "-*" * self._several


def _record_ray(recorder: Recorder, results: Sequence[Any], metric: str) -> None:
    best: dict[str, Any] = {}
    for number, result in enumerate(results, 1):
        tried = {name: value for name, value in (result.config or {}).items() if isinstance(value, (int, float))}
        reached = {name: value for name, value in (result.metrics or {}).items() if "/" in name}
        _record(recorder, number, {**{f"tune/{name}": value for name, value in tried.items()}, **reached})
        if reached.get(metric, 0.0) >= best.get(f"best/{metric}", 0.0):
            best = {"best/trial": number, f"best/{metric}": reached.get(metric, 0.0)}
            best |= {f"best/{name}": value for name, value in tried.items()}
    if best:
        _record(recorder, _OF_ALL, best)
