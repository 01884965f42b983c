"""Asks rules what a training should do, and keeps their errors away from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pluggy

from tracking_hooks.events import Action, Metrics, Plan, Progress, Run, SaveCheckpoint, ScaleLearningRate, Stop
from tracking_hooks.plugins import did_you_mean
from tracking_hooks.run.commands import Command
from tracking_hooks.run.journal import Call

_SLOW = {"control_epoch": 1.0, "control_batch": 0.1}
"""Seconds above which a rule is reported as slow: the training waits for it."""

PAST = frozenset({"on_run_start", "on_train_start", "on_batch_end", "on_epoch_end"})
"""The events by which rules are told of a run that is recorded already."""

_ORDER = (SaveCheckpoint, ScaleLearningRate, Stop)
"""What is done first: a checkpoint holds the epoch as it was, and nothing comes after a stop."""


class Control:
    """The rules of one training, asked one after the other."""

    def __init__(self, rules: Iterable[tuple[str, pluggy.PluginManager]], warn: Callable[[str], None]) -> None:
        """Set up the rules of a training.

        :param rules: for each rule a name for the user and a manager with that rule alone, in the order of asking
        :param warn: shows a message to the user
        """
        self._rules = [
            (name, rule) for name, rule in rules if any(getattr(rule.hook, hook).get_hookimpls() for hook in _SLOW)
        ]
        self._warn = warn
        self._reported: set[str] = set()
        self._checked = False
        self.is_at_fault = False
        """Whether a rule has failed, or watches a metric that the run does not have."""
        self.seconds_before = 0.0
        """Seconds that earlier parts of the run took; known once ``past`` has been consumed."""

    def __bool__(self) -> bool:
        return bool(self._rules)

    @property
    def names(self) -> list[str]:
        """The names of the rules."""
        return [name for name, _ in self._rules]

    def epoch(self, run: Run, epoch: int, metrics: Metrics, progress: Progress) -> list[Command]:
        """Ask what to do when an epoch is settled; return the commands in the order of execution. Never raises."""
        commands = self._ask("control_epoch", run=run, epoch=epoch, metrics=metrics, progress=progress)
        if not self._checked:
            self._checked = True
            self._look_for_metrics(metrics, epoch)
        return commands

    def batch(self, run: Run, epoch: int, step: int, metrics: Metrics) -> list[Command]:
        """Ask what to do when a batch was recorded. Never raises."""
        return self._ask("control_batch", run=run, epoch=epoch, step=step, metrics=metrics)

    def past(self, run: Run, calls: Iterable[Call], epochs: int) -> Iterator[tuple[int, list[Command]]]:
        """Ask about a recorded run, with the metrics that were known at each point.

        :param epochs: how many it has, where its plan does not say so: that of a training of so many hours
        :returns: pairs of (epoch, commands that would have been issued)
        """
        planned, before, began = epochs, 0.0, 0.0
        for call in calls:
            args: dict[str, Any] = call.args
            if call.hook == "on_run_start":
                plan: Plan | None = args["plan"]
                planned = (plan and plan.epochs) or epochs
                before = self.seconds_before  # each part of a resumed run counts from its own start
                began = call.time
            elif call.hook == "on_train_start":
                began = call.time
            elif call.hook == "on_batch_end":
                yield args["epoch"], self.batch(run, args["epoch"], args["step"], args["metrics"])
            elif call.hook == "on_epoch_end":
                self.seconds_before = before + call.time - began
                progress = Progress(epochs=planned, seconds=self.seconds_before)
                yield args["epoch"], self.epoch(run, args["epoch"], args["metrics"], progress)

    def _ask(self, hook: str, **args: Any) -> list[Command]:
        commands: list[Command] = []
        for name, rule in list(self._rules):
            began = time.perf_counter()
            try:
                answer = getattr(rule.hook, hook)(**{**args, "metrics": dict(args["metrics"])})
                commands += [Command(plugin=name, action=action) for action in _actions(answer)]
            except Exception as error:  # noqa: BLE001 a rule's mistake is no reason to end a training
                self._rules.remove((name, rule))
                self.is_at_fault = True
                self._warn(
                    f"{name} is off for the rest of this run: {hook} failed at epoch {args['epoch']} with "
                    f"{type(error).__name__}: {error}"
                )
            took = time.perf_counter() - began
            if took > _SLOW[hook] and name not in self._reported:
                self._reported.add(name)
                self._warn(f"{name} is slow: the training waited {took:.1f} s for {hook} at epoch {args['epoch']}")
        return in_order(commands)

    def _look_for_metrics(self, metrics: Metrics, epoch: int) -> None:
        for name, rule in self._rules:
            try:
                watched = rule.hook.watched_metrics() or []
            except Exception as error:  # noqa: BLE001 see above
                self.is_at_fault = True
                self._warn(f"{name}: watched_metrics failed with {type(error).__name__}: {error}")
                continue
            for metric in watched:
                if metric not in metrics:
                    self.is_at_fault = True
                    self._warn(
                        f"{name}: epoch {epoch} has no metric {metric!r}.{did_you_mean(metric, metrics)} "
                        f"It has: {', '.join(sorted(metrics))}"
                    )


def in_order(commands: Iterable[Command]) -> list[Command]:
    """Sort commands into the order of execution; commands of the same kind keep their order."""
    return sorted(commands, key=lambda command: _ORDER.index(type(command.action)))


def describe(action: Action) -> str:
    """Say in a few words what an action does."""
    if isinstance(action, Stop):
        return "stop the training"
    if isinstance(action, ScaleLearningRate):
        return f"multiply the learning rate by {action.factor:g}"
    return f"save weights/{action.name}.pt" + (f" instead of {action.replaces}.pt" if action.replaces else "")


def _actions(answer: object) -> list[Action]:
    """Check what a hook returned.

    :raises TypeError: if it is neither an action, a list of actions nor None, or if the journal could not hold it
    """
    actions = [] if answer is None else answer if isinstance(answer, (list, tuple)) else [answer]
    for action in actions:
        if not isinstance(action, _ORDER):
            raise TypeError(f"it returned {action!r}, which is not an action (Stop, SaveCheckpoint, ScaleLearningRate)")
        try:
            msgspec.json.decode(msgspec.json.encode(action), type=Action)
        except (TypeError, msgspec.ValidationError) as error:
            raise TypeError(f"it returned {action!r}: {error}") from None
    return list(actions)
