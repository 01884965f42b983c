"""The contract: what a plugin may implement.

The order of events in a run::

    capture                                   in the training process, before anything else
    on_run_start
    on_train_start
    for each epoch:
        on_epoch_start
        on_batch_end, on_system_metrics       now and then; behind each of the former, control_batch
        on_train_epoch_end                    early view
        on_validation_end                     early view, if a validation ran
        on_epoch_restart                      only if the epoch is thrown away and begins again
        on_checkpoint_saved
        on_epoch_end                          exactly once: curves are written from here
        control_epoch                         in the training process: what shall be done?
        on_action                             what was done
        on_artifact                           plots, as they appear
    on_final_validation                       the best checkpoint, once more
    on_checkpoint_saved, on_artifact          the final files
    on_run_end

A plugin is a class with some of these as methods, marked ``@hookimpl``. A method names the parameters
that it needs, in any order, without default values::

    from tracking_hooks import hookimpl

    class PrintMetrics:
        @hookimpl
        def on_epoch_end(self, run, epoch, metrics):
            print(run.name, epoch, metrics)
"""

from __future__ import annotations

import pluggy

from tracking_hooks.events import (
    Action,
    Artifact,
    Capture,
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
    Plan,
    Progress,
    Run,
    State,
    Status,
)

PROJECT = "tracking_hooks"
"""The pluggy project name, and the entry-point group that is loaded in a relay."""

TRAINER_GROUP = "tracking_hooks.trainer"
"""The entry-point group that is loaded in the training process: light modules, no tracker imported."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class LifecycleSpecs:
    """What happened. Called in the plugin's relay process, one call at a time, in the journal's order.

    Return values are ignored. A call may come again after a crash or an error, with the same arguments:
    make what you write identifiable by ``seq``, ``time`` or ``run.uid``.

    Raise ``Unavailable`` when the tracker cannot be reached (the call is repeated until it can), and
    ``Rejected`` when it will never take this event. Any ``OSError`` counts as the former; after any other
    exception the call is tried three times in all, then it is set aside as a dead letter.

    Every hook also offers:

    :param run: the run
    :param time: when it happened, in seconds since the epoch
    :param seq: the event's number in the journal: unique, rising, the same in a replay
    :param state: a dict of your own, kept on disk; what you put there is back after a restart. A ``"url"``
        in it is shown to the user as the place to look
    :param destination: what this plugin's ``capture`` noted down when the run was started
    """

    @hookspec
    def on_run_start(
        self, params: Params, environment: Environment, resumed: bool, plan: Plan,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The run begins, or goes on if ``resumed``. Set-up is done, arguments are resolved.

        :param plan: what is to be recorded of the run's folder at its end; of a resumed run, that of the last part
            counts
        """

    @hookspec
    def on_train_start(
        self, model: Model, dataset: Dataset,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The first batch is about to be trained."""

    @hookspec
    def on_epoch_start(
        self, epoch: int, attempt: int,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """An epoch begins.

        :param epoch: counts from 1
        :param attempt: counts from 1; more after an ``on_epoch_restart``
        """

    @hookspec
    def on_batch_end(
        self, epoch: int, step: int, metrics: Metrics,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """A batch was trained. Recorded every few seconds only (``TRACKING_HOOKS_BATCH_EVERY``).

        :param step: batches trained since the first epoch, counts from 1
        :param metrics: running means of the losses over this epoch, learning rates, images/s
        """

    @hookspec
    def on_train_epoch_end(
        self, epoch: int, attempt: int, metrics: Metrics,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """An early view of an epoch: batches done, validation not yet. May come again for one epoch."""

    @hookspec
    def on_validation_end(
        self, epoch: int, attempt: int, metrics: Metrics, per_class: PerClass | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """An early view of an epoch's validation. Only when one ran."""

    @hookspec
    def on_epoch_restart(
        self, epoch: int, attempt: int, reason: str,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The trainer threw the epoch away (out of memory, NaN) and begins it again.

        :param attempt: the attempt that was thrown away
        """

    @hookspec
    def on_epoch_end(
        self, epoch: int, step: int, metrics: Metrics, per_class: PerClass | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """An epoch is settled: exactly once an epoch. Write curves from here.

        :param epoch: counts from 1
        :param step: batches trained since the first epoch
        :param metrics: training losses, learning rates, times in seconds; validation losses and metrics and
            fitness only when a validation ran
        """

    @hookspec
    def on_checkpoint_saved(
        self, epoch: int, checkpoint: Checkpoint,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Weights were written. The file is final, and can be uploaded, once it has a digest."""

    @hookspec
    def on_artifact(
        self, artifact: Artifact,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """A plot, table or other file is ready and final. The same name may come again with new content."""

    @hookspec
    def on_system_metrics(
        self, metrics: Metrics,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """What the training's process tree uses, every few seconds; also the sign that it is alive."""

    @hookspec
    def on_console(
        self, lines: list[str],
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Lines of the trainer's log, secrets redacted."""

    @hookspec
    def on_log(
        self, metrics: Metrics, step: int | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The user called ``tracking_hooks.log(metrics, step)``."""

    @hookspec
    def on_action(
        self, action: Action, plugin: str, outcome: str,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """A control action was carried out or refused.

        :param plugin: who asked for it
        :param outcome: ``"done"``, or why not
        """

    @hookspec
    def on_final_validation(
        self, metrics: Metrics, per_class: PerClass | None, curves: list[Curve],
        confusion_matrix: ConfusionMatrix | None, checkpoint: Checkpoint,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The best checkpoint was validated once more at the end. This is no epoch."""

    @hookspec
    def on_run_end(
        self, status: Status, error: Error | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The run is over: once for each ``on_run_start``."""

    @hookspec
    def flush(self, run: Run, state: State, destination: Destination) -> None:
        """Send what you have buffered. What was not flushed comes again after a crash."""

    @hookspec(firstresult=True)
    def poll(self, run: Run, state: State, destination: Destination) -> Action | None:
        """Called every few seconds while the run is live.

        :returns: what was asked for in the tracker's own UI, if anything
        """


class TrainerSpecs:
    """What is asked in the training process itself. Keep it light: the training waits for it."""

    @hookspec(firstresult=True)
    def capture(self, run: Run, parent: Destination | None) -> Capture | None:
        """The run is about to start.

        :param parent: for a trial, what was captured for the tuning: a trial belongs beside it
        :returns: where this plugin will deliver, now and from another shell later
        """

    @hookspec(firstresult=True)
    def watched_metrics(self) -> list[str] | None:
        """Name the metrics that you decide by.

        One that is not there when the first epoch is settled is reported, with those that are.
        """

    @hookspec(firstresult=True)
    def control_epoch(self, run: Run, epoch: int, metrics: Metrics, progress: Progress) -> Action | list[Action] | None:
        """Say what shall be done, now that an epoch is settled.

        Comes in the order of the epochs. When a run is resumed, it comes for the epochs before as well, so that what
        you remember is there again; what you return then is ignored.

        :param metrics: those of ``on_epoch_end``
        :returns: what the training shall do. Of several rules, each is heard: checkpoints are saved first, then
            learning rates multiplied (several factors are multiplied with each other), and one Stop is enough
        """

    @hookspec(firstresult=True)
    def control_batch(self, run: Run, epoch: int, step: int, metrics: Metrics) -> Action | list[Action] | None:
        """Say what shall be done, now that a batch was recorded (``TRACKING_HOOKS_BATCH_EVERY``).

        A Stop ends the epoch here if the training is in one process; everything else waits for the epoch's end.

        :param metrics: those of ``on_batch_end``
        """
