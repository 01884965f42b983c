"""The hooks: what of a training goes where in a W&B run.

The step of a row is the event's number in the journal: it rises, no two events have the same, and in a replay it is
the same again, so that the service tells what it has. What a chart is drawn over is a value in the row: the epoch,
the batch, the second.

What has to survive a restart is in ``state``: ``epoch`` (the last settled one), ``started`` (when the run began),
``best`` (epoch and metrics of the best checkpoint), ``url``; of an online run ``sent`` (the last event given to
W&B's client, until the service has confirmed the run) and ``first_step``; of an offline run ``size`` (how much of
its log counts) and ``part`` (the number of its folder).
"""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Any, cast

import pluggy

from tracking_hooks.events import (
    DONE,
    Action,
    Artifact,
    Checkpoint,
    ConfusionMatrix,
    Curve,
    Dataset,
    Destination,
    Environment,
    Error,
    Metrics,
    Model,
    Params,
    PerClass,
    Rejected,
    Run,
    SaveCheckpoint,
    State,
    Status,
    Stop,
    Unavailable,
)
from tracking_hooks.hookspecs import PROJECT, LifecycleSpecs, hookimpl
from tracking_hooks_wandb import content, missed, names
from tracking_hooks_wandb.offline import OfflineSession
from tracking_hooks_wandb.online import OnlineSession, SharedSession
from tracking_hooks_wandb.session import Mark, Session

logger = logging.getLogger("tracking_hooks.wandb")

_PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".bmp"}
_X_AXES = {
    "epoch": ("train/*", "val/*", "metrics/*", "lr/*", "time/*", "best/*", "per_class/*", "fitness"),
    "global_step": ("batch/*",),
    "seconds": ("system/*",),
}
_EXIT_CODES: dict[Status, int] = {"finished": 0, "failed": 1, "interrupted": 255, "killed": 255}


class WandbTracker:
    """Records one training as one W&B run.

    Instances come and go, the run stays open in the process (see ``session``); any hook may be an instance's first.
    """

    def __init__(self) -> None:
        self._seq = 0

    @hookimpl
    def on_run_start(
        self, params: Params, environment: Environment, resumed: bool,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Params as the config, and where they came from."""
        state.setdefault("started", time)
        about: dict[str, Any] = {"host": environment.host, "program": next(iter(environment.argv), None)}
        if git := environment.git:
            about |= {"git_commit": git.commit, "git_remote_url": git.remote}
        # On another machine a resumed run begins a journal of its own, whose numbers begin anew.
        session = self._open(run, seq, state, destination, about, is_elsewhere=resumed and seq == 1)
        # As Ultralytics' own integration: in a run of the user's or of a sweep, what was set there stays.
        session.configure(params, missing_only=bool(destination.get("joined")))
        session.configure({"tracking_hooks": _source(run, environment, session, state, destination)})
        if resumed:
            session.print("The training is resumed.", seq)

    @hookimpl
    def on_train_start(
        self, model: Model, dataset: Dataset,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The network's size, and the data set as the run's input."""
        session = self._open(run, seq, state, destination)
        size = {
            "model/parameters": model.parameters,
            "model/gradients": model.gradients,
            "model/layers": model.layers,
            "model/GFLOPs": model.gflops,
        }
        session.log({name: value for name, value in size.items() if value is not None}, seq, time)
        session.add(content.dataset(dataset), [names.artifact(dataset.digest)], is_input=True)

    @hookimpl
    def on_batch_end(
        self, step: int, metrics: Metrics, run: Run, time: float, seq: int, state: State, destination: Destination
    ) -> None:
        """Metrics named ``batch/…``, over batches."""
        self._open(run, seq, state, destination).log({**metrics, "global_step": step}, seq, time)

    @hookimpl
    def on_epoch_end(
        self, epoch: int, metrics: Metrics, per_class: PerClass | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The curves over epochs; those of a class are named ``per_class/…``."""
        state["epoch"] = epoch
        classes = (per_class or {}).items()
        of_classes = {f"per_class/{label}/{name}": value for label, found in classes for name, value in found.items()}
        self._open(run, seq, state, destination).log({**metrics, **of_classes, "epoch": epoch}, seq, time)

    @hookimpl
    def on_system_metrics(
        self, metrics: Metrics, run: Run, time: float, seq: int, state: State, destination: Destination
    ) -> None:
        """What the training uses (not this process), over the seconds since its start."""
        session = self._open(run, seq, state, destination)
        if metrics:
            seconds = max(time - state.setdefault("started", time), 0.0)
            session.log({**metrics, "seconds": round(seconds, 1)}, seq, time)

    @hookimpl
    def on_log(
        self, metrics: Metrics, step: int | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The user's own metrics, over the user's own steps if there are any."""
        session = self._open(run, seq, state, destination)
        row: dict[str, float] = {names.metric(name): value for name, value in metrics.items()}
        if step is not None:
            session.x_axis("log_step", *row)
            row["log_step"] = step
        session.log(row, seq, time)

    @hookimpl
    def on_console(self, lines: list[str], run: Run, seq: int, state: State, destination: Destination) -> None:
        """The trainer's log, on W&B's page "Logs"."""
        self._open(run, seq, state, destination).print("\n".join(lines), seq)

    @hookimpl
    def on_artifact(
        self, artifact: Artifact, run: Run, time: float, seq: int, state: State, destination: Destination
    ) -> None:
        """Plots as pictures, named as Ultralytics' own integration does; other files on W&B's page "Files"."""
        session = self._open(run, seq, state, destination)
        if not artifact.path.is_file():
            raise Rejected(f"{artifact.path} is gone, so {artifact.name} cannot be added to W&B")
        if artifact.name.startswith("/") or ".." in artifact.name.split("/"):
            raise Rejected(f"{artifact.name} is no name of a file below the run's folder")
        if artifact.kind == "plot" and artifact.path.suffix.lower() in _PICTURES:
            row: dict[str, Any] = {artifact.name.rpartition(".")[0]: content.picture(artifact.path)}
            if artifact.epoch is not None:
                row["epoch"] = artifact.epoch
            session.log(row, seq, time)
        else:
            session.save(artifact.path, artifact.name)

    @hookimpl
    def on_checkpoint_saved(
        self, epoch: int, checkpoint: Checkpoint,
        run: Run, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Weights that are final, as versions of one model; W&B calls the one that came last ``latest``."""
        best = state.setdefault("best", {})
        if checkpoint.digest is None:
            if checkpoint.kind == "best":
                best["epoch"] = epoch  # when it is final, the training may be epochs further on
            return
        metadata: dict[str, Any] = {"epoch": epoch, **(best if checkpoint.kind == "best" else {})}
        name = checkpoint.name(epoch)
        aliases = [] if checkpoint.kind == "periodic" else [names.artifact(Path(name).stem)]
        if checkpoint.kind != "last" or epoch != best.get("epoch"):
            aliases.append(f"epoch_{metadata['epoch']}")
        session = self._open(run, seq, state, destination)
        session.add(content.weights(run, destination.get("id", run.uid), name, checkpoint, metadata), aliases)

    @hookimpl
    def on_action(
        self, action: Action, plugin: str, outcome: str,
        run: Run, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Word of what was asked for, and whether it was done: an alert, except for a checkpoint more."""
        what = type(action).__name__
        text = f"{plugin}: {action.reason}\n{outcome}"
        session = self._open(run, seq, state, destination)
        if isinstance(action, SaveCheckpoint) and outcome == DONE:
            session.print(f"{what} {action.name}, {text}", seq)
        else:
            session.alert(f"{what} of {run.name}", text, "INFO" if outcome == DONE else "WARN", seq)

    @hookimpl
    def on_final_validation(
        self, metrics: Metrics, per_class: PerClass | None, curves: list[Curve],
        confusion_matrix: ConfusionMatrix | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The figures of the best checkpoint, named ``best/…``: they are no point of the curves."""
        state.setdefault("best", {})["metrics"] = dict(metrics)
        row: dict[str, Any] = {f"best/{name}": value for name, value in metrics.items()}
        row |= {f"curves/{curve.name}": content.curve(curve) for curve in curves}
        if per_class:
            row["best/per_class"] = content.per_class(per_class)
        if confusion_matrix:
            row["best/confusion_matrix"] = content.confusion(confusion_matrix)
        row["epoch"] = state.get("epoch", 0)
        self._open(run, seq, state, destination).log(row, seq, time)

    @hookimpl
    def on_run_end(
        self, status: Status, error: Error | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """How the run ended, and what went wrong. A run that the user's process has open is left so."""
        session = self._open(run, seq, state, destination)
        summary: dict[str, str] = {"status": status}
        if error is not None:
            summary["error"] = f"{error.type}: {error.message}"
            session.write(error.traceback, "traceback.txt")
        if status in {"failed", "killed"}:
            text = summary.get("error", "its process died without saying why")
            session.alert(f"{run.name} {status}", text, "ERROR", seq)
        session.summarize(summary)
        # The last row: that the service has this one means that it has them all.
        session.log({"epoch": state.get("epoch", 0)}, seq, time)
        session.finish(_EXIT_CODES[status])
        state.pop("sent", None)

    @hookimpl
    def flush(self, state: State, destination: Destination) -> None:
        """Make sure of what was written."""
        session = Session.find(destination)
        if session is not None:
            state |= session.settle()
            if session.mode == "online":
                state["sent"] = max(self._seq, state.get("sent", 0))

    @hookimpl
    def poll(self, destination: Destination) -> Stop | None:
        """Return that somebody has pressed "Stop run" on W&B's page."""
        session = Session.find(destination)
        if session is None or not session.stop_asked.is_set():
            return None
        session.stop_asked.clear()
        return Stop(reason="stopped on W&B's page")

    # -- the run ----------------------------------------------------------------------------------------------

    def _open(
        self, run: Run, seq: int, state: State, destination: Destination, about: dict[str, Any] | None = None,
        *, is_elsewhere: bool = False,
    ) -> Session:  # fmt: skip
        """Return the open run; open it if need be, and send what an earlier process may not have sent."""
        if destination["mode"] == "disabled":
            return _NOBODY
        session = Session.find(destination)
        if session is not None and session.finished:
            if seq <= session.last:
                return _NOBODY  # it has all been said; what failed was to put it away
            state |= session.settle()  # the training goes on after its end, in one batch
            session = None
        if session is None:
            mark = Mark(run.uid, state.get("started"), is_joined=is_elsewhere or bool(destination.get("joined")))
            session = _opened(mark, state, destination, about or {})
            for x, metrics in _X_AXES.items():
                session.x_axis(x, *metrics)
        if session.behind and seq > session.behind:
            self._send_again(session, run, state, destination)
        self._seq = max(self._seq, seq)
        return session

    def _send_again(self, session: Session, run: Run, state: State, destination: Destination) -> None:
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(LifecycleSpecs)
        manager.register(self)
        common = {"run": run, "state": state, "destination": destination}
        for call in missed.calls(run, session.behind):
            if call.hook == "on_run_end":
                continue  # it was no end, since there is more
            try:
                getattr(manager.hook, call.hook)(**call.args, **common, time=call.time, seq=call.seq)
            except (Unavailable, OSError):
                raise
            except Exception as error:  # noqa: BLE001 it was set aside when it was delivered
                logger.warning("%s (event %d) is not sent again: %r", call.hook, call.seq, error)
        session.behind = 0


class _Nobody:
    """Listens to everything and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_options: None


_NOBODY = cast("Session", _Nobody())


def _opened(mark: Mark, state: State, destination: Destination, about: dict[str, Any]) -> Session:
    if destination["mode"] == "offline":
        return OfflineSession(destination, about, state, mark)
    if destination["mode"] == "shared":
        return SharedSession(destination, about, state, mark)
    return OnlineSession(destination, about, state, mark)


def _source(
    run: Run, environment: Environment, session: Session, state: State, destination: Destination
) -> dict[str, Any]:
    """Return what W&B has no place of its own for."""
    git = environment.git
    found = {
        "run_uid": run.uid,
        "save_dir": str(run.save_dir),
        "command": shlex.join(environment.argv),
        "cwd": str(environment.cwd),
        "host": environment.host,
        "user": environment.user,
        "devices": environment.devices,
        "python": environment.python,
        "platform": environment.platform,
        "versions": environment.versions,
        "git": git and {"commit": git.commit, "branch": git.branch, "dirty": git.dirty, "remote": git.remote},
        "parent": run.parent,
        "beside": destination.get("beside"),
        "started": state["started"],
        "first_step": session.base or None,
    }
    return {name: value for name, value in found.items() if value not in (None, [], {})}
