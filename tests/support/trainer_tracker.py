"""A plugin that imports the trainer."""

import torch

from tracking_hooks import hookimpl


class TrainerTracker:
    @hookimpl
    def on_epoch_end(self, epoch):
        """Do nothing."""
        return torch.tensor(epoch)
