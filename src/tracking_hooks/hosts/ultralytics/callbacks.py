"""What is added to an Ultralytics trainer's callbacks, and where: each tells the trainer's session of an event.

They are plain module-level functions, since Ultralytics pickles callbacks to its DDP workers; the session that belongs
to a trainer is found again in each process.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER, RANK

from tracking_hooks.hosts.ultralytics import data, integrations, wandbrun
from tracking_hooks.hosts.ultralytics.guard import guard
from tracking_hooks.hosts.ultralytics.run import track_trainer
from tracking_hooks.hosts.ultralytics.session import Session
from tracking_hooks.recording.errors import raise_alone
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.settings import ConfigurationError

_sessions: weakref.WeakKeyDictionary[BaseTrainer, Session] = weakref.WeakKeyDictionary()
_wandb_users: weakref.WeakSet[BaseTrainer] = weakref.WeakSet()  # those that Ultralytics' own integration left
# Module state, since the callbacks are plain functions: the trainer is all that they are given.

_FIRST = ("on_model_save", "on_train_end", "teardown")
"""Events at which ours comes before the user's callbacks.

A callback that raises keeps the later ones from being called. Hence three rules:

- Where an event tells of what is done already, weights that are written or a training that is over, ours is the first.
  At the end of a training, users move and delete files.
- Else ours comes behind the user's, so that what they change is recorded, ``trainer.metrics`` above all. If one of
  them raises when ``results.csv`` has the epoch already, ``teardown`` records its end.
- Always before Ultralytics' own integrations: that of Ray Tune does not return when the scheduler stops the trial.

What is added to the trainer itself later on (``trainer.add_callback``) comes behind all of these.
"""


def add_integration_callbacks(original: Callable[[Any], None], instance: Any) -> None:
    """Stand in for the function by which every trainer adds its integrations: it adds us, too."""
    original(instance)
    attach_to(instance)


def attach_to(trainer: object) -> None:
    """Track this trainer, if it is one and if ``TRACKING_HOOKS`` names a tracker.

    :raises ConfigurationError: if the configuration is at fault; nothing else of ours stops a training
    """
    if not isinstance(trainer, BaseTrainer) or RANK not in (-1, 0) or _only_launches_workers(trainer):
        return
    try:
        tracking = track_trainer(trainer, data.devices(trainer))
        if tracking is None:
            return
        session = Session(trainer, tracking)
        session.disabled = integrations.take_off(trainer, session.recorder.disabled)
        captures = session.recorder.supervisor.captures.values()
        integrations.keep_from_ending(trainer, [capture.guards for capture in captures if capture.guards])
    except ConfigurationError as error:
        raise_alone(error)
    except Exception as error:  # noqa: BLE001 nothing of ours may end a training
        LOGGER.warning(f"tracking-hooks: not active ({type(error).__name__}: {error})")
        return
    _sessions[trainer] = session
    for event, callback in _CALLBACKS.items():
        listeners = trainer.callbacks[event]
        if callback not in listeners:
            listeners.insert(0 if event in _FIRST else _first_of_their_own(listeners), callback)


def recorder_of(trainer: BaseTrainer) -> Recorder | None:
    """Return what records a trainer, before its end."""
    session = _sessions.get(trainer)
    return session.recorder if session else None


def _first_of_their_own(listeners: list[Any]) -> int:
    modules = [getattr(listener, "__module__", None) or "" for listener in listeners]
    theirs = (
        i for i, name in enumerate(modules) if name.startswith(integrations.MODULES) and not name.endswith(".base")
    )
    return next(theirs, len(listeners))


def _only_launches_workers(trainer: BaseTrainer) -> bool:
    world_size = getattr(trainer, "world_size", 1)
    return bool(getattr(trainer, "ddp", RANK == -1 and isinstance(world_size, int) and world_size > 1))


def _callback(event: str, tell: Callable[[Session, BaseTrainer], None]) -> Callable[[Any], None]:
    """Make the function for an event, which lets nothing out."""

    def callback(trainer: Any) -> None:
        if session := _sessions.get(trainer):
            with guard(event):
                tell(session, trainer)

    callback.__name__ = callback.__qualname__ = event  # by this name it is pickled
    return callback


def on_pretrain_routine_end(trainer: BaseTrainer) -> None:
    """Begin the run, or refuse to: this is the last moment for it."""
    session = _sessions.get(trainer)
    if session is None:
        return
    try:
        session.check()
    except ConfigurationError as error:
        raise_alone(error)
    _begin(trainer)
    with guard("standing in for a run of W&B"):
        if "wb" in session.disabled and wandbrun.put_in(session.recorder.run, vars(trainer.args)):
            _wandb_users.add(trainer)


_begin = _callback("_begin", Session.set_up)
on_train_start = _callback("on_train_start", Session.train_started)
on_train_epoch_start = _callback("on_train_epoch_start", Session.epoch_started)
on_train_batch_end = _callback("on_train_batch_end", Session.batch_trained)
on_train_epoch_end = _callback("on_train_epoch_end", Session.batches_done)
on_model_save = _callback("on_model_save", Session.model_saved)
on_fit_epoch_end = _callback("on_fit_epoch_end", Session.fit_epoch_ended)
on_train_end = _callback("on_train_end", Session.training_finished)
_tear_down = _callback("_tear_down", Session.torn_down)
_validate = _callback("_validate", Session.validation_done)


def teardown(trainer: BaseTrainer) -> None:
    """Record the end, and forget the trainer."""
    if trainer in _wandb_users:
        _wandb_users.discard(trainer)
        with guard("putting W&B's own functions back"):
            wandbrun.take_back()
    _tear_down(trainer)
    _sessions.pop(trainer, None)


def on_val_end(validator: Any) -> None:
    """Find the trainer whose validation this is: Ultralytics gives this event a validator."""
    if not getattr(validator, "training", False):
        return  # the final validation, or one of the user's own
    for trainer in list(_sessions):
        if getattr(trainer, "validator", None) is validator:
            _validate(trainer)


_CALLBACKS: dict[str, Callable[[Any], None]] = {
    callback.__name__: callback
    for callback in (
        on_pretrain_routine_end,
        on_train_start,
        on_train_epoch_start,
        on_train_batch_end,
        on_train_epoch_end,
        on_val_end,
        on_model_save,
        on_fit_epoch_end,
        on_train_end,
        teardown,
    )
}
