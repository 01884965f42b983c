"""Rules of your own.

PYTHONPATH=examples TRACKING_HOOKS_CONTROL="my_rules.StopWhenOverfitting()" yolo train model=yolo26n.pt data=coco8.yaml
"""

from tracking_hooks import ScaleLearningRate, Stop, hookimpl


class StopWhenOverfitting:
    @hookimpl
    def control_epoch(self, metrics):
        if metrics.get("val/box_loss", 0) > 2 * metrics["train/box_loss"]:
            return Stop(reason="the validation loss is twice the training loss")


class DropLearningRate:
    """A rule with an option: divide the learning rates by ten after the given epoch."""

    def __init__(self, at):
        self.at = at

    @hookimpl
    def control_epoch(self, epoch):
        if epoch == self.at:
            return ScaleLearningRate(factor=0.1, reason=f"epoch {epoch} is over")
