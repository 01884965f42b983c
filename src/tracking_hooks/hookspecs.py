"""The contract: what a plugin may implement.

The order of events in a run::

    capture                                   in the training process, before anything else
    open                                      of each fresh instance, before its first event
    on_run_start
    on_train_start
    on_artifact                               the data set's YAML, and the graph if it is asked for
    for each epoch:
        on_epoch_start
        on_batch_end, on_system_metrics       every few seconds; control_batch after each on_batch_end
        on_train_epoch_end                    early view
        on_validation_end                     early view, if a validation ran
        on_epoch_restart                      only if the epoch is discarded and starts again
        on_checkpoint_saved
        on_epoch_end                          exactly once: write curves from here
        on_artifact                           plots, as they become ready
        control_epoch                         in the training process: what should be done?
        on_checkpoint_saved, on_action        what was done; the former if a checkpoint was saved
        on_artifact                           histograms, if they are asked for
        on_predictions                        images with labels and predictions, of some epochs
    on_final_validation                       the best checkpoint, once more
    on_predictions, on_table                  its worst images, its mistakes
    on_checkpoint_saved, on_artifact          the final files
    on_run_end
    report_missing                            only if the tracker lacks something, or no longer does

Whenever the user calls for it: ``on_log``, ``on_params``, ``on_tags``, ``on_image``, ``on_predictions``, ``on_table``,
``on_artifact``.
What comes after the run's end or from another process is an *addendum*: a journal of its own, with these events,
``on_evaluation`` and ``on_export``, and without ``on_run_start`` and ``on_run_end``. Its ``run.addendum`` is set, and
``run.uid`` is the run that it belongs to: ``open`` finds that in the tracker, or raises ``Unavailable`` if it is not
there yet. Its status, params and end are not an addendum's to change.

A plugin is a class with some of these as methods, marked ``@hookimpl``. A method names the parameters
that it needs, in any order, without default values::

    from tracking_hooks import hookimpl

    class PrintMetrics:
        @hookimpl
        def on_epoch_end(self, run, epoch, metrics):
            print(run.name, epoch, metrics)

Each event also comes as ``on_event``, for a sink that only passes on.
"""

from __future__ import annotations

from typing import Any

from tracking_hooks.events import (
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
    Missing,
    Model,
    Params,
    PerClass,
    Plan,
    Run,
    State,
    Status,
)
from tracking_hooks.markers import hookspec
from tracking_hooks.userspecs import UserSpecs


class LifecycleSpecs(UserSpecs):
    """What happened. Called in the relay, one call at a time, in the order of the journal.

    Return values are ignored unless a hook names one. After a crash or an error, a call may be repeated with the same
    arguments: make what you write identifiable by ``seq``, ``time`` or ``run.uid``.

    Raise ``Unavailable`` when the tracker cannot be reached (the call is repeated until it can), and ``Rejected`` when
    it does not take this event. Any ``OSError`` counts as ``Unavailable``. After any other exception the event is
    tried three times in total. An event that is not taken is set aside with its reason, and the next ones go on.
    After any exception the instance is discarded; a fresh one is opened, and goes on behind the last event that is
    safe. An event that was set aside may come again after later ones, but never after a later event of the same
    hook and name (of the artifact; kind and name of the checkpoint): an old file does not replace a newer one.

    Every hook also offers:

    :param run: the run
    :param time: when the event happened, in seconds since 1970
    :param seq: the event's number in the journal: unique, rising, the same in a replay
    :param state: a dict of your own: JSON values. Saved behind ``open`` and with what a flush has confirmed; restored
        after a restart. A ``"url"`` in it is shown to the user as the place to look
    :param destination: what this plugin's ``capture`` returned when the run started
    """

    @hookspec
    def open(
        self, params: Params, environment: Environment, resumed: bool, epoch: int, status: Status | None,
        run: Run, time: float, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Find or make the tracker's run. Called once on each fresh instance, just before its first event.

        Whatever it raises is a state of the tracker, never the fault of an event: the relay waits, tells the user,
        and tries again. The ``state`` that it leaves is saved at once.

        :param params: of the last ``on_run_start``, up to the event that comes next
        :param environment: of the same event
        :param resumed: of the same event
        :param epoch: the last one that was settled before the event that comes next; 0: none
        :param status: how the run has ended before that event; None: it has not
        :param time: of the first event in the journal
        """

    @hookspec
    def on_run_start(
        self, params: Params, environment: Environment, resumed: bool, plan: Plan,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The run starts, or continues if ``resumed``. Set-up is complete, arguments are resolved.

        :param plan: what is to be recorded of the run's folder at its end; of a resumed run, the plan of the last part
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
        """An epoch starts.

        :param epoch: counts from 1
        :param attempt: counts from 1; higher after an ``on_epoch_restart``
        """

    @hookspec
    def on_batch_end(
        self, epoch: int, step: int, metrics: Metrics,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """A batch was trained. Only one every few seconds is recorded (``TRACKING_HOOKS_BATCH_EVERY``).

        :param step: number of batches trained in the run, counts from 1
        :param metrics: running means of this epoch's losses, learning rates, images/s
        """

    @hookspec
    def on_train_epoch_end(
        self, epoch: int, attempt: int, metrics: Metrics,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """An early view of an epoch, before its validation. May come more than once for an epoch."""

    @hookspec
    def on_validation_end(
        self, epoch: int, attempt: int, metrics: Metrics, per_class: PerClass | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """An early view of an epoch's validation, if one ran."""

    @hookspec
    def on_epoch_restart(
        self, epoch: int, attempt: int, reason: str,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The trainer discarded the epoch (out of memory, NaN) and starts it again.

        :param attempt: the attempt that was discarded
        """

    @hookspec
    def on_epoch_end(
        self, epoch: int, step: int, metrics: Metrics, per_class: PerClass | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """An epoch is settled: its metrics are final. Comes exactly once per epoch. Write curves from here.

        :param epoch: counts from 1
        :param step: number of batches trained in the run
        :param metrics: training losses, learning rates, times in seconds; validation losses, validation metrics
            and fitness only if a validation ran
        """

    @hookspec
    def on_checkpoint_saved(
        self, epoch: int, checkpoint: Checkpoint,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Weights were written. Upload the file only if it has a digest: then it is final."""

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
        """The resources that the training's processes use, every few seconds. Also the sign that it is alive."""

    @hookspec
    def on_console(
        self, lines: list[str],
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Lines of the trainer's log, with secrets masked."""

    @hookspec
    def on_action(
        self, action: Action, plugin: str, outcome: str,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """An action was carried out or refused.

        :param plugin: who asked for it
        :param outcome: ``"done"``, or the reason why it was not carried out
        """

    @hookspec
    def on_final_validation(
        self, metrics: Metrics, per_class: PerClass | None, curves: list[Curve],
        confusion_matrix: ConfusionMatrix | None, checkpoint: Checkpoint,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The best checkpoint was validated once more at the end. This is not an epoch."""

    @hookspec
    def on_run_end(
        self, status: Status, error: Error | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The run is over. Comes once for each ``on_run_start``."""

    @hookspec
    def on_event(
        self, hook: str, args: dict[str, Any],
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Any of the events above, and those that a newer release has added; after the event's own hook.

        :param hook: such as ``"on_epoch_end"``
        :param args: the hook's own parameters as plain JSON values. NaN and infinity are the strings ``"NaN"``,
            ``"Infinity"`` and ``"-Infinity"``, which JSON does not know
        """

    @hookspec(firstresult=True)
    def flush(self, run: Run, state: State, destination: Destination) -> int | None:
        """Send what you have buffered. Called after each batch of events, and every few seconds while the answer is
        not None: it has to be cheap.

        What is not confirmed is given again after a crash or an exception.

        :returns: the number of the last event that the tracker has confirmed; None: all that was given. An event that
            is given late, after others with higher numbers, is confirmed by None, or by its own number
        """

    @hookspec(firstresult=True)
    def poll(self, run: Run, state: State, destination: Destination) -> Action | None:
        """Called every five seconds while the training runs, between two batches of calls.

        :returns: the action that somebody requested in the tracker itself, if any
        """

    @hookspec
    def report_missing(
        self, missing: list[Missing], run: Run, time: float, state: State, destination: Destination
    ) -> None:
        """Say in the tracker what it does not have of the run, in place of what was said there before.

        Called when everything else is delivered, and only if ``missing`` has changed since it was last said: at the end
        of a run that lacks something, and after ``tracking-hooks sync --retry``. ``flush`` is called behind it, and the
        ``state`` is saved at once. It may come again with the same list, after a crash. Whatever it raises costs
        nothing but these words: the next ``tracking-hooks sync`` tries again. It is no event, so ``on_event`` does not
        receive it.

        :param missing: what is set aside until the user asks for it, and what the journal itself lacks; empty: what was
            missing has been delivered after all
        :param time: now
        """
