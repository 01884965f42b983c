"""A tracker that is one JSON file, its plugin, and plugins with a fault each."""

from __future__ import annotations

import copy
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from tracking_hooks import Unavailable, hookimpl
from tracking_hooks.events import in_words

EMPTY: dict[str, Any] = {"params": {}, "status": None, "curves": {}, "files": {}}

STORE = "STORE_OF_THE_JSON_TRACKER"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, runs: dict[str, Any]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(runs))
    new.replace(path)


def is_down(path: Path) -> bool:
    """Whether a part of the tracker is down."""
    return path.with_name("down").exists()


class JsonTracker:
    """Keeps runs by uid: what is written again replaces itself."""

    def __init__(self) -> None:
        self.path = Path(os.environ[STORE])
        self.points: list[list[Any]] = []

    @hookimpl
    def open(self, run):
        self.runs = read(self.path)
        if run.addendum and run.uid not in self.runs:
            raise Unavailable("the run is not there", only_this_run=True)
        self.run = self.runs.setdefault(run.uid, copy.deepcopy(EMPTY))
        write(self.path, self.runs)

    @hookimpl
    def on_run_start(self, params, seq, state):
        self.run["params"] = {name: str(value) for name, value in params.items()}
        if seq > state.get("ended", 0):
            self.run["status"] = "running"

    @hookimpl
    def on_epoch_end(self, epoch, metrics):
        self.points += [[name, epoch, value] for name, value in metrics.items()]

    @hookimpl
    def on_artifact(self, artifact):
        self.run["files"][artifact.name] = artifact.digest

    @hookimpl
    def on_run_end(self, status, seq, state):
        self.run["status"], state["ended"] = status, seq

    @hookimpl
    def report_missing(self, missing):
        self.run["missing"] = in_words(missing)

    @hookimpl
    def flush(self):
        for name, epoch, value in self.points:
            self.run["curves"].setdefault(name, {})[str(epoch)] = value
        self.points.clear()
        write(self.path, self.runs)


class MakesARunEachTime(JsonTracker):
    @hookimpl
    def open(self, run):
        self.runs = read(self.path)
        self.run = self.runs.setdefault(f"{run.uid} {len(self.runs)}", copy.deepcopy(EMPTY))
        write(self.path, self.runs)


class AppendsPoints(JsonTracker):
    @hookimpl
    def flush(self):
        for name, _, value in self.points:
            self.run["curves"].setdefault(name, []).append(value)
        self.points.clear()
        write(self.path, self.runs)


class TakesParamsWhenItOpens(JsonTracker):
    """Which one instance does before the run is resumed, and another one behind that."""

    @hookimpl
    def open(self, run, params):
        super().open(run)
        self.run["params"] = {name: str(value) for name, value in params.items()}

    @hookimpl
    def on_run_start(self):
        self.run["status"] = "running"


class CountsEpochsItself(JsonTracker):
    @hookimpl
    def on_epoch_end(self, metrics):
        self.epochs = getattr(self, "epochs", 0) + 1
        self.points += [[name, self.epochs, value] for name, value in metrics.items()]


class ForgetsWhatItHasNotSent(JsonTracker):
    @hookimpl
    def on_epoch_end(self, epoch, metrics, state):
        if epoch > state.get("epoch", 0):  # saved by open of the next instance, although nothing was sent
            state["epoch"] = epoch
            self.points += [[name, epoch, value] for name, value in metrics.items()]

    @hookimpl
    def flush(self):
        """Send nothing: the points are written with the end."""

    @hookimpl
    def on_run_end(self, status):
        super().flush()
        self.run["status"] = status
        write(self.path, self.runs)


class KnowsNoNan(JsonTracker):
    @hookimpl
    def flush(self):
        json.dumps(self.points, allow_nan=False)
        super().flush()


class SaysNothingOfTheEnd(JsonTracker):
    @hookimpl
    def on_run_end(self):
        self.run["status"] = "over"


class DropsLateFiles(JsonTracker):
    @hookimpl
    def on_artifact(self, artifact, seq, state):
        if seq > state.get("last", 0):
            state["last"] = seq
            self.run["files"][artifact.name] = artifact.digest


class WritesPartsOfFlushes(JsonTracker):
    @hookimpl
    def flush(self):
        self.run["flushes"] = self.run.get("flushes", 0) + 1
        super().flush()


class KeepsASet(JsonTracker):
    @hookimpl
    def on_epoch_end(self, epoch, state):
        state["seen"] = {epoch}


class LosesTheFirstEpochs(JsonTracker):
    @hookimpl
    def on_epoch_end(self, epoch, metrics):
        self.points = [[name, epoch, value] for name, value in metrics.items()]


class MakesARunOfAnAddendum(JsonTracker):
    @hookimpl
    def open(self, run):
        self.runs = read(self.path)
        self.run = self.runs.setdefault(run.addendum or run.uid, copy.deepcopy(EMPTY))
        write(self.path, self.runs)


class MakesTheRunForAnAddendum(JsonTracker):
    @hookimpl
    def open(self, run):
        self.runs = read(self.path)
        self.run = self.runs.setdefault(run.uid, copy.deepcopy(EMPTY))
        write(self.path, self.runs)


class TakesAnAddendumForACrash(JsonTracker):
    @hookimpl
    def open(self, run):
        super().open(run)
        if run.addendum:
            self.run["status"] = "crashed"


class CannotSayWhatIsMissing(JsonTracker):
    @hookimpl
    def report_missing(self, missing):
        self.run["missing"] = missing.lines


class TakesWhatIsMissingForAFailure(JsonTracker):
    @hookimpl
    def report_missing(self, missing):
        self.run["missing"], self.run["status"] = in_words(missing), "failed"


class RepeatsWhatIsMissing(JsonTracker):
    @hookimpl
    def report_missing(self, missing):
        self.run["missing"] = [*self.run.get("missing", []), *in_words(missing)]


class NeverSaysThatNothingIsMissing(JsonTracker):
    @hookimpl
    def report_missing(self, missing):
        if missing:
            self.run["missing"] = in_words(missing)


class DrawsEarlyViews(JsonTracker):
    @hookimpl
    def on_train_epoch_end(self, epoch, attempt, metrics):
        self.points += [[name, f"{epoch}, attempt {attempt}", value] for name, value in metrics.items()]


class NamesFilesByTheirPaths(JsonTracker):
    @hookimpl
    def on_artifact(self, artifact):
        self.run["files"][artifact.path.name] = artifact.digest


class LosesWhatCannotBeWritten(JsonTracker):
    @hookimpl
    def flush(self):
        with suppress(OSError):
            super().flush()


class ShowsAResumedRunAsEnded(JsonTracker):
    @hookimpl
    def on_run_start(self, params, resumed):
        self.run["params"] = {name: str(value) for name, value in params.items()}
        if not resumed:
            self.run["status"] = "running"


class DoesNothingWithImages(JsonTracker):
    @hookimpl
    def on_image(self):
        """Show nothing."""

    @hookimpl
    def on_export(self):
        """Show nothing."""


class TakesAResumedRunForANewOne(JsonTracker):
    @hookimpl
    def on_run_start(self, params, resumed, run, seq, state):
        if resumed:
            self.run = self.runs.setdefault(f"{run.uid} again", copy.deepcopy(EMPTY))
        super().on_run_start(params, seq, state)


class MakesTwoRunsIfItDiesInOpen(JsonTracker):
    @hookimpl
    def open(self, run, state):
        self.runs = read(self.path)
        state.setdefault("id", str(len(self.runs)))
        self.run = self.runs.setdefault(state["id"], copy.deepcopy(EMPTY))
        write(self.path, self.runs)


class HasAHookThatThereIsNot(JsonTracker):
    @hookimpl
    def on_epoch_ended(self, epoch):
        """Do nothing."""


class SaysTheEndingOnly(JsonTracker):
    @hookimpl
    def on_epoch_end(self):
        """Show no values."""


class AsksTheStartForAName(JsonTracker):
    @hookimpl
    def on_run_start(self, params, seq, state):
        super().on_run_start(params, seq, state)
        self.prefix = ""

    @hookimpl
    def on_epoch_end(self, epoch, metrics):
        self.points += [[self.prefix + name, epoch, value] for name, value in metrics.items()]


class TakesALateStartForANewOne(JsonTracker):
    @hookimpl
    def on_run_start(self, params):
        self.run["params"] = {name: str(value) for name, value in params.items()}
        self.run["status"] = "running"


class Chats:
    """Tells two chats what happens; they cannot be asked what they have, and the second one is down now and then."""

    noted = "sent"

    def __init__(self) -> None:
        self.path = Path(os.environ[STORE])

    @hookimpl
    def on_event(self, hook, args, run, seq, state):
        message = f"{hook} {run.addendum or run.uid}/{seq} {args.get('status', '')}"
        sent = state.setdefault(self.noted, [])
        for chat in ("first", "second"):
            if f"{seq} {chat}" not in sent:
                if chat == "second" and is_down(self.path):
                    raise Unavailable("the second chat is down")
                runs = read(self.path)
                runs.setdefault(run.uid, {}).setdefault(chat, []).append(message)
                write(self.path, runs)
                sent.append(f"{seq} {chat}")

    @hookimpl
    def flush(self, state):
        state[self.noted] = []  # both have everything


class ForgetsWhoHasWhat(Chats):
    noted = "noted"
