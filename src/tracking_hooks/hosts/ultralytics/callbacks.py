"""What is added to an Ultralytics trainer's callbacks, and where: each tells the trainer's session of an event.

They are plain module-level functions, since Ultralytics pickles callbacks to its DDP workers; the session that belongs
to a trainer is found again in each process.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER, RANK

from tracking_hooks.hosts.ultralytics import bars, data, early, integrations, releases, wandbrun
from tracking_hooks.hosts.ultralytics.final import FinalValidation
from tracking_hooks.hosts.ultralytics.guard import guard, say_left_out
from tracking_hooks.hosts.ultralytics.portions import Portion
from tracking_hooks.hosts.ultralytics.run import track_trainer
from tracking_hooks.hosts.ultralytics.session import Session
from tracking_hooks.hosts.ultralytics.shares import Rank
from tracking_hooks.hosts.ultralytics.sightings import Sightings
from tracking_hooks.recording.errors import raise_alone
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.recording.tracking import Tracking
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


def construct(original: Callable[..., None], trainer: Any, *args: Any, **kwargs: Any) -> None:
    """Construct a trainer (``BaseTrainer.__init__``), as ``early`` does.

    It is here since with this module everything is imported that a trainer is tracked with. A release of Ultralytics
    that lacks something which that needs is met before the constructor prints anything.
    """
    early.construct(original, trainer, *args, **kwargs)


def add_integration_callbacks(original: Callable[[Any], None], instance: Any) -> None:
    """Stand in for the function by which every trainer adds its integrations: it adds us, too.

    The plugins are asked first, so that no integration is imported that one of them stands in for.

    :raises ConfigurationError: if the configuration is at fault; nothing else of ours stops a training
    """
    tracking = _tracking_of(instance)
    replaced = [capture.disables for capture in tracking.captures.values() if capture.disables] if tracking else []
    with integrations.kept_out(replaced) as kept_out:
        original(instance)
    if tracking and not _attach(instance, tracking, kept_out):
        original(instance)  # it adds what is not there: theirs, since ours cannot be


def _tracking_of(trainer: object) -> Tracking | None:
    """Say how this trainer is tracked, if it is one and if ``TRACKING_HOOKS`` names a tracker."""
    if not isinstance(trainer, BaseTrainer) or RANK not in (-1, 0):
        return None
    try:
        return None if releases.only_launches_workers(trainer) else track_trainer(trainer, data.devices(trainer))
    except ConfigurationError as error:
        raise_alone(error)
    except Exception as error:  # noqa: BLE001 nothing of ours may end a training
        _say_why_not(error)
    return None


def _attach(trainer: BaseTrainer, tracking: Tracking, kept_out: Sequence[str]) -> bool:
    """Start recording, and add our callbacks; return whether that was possible.

    :param kept_out: Ultralytics' own integrations that were not added
    """
    try:
        session = Session(trainer, tracking)
        session.disabled = [*kept_out, *integrations.take_off(trainer, session.recorder.disabled)]
        captures = session.recorder.supervisor.captures.values()
        integrations.keep_from_ending(trainer, [capture.guards for capture in captures if capture.guards])
    except ConfigurationError as error:
        raise_alone(error)
    except Exception as error:  # noqa: BLE001 nothing of ours may end a training
        _say_why_not(error)
        return False
    integrations.say_if_none_is_added(trainer)
    bars.keep_lines_apart()
    _sessions[trainer] = session
    for event, callback in _CALLBACKS.items():
        listeners = trainer.callbacks[event]
        if callback not in listeners:
            listeners.insert(0 if event in _FIRST else _first_of_their_own(listeners), callback)
    return True


def _say_why_not(error: Exception) -> None:
    LOGGER.warning(f"tracking-hooks: not active ({type(error).__name__}: {error})")


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


def _callback(event: str, tell: Callable[[Session, BaseTrainer], None]) -> Callable[[Any], None]:
    """Make the function for an event, which lets nothing out."""

    def callback(trainer: Any) -> None:
        if session := _sessions.get(trainer):
            try:  # not `guard`, which takes as long as the rest of what is done for a batch
                tell(session, trainer)
            except Exception as error:  # noqa: BLE001 whatever it is
                say_left_out(event, error)

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


def on_train_start(trainer: BaseTrainer) -> None:
    """Record the start, and look once more whether every plugin can be used: the first batch comes next."""
    session = _sessions.get(trainer)
    faults: list[str] = []
    with guard("on_train_start"):
        if session:
            session.train_started(trainer)
            faults += session.recorder.supervisor.faults()
    if faults:
        raise_alone(ConfigurationError(faults[0]))


_begin = _callback("_begin", Session.set_up)
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


def looker(trainer: Any, validator: Any, *, is_final: bool) -> Sightings | FinalValidation | Rank | Portion | None:
    """Return what looks at a validation of a trainer in this process; None if nothing does.

    :param is_final: whether it is that of the best checkpoint, behind all epochs
    """
    if trainer is None or getattr(trainer, "validator", None) is not validator:
        return None  # a callback may validate on other images, too
    if session := _sessions.get(trainer):
        return session.final if is_final else session.sightings
    if RANK <= 0:
        return None
    return Portion() if is_final else Rank()


def validated(trainer: BaseTrainer, validator: Any) -> None:
    """Record a validation of a trainer, for releases whose validators do not have the trainer's callbacks."""
    session = _sessions.get(trainer)
    is_its_own = getattr(trainer, "validator", None) is validator  # a callback may validate on other images, too
    if session and is_its_own and not session.epoch.validated:
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
