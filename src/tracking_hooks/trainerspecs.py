"""What is asked in the training process: where a plugin delivers to, and what a rule wants to be done."""

from __future__ import annotations

from tracking_hooks.events import Action, Capture, Destination, Metrics, Progress, Run, State
from tracking_hooks.markers import hookspec


class TrainerSpecs:
    """Called in the training process. Keep these light: the training waits for them."""

    @hookspec(firstresult=True)
    def capture(self, run: Run, parent: Destination | None) -> Capture | None:
        """The run is about to start.

        :param parent: for a trial, the destination captured for its tuning: a trial belongs beside it
        :returns: where this plugin delivers, now or later from another shell
        """

    @hookspec
    def train_returns(self, run: Run, state: State) -> None:
        """The training is over, and the user's script is about to go on. The tracker has the run, perhaps not yet all.

        :param state: what the plugin has stored in its relay
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
