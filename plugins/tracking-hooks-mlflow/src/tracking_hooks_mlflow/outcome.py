"""What a run has come to: a training by its best checkpoint, a tuning by its best trial, a group by its mean.

The state keeps it as text until the run's end, when the description says it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tracking_hooks.events import Error, Metrics, Run, State, Status
from tracking_hooks_mlflow import note

_TELLING = ("mAP50-95", "mAP50", "accuracy_top1", "accuracy_top5", "delta1", "abs_rel")
_LONGEST = 200  # characters of an error's message


def note_row(state: State, run: Run, step: int, metrics: Metrics) -> None:
    """Note what a tuning's trial, or a group's run, has come to; behind them, at step 0, what all have."""
    if step:
        known = state.get("rows", [])  # of a group's runs some are left out, and have no row
        state["rows"] = sorted({*known, step}) if run.task == "group" else [max([*known, step])]
        return
    if "best/trial" in metrics:
        state["best_trial"] = {name.removeprefix("best/"): _figure(value) for name, value in metrics.items()}
    means = {name.removeprefix("mean/"): value for name, value in metrics.items() if name.startswith("mean/")}
    if means:
        state["mean"] = {name: _spread(value, metrics.get(f"std/{name}")) for name, value in means.items()}


def note_epoch(state: State, epoch: int, metrics: Metrics) -> None:
    """Note what an epoch has come to: a training that does not finish has no best checkpoint."""
    if epoch <= state.get("last", [0])[0]:
        return  # it was set aside, and comes late
    state.pop("best", None)  # of a part of the run that was thought to be the last one
    if found := {name: _figure(value) for name, value in metrics.items() if name.startswith("metrics/")}:
        state["last"] = [epoch, found]


def note_best(state: State, metrics: Metrics) -> None:
    """Note what the best checkpoint has come to."""
    state["best"] = {name: _figure(value) for name, value in metrics.items()}


def described(status: Status, error: Error | None, epochs: int, state: State) -> dict[str, str]:
    """Return the parts of the description that tell it: a sentence, and a table of figures.

    Of the sentence, a list of runs shows forty characters, beside the status.
    """
    rows = state.get("rows", [0])
    heading, told = "", ""
    shown: dict[str, str]
    if shown := state.get("best", {}):
        heading, told = "Best checkpoint", _telling(shown)
    elif trial := state.get("best_trial"):
        shown = {name: value for name, value in trial.items() if name != "trial"}
        heading, told = f"Trial {trial['trial']}", f"trial {trial['trial']}, the best of {rows[-1]}"
        told = "".join(f"{_short(name)} {value} in " for name, value in [*shown.items()][:1]) + told
    elif shown := state.get("mean", {}):
        heading, told = "Mean ± standard deviation", f"{_telling(shown)}, mean of {_counted(len(rows), 'run')}"
    elif "last" in state:
        epoch, shown = state["last"]
        heading, told = f"Epoch {epoch}", _telling(shown)
    ended = f"{status} after {_counted(epochs, 'epoch')}" if epochs else status
    if error:
        ended += f": `{_first_line(error)}`"
    said = [told, ended] if status == "finished" else [ended, told]
    return {"result": f"**Result:** {', '.join(filter(None, said))}", "figures": note.figures(heading, shown)}


def _telling(figures: Mapping[str, str]) -> str:
    """Return the figures that tell most, for the first line."""
    found = [name for kind in _TELLING for name in figures if re.sub(r"\(\w+\)$", "", _short(name)) == kind]
    return ", ".join(f"{_short(name)} {figures[name]}" for name in found or [*figures][:2])


def _short(name: str) -> str:
    return name.removeprefix("metrics/")


def _figure(value: float) -> str:
    return f"{value:.4g}"


def _spread(mean: float, deviation: float | None) -> str:
    return _figure(mean) if deviation is None else f"{_figure(mean)} ± {deviation:.2g}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _first_line(error: Error) -> str:
    line, *_ = f"{error.type}: {error.message}".replace("`", "'").splitlines()
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
