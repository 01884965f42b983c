"""Records the weights that Ultralytics has saved; those of single epochs as the user wishes."""

from __future__ import annotations

from pathlib import Path

from ultralytics.engine.trainer import BaseTrainer

from tracking_hooks.events import Checkpoint
from tracking_hooks.hosts.ultralytics.guard import guard
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import files


def warn(recorder: Recorder, trainer: BaseTrainer) -> None:
    """Say so if the training does not save what the user wants to have delivered."""
    rule = recorder.settings.checkpoint_rule()
    is_wanted = rule.every is not None or ("periodic" in rule.kinds and trainer.save_period > 0)
    if is_wanted and not getattr(trainer.args, "save", True):
        recorder.complain(
            "with save=False, Ultralytics saves no weights before the last epoch: those of other epochs, which "
            f"TRACKING_HOOKS_CHECKPOINTS={recorder.settings.checkpoints} asks for, are not delivered"
        )


def record(recorder: Recorder, trainer: BaseTrainer, epoch: int) -> None:
    """Record what was saved after an epoch; ``last`` and ``best`` are final only at the end."""
    with guard("recording last.pt"):
        _record(recorder, epoch, Checkpoint(path=Path(trainer.last).absolute(), kind="last"))
    with guard("recording best.pt"):
        if is_best(trainer):
            _record(recorder, epoch, Checkpoint(path=Path(trainer.best).absolute(), kind="best"))
    with guard(f"recording the weights of epoch {epoch}"):
        _record_periodic(recorder, trainer, epoch)


def is_best(trainer: BaseTrainer) -> bool:
    """Whether Ultralytics takes the weights of this epoch for the best ones so far: of equal ones, the later."""
    return bool(trainer.best_fitness == trainer.fitness)


def best_epoch(recorder: Recorder) -> int:
    """Return the epoch whose weights ``best.pt`` has: that of the latest time that it was saved."""
    found = recorder.epoch
    for call in recorder.calls("on_checkpoint_saved"):
        checkpoint = call.args["checkpoint"]
        if checkpoint.kind == "best" and checkpoint.digest is None:  # else it is told at an end, with the last epoch
            found = call.args["epoch"]
    return found


def _record_periodic(recorder: Recorder, trainer: BaseTrainer, epoch: int) -> None:
    """Record this epoch's weights: the file of ``save_period`` or, where there is none, a copy for ``every:N``."""
    rule = recorder.settings.checkpoint_rule()
    is_wanted = rule.every is not None and epoch % rule.every == 0
    path = Path(trainer.wdir).absolute() / f"epoch{trainer.epoch}.pt"
    if trainer.save_period > 0 and trainer.epoch % trainer.save_period == 0 and path.is_file():
        is_final = is_wanted or "periodic" in rule.kinds  # it is never rewritten
        size, digest = files.digest(path) if is_final else (None, None)
        _record(recorder, epoch, Checkpoint(path=path, kind="periodic", size=size, digest=digest))
    elif is_wanted:
        _record(recorder, epoch, files.checkpoint_copy(recorder.folder, Path(trainer.last)))


def _record(recorder: Recorder, epoch: int, checkpoint: Checkpoint) -> None:
    recorder.record("on_checkpoint_saved", epoch=epoch, checkpoint=checkpoint)
