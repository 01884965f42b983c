"""The hooks: where in a W&B run the data of a training are stored.

The step of a row is the event's number in the journal. It rises, is unique, and is the same in a replay, so the service
recognises rows that it has. Charts are drawn over values in the row: the epoch, the batch, the second.

``state`` holds what has to survive a restart: ``epoch`` (the last settled epoch), ``started`` (the start time of the
run), ``best`` (epoch and metrics of the best checkpoint) and ``url``; for an online run ``sent`` (the last event given
to W&B's client, until the service has confirmed the run) and ``first_step``; for an offline run ``size`` (how much of
its log counts) and ``part`` (the number of its folder).
"""

from __future__ import annotations

import logging
import math
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
from tracking_hooks_wandb.client import Client, Mark
from tracking_hooks_wandb.offline import OfflineClient
from tracking_hooks_wandb.online import OnlineClient, SharedClient

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

    Instances are replaced, but the run stays open in the process (see ``client``). The first call of an instance may
    be any hook.
    """

    def __init__(self) -> None:
        self._seq = 0

    @hookimpl
    def on_run_start(
        self, params: Params, environment: Environment, resumed: bool,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Record params as the config, and the environment."""
        state.setdefault("started", time)
        about: dict[str, Any] = {"host": environment.host, "program": next(iter(environment.argv), None)}
        if git := environment.git:
            about |= {"git_commit": git.commit, "git_remote_url": git.remote}
        # A run that is resumed on another machine has a new journal, whose numbers start again.
        client = self._open(run, seq, state, destination, about, is_elsewhere=resumed and seq == 1)
        # As in Ultralytics' own integration: config values of the user's run or of a sweep stay.
        client.configure(params, missing_only=bool(destination.get("joined")))
        client.configure({"tracking_hooks": _source(run, environment, client, state, destination)})
        if resumed:
            client.print("The training is resumed.", seq)

    @hookimpl
    def on_train_start(
        self, model: Model, dataset: Dataset,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Record the size of the network, and the data set as the run's input."""
        client = self._open(run, seq, state, destination)
        size = {
            "model/parameters": model.parameters,
            "model/gradients": model.gradients,
            "model/layers": model.layers,
            "model/GFLOPs": model.gflops,
        }
        client.log({name: value for name, value in size.items() if value is not None}, seq, time)
        client.add(content.dataset(dataset), [names.artifact(dataset.digest)], is_input=True)

    @hookimpl
    def on_batch_end(
        self, step: int, metrics: Metrics, run: Run, time: float, seq: int, state: State, destination: Destination
    ) -> None:
        """Record metrics named ``batch/…``, over batches."""
        self._open(run, seq, state, destination).log({**metrics, "global_step": step}, seq, time)

    @hookimpl
    def on_epoch_end(
        self, epoch: int, metrics: Metrics, per_class: PerClass | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Record the curves over epochs; those of a class are named ``per_class/…``."""
        state["epoch"] = epoch
        classes = (per_class or {}).items()
        of_classes = {f"per_class/{label}/{name}": value for label, found in classes for name, value in found.items()}
        self._open(run, seq, state, destination).log({**metrics, **of_classes, "epoch": epoch}, seq, time)

    @hookimpl
    def on_system_metrics(
        self, metrics: Metrics, run: Run, time: float, seq: int, state: State, destination: Destination
    ) -> None:
        """Record the resources that the training (not this process) uses, over the seconds since its start."""
        client = self._open(run, seq, state, destination)
        if metrics:
            seconds = max(time - state.setdefault("started", time), 0.0)
            client.log({**metrics, "seconds": round(seconds, 1)}, seq, time)

    @hookimpl
    def on_log(
        self, metrics: Metrics, step: int | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Record the user's own metrics, over the user's own steps if there are any."""
        client = self._open(run, seq, state, destination)
        row: dict[str, float] = {names.metric(name): value for name, value in metrics.items()}
        if step is not None:
            client.x_axis("log_step", *row)
            row["log_step"] = step
        client.log(row, seq, time)

    @hookimpl
    def on_console(self, lines: list[str], run: Run, seq: int, state: State, destination: Destination) -> None:
        """Record the trainer's log, on W&B's page "Logs"."""
        self._open(run, seq, state, destination).print("\n".join(lines), seq)

    @hookimpl
    def on_artifact(
        self, artifact: Artifact, run: Run, time: float, seq: int, state: State, destination: Destination
    ) -> None:
        """Record plots as media, named as by Ultralytics' own integration; other files on W&B's page "Files"."""
        client = self._open(run, seq, state, destination)
        if not artifact.path.is_file():
            raise Rejected(f"{artifact.path} is gone, so {artifact.name} cannot be added to W&B")
        if artifact.name.startswith("/") or ".." in artifact.name.split("/"):
            raise Rejected(f"{artifact.name} is not the name of a file below the run's folder")
        if artifact.kind == "plot" and artifact.path.suffix.lower() in _PICTURES:
            row: dict[str, Any] = {artifact.name.rpartition(".")[0]: content.picture(artifact.path)}
            if artifact.epoch is not None:
                row["epoch"] = artifact.epoch
            client.log(row, seq, time)
        else:
            client.save(artifact.path, artifact.name)

    @hookimpl
    def on_checkpoint_saved(
        self, epoch: int, checkpoint: Checkpoint,
        run: Run, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Upload final weights as versions of one model; W&B calls the newest version ``latest``."""
        best = state.setdefault("best", {})
        if checkpoint.digest is None:
            if checkpoint.kind == "best":
                best["epoch"] = epoch  # by the time it is final, the training may be some epochs further
            return
        metadata: dict[str, Any] = {"epoch": epoch, **(best if checkpoint.kind == "best" else {})}
        name = checkpoint.name(epoch)
        aliases = [] if checkpoint.kind == "periodic" else [names.artifact(Path(name).stem)]
        if checkpoint.kind != "last" or epoch != best.get("epoch"):
            aliases.append(f"epoch_{metadata['epoch']}")
        client = self._open(run, seq, state, destination)
        client.add(content.weights(run, destination.get("id", run.uid), name, checkpoint, metadata), aliases)

    @hookimpl
    def on_action(
        self, action: Action, plugin: str, outcome: str,
        run: Run, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Record an action and its outcome; send an alert unless it only saved a checkpoint."""
        what = type(action).__name__
        text = f"{plugin}: {action.reason}\n{outcome}"
        client = self._open(run, seq, state, destination)
        if isinstance(action, SaveCheckpoint) and outcome == DONE:
            client.print(f"{what} {action.name}, {text}", seq)
        else:
            client.alert(f"{what} of {run.name}", text, "INFO" if outcome == DONE else "WARN", seq)

    @hookimpl
    def on_final_validation(
        self, metrics: Metrics, per_class: PerClass | None, curves: list[Curve],
        confusion_matrix: ConfusionMatrix | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Record the metrics of the best checkpoint as ``best/…``, apart from the curves."""
        # `state` is JSON, which has no NaN.
        shown = {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}
        state.setdefault("best", {})["metrics"] = shown
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
        """Record the status and the error. A run that the user's process has opened is left open."""
        client = self._open(run, seq, state, destination)
        summary: dict[str, str] = {"status": status}
        if error is not None:
            summary["error"] = f"{error.type}: {error.message}"
            client.write(error.traceback, "traceback.txt")
        if status in {"failed", "killed"}:
            text = summary.get("error", "its process died without saying why")
            client.alert(f"{run.name} {status}", text, "ERROR", seq)
        client.summarize(summary)
        # The last row: if the service has it, it has all of them.
        client.log({"epoch": state.get("epoch", 0)}, seq, time)
        client.finish(_EXIT_CODES[status])
        state.pop("sent", None)

    @hookimpl
    def flush(self, state: State, destination: Destination) -> None:
        """Make sure that everything sent is safe."""
        client = Client.find(destination)
        if client is not None:
            state |= client.confirm()
            if client.mode == "online":
                state["sent"] = max(self._seq, state.get("sent", 0))

    @hookimpl
    def poll(self, destination: Destination) -> Stop | None:
        """End the training if somebody has pressed "Stop run" on W&B's page."""
        client = Client.find(destination)
        if client is None or not client.stop_asked.is_set():
            return None
        client.stop_asked.clear()
        return Stop(reason="stopped on W&B's page")

    # -- the run ----------------------------------------------------------------------------------------------

    def _open(
        self, run: Run, seq: int, state: State, destination: Destination, about: dict[str, Any] | None = None,
        *, is_elsewhere: bool = False,
    ) -> Client:  # fmt: skip
        """Return the open run; open it if necessary, and send what an earlier process may not have sent."""
        if destination["mode"] == "disabled":
            return _NOBODY
        client = Client.find(destination)
        if client is not None and client.finished:
            if seq <= client.last:
                return _NOBODY  # everything has been sent; only the confirmation failed
            state |= client.confirm()  # the training continues after its end, within one batch
            client = None
        if client is None:
            mark = Mark(run.uid, state.get("started"), is_joined=is_elsewhere or bool(destination.get("joined")))
            client = _opened(mark, state, destination, about or {})
            for x, metrics in _X_AXES.items():
                client.x_axis(x, *metrics)
        if client.behind and seq > client.behind:
            self._send_again(client, run, state, destination)
        self._seq = max(self._seq, seq)
        return client

    def _send_again(self, client: Client, run: Run, state: State, destination: Destination) -> None:
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(LifecycleSpecs)
        manager.register(self)
        common = {"run": run, "state": state, "destination": destination}
        for call in missed.calls(run, client.behind):
            if call.hook == "on_run_end":
                continue  # that was not the end, since there are more events
            try:
                getattr(manager.hook, call.hook)(**call.args, **common, time=call.time, seq=call.seq)
            except (Unavailable, OSError):
                raise
            except Exception as error:  # noqa: BLE001 it was set aside when it was delivered
                logger.warning("%s (event %d) could not be sent again: %r", call.hook, call.seq, error)
        client.behind = 0


class _Nobody:
    """Accepts everything and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_options: None


_NOBODY = cast("Client", _Nobody())


def _opened(mark: Mark, state: State, destination: Destination, about: dict[str, Any]) -> Client:
    if destination["mode"] == "offline":
        return OfflineClient(destination, about, state, mark)
    if destination["mode"] == "shared":
        return SharedClient(destination, about, state, mark)
    return OnlineClient(destination, about, state, mark)


def _source(
    run: Run, environment: Environment, client: Client, state: State, destination: Destination
) -> dict[str, Any]:
    """Return the properties for which W&B has no field of its own."""
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
        "first_step": client.base or None,
    }
    return {name: value for name, value in found.items() if value not in (None, [], {})}
