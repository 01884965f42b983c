"""What is asked in the training process: where a plugin delivers to, and what a rule wants to be done.

``page`` is asked by the command ``tracking-hooks open``: it, too, has no time to import a tracker.
"""

from __future__ import annotations

from tracking_hooks.events import Action, Capture, Destination, Metrics, Progress, Run, State
from tracking_hooks.markers import hookspec
from tracking_hooks.pages import Page


class TrainerSpecs:
    """Called in the training process. Keep these light: the training waits for them."""

    @hookspec(firstresult=True)
    def capture(self, run: Run, parent: Destination | None) -> Capture | None:
        """The run is about to start.

        :param parent: for a trial, the destination captured for its tuning: a trial belongs beside it
        :returns: where this plugin delivers, now or later from another shell
        """

    @hookspec(firstresult=True)
    def probe(self, destination: Destination, timeout: float) -> str | None:
        """``tracking-hooks doctor`` wants to know whether the tracker can be used. Write nothing there.

        :param destination: what you captured
        :param timeout: seconds, at most, that an answer is waited for
        :returns: what answers, in a few words
        :raises Unavailable: it cannot be used, in a sentence that says what to do
        """

    @hookspec
    def train_is_over(self, run: Run) -> None:
        """The training is over that ``capture`` was asked about: it has come to its end, or has raised an exception.

        Called in the same process as ``capture``, also for a trial, and where the tracker does not have the run.
        """

    @hookspec
    def train_returns(self, run: Run, state: State) -> None:
        """The training is over, and the user's script is about to go on. The tracker has the run, perhaps not yet all.

        If the trainer side names the tracker's own library, as in ``library = "mlflow"``, and the script has not
        imported that, this is called when it does.

        :param state: what the plugin has stored in its relay
        """

    @hookspec(firstresult=True)
    def page(self, run: Run, state: State, destination: Destination, overview: bool) -> Page | None:
        """Somebody wants to look at the run: ``tracking-hooks open``. Without this hook, ``state["url"]`` is opened.

        :param state: what the plugin has stored in its relay; empty if the tracker does not have the run
        :param destination: where the run is delivered to
        :param overview: the page of all runs beside it is wanted, where they are compared
        :returns: the page; None if there is none
        :raises Unavailable: what it would show is gone, in a sentence
        """

    @hookspec(firstresult=True)
    def watched_metrics(self) -> list[str] | None:
        """Return the names of the metrics that the rule depends on.

        If the first settled epoch lacks one of them, the user is told, with the names that exist.
        """

    @hookspec(firstresult=True)
    def control_epoch(self, run: Run, epoch: int, metrics: Metrics, progress: Progress) -> Action | list[Action] | None:
        """Decide what to do, now that an epoch is settled.

        Calls come in the order of the epochs. When a run is resumed, they come for the earlier epochs as well, so
        that the rule remembers them; what you return for those is ignored.

        :param metrics: those of ``on_epoch_end``
        :returns: the actions to carry out. All rules are heard: checkpoints are saved first, then learning rates
            are multiplied (by all factors), and one ``Stop`` is enough
        """

    @hookspec(firstresult=True)
    def control_batch(self, run: Run, epoch: int, step: int, metrics: Metrics) -> Action | list[Action] | None:
        """Decide what to do, now that a batch was recorded (``TRACKING_HOOKS_BATCH_EVERY``).

        If the training is a single process, a ``Stop`` ends the epoch with this batch. All other actions wait for
        the end of the epoch.

        :param metrics: those of ``on_batch_end``
        """
