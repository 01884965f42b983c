"""One training in all processes of ``torchrun``, on however many nodes: ``train.py data=… epochs=…``."""

import os
import sys

from ultralytics import YOLO
from ultralytics.cfg import smart_value
from ultralytics.models.yolo.detect import DetectionTrainer


class MultiNodeTrainer(DetectionTrainer):
    """Counts the processes of all nodes; Ultralytics' own counts the devices of one."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.world_size = int(os.environ["WORLD_SIZE"])


if __name__ == "__main__":
    arguments = {name: smart_value(value) for name, _, value in (argument.partition("=") for argument in sys.argv[1:])}
    weights = arguments.pop("model", "yolo26n.pt")
    # The GPUs of this node: each process takes the one of its local rank.
    arguments["device"] = ",".join(str(index) for index in range(int(os.environ["LOCAL_WORLD_SIZE"])))
    YOLO(weights).train(trainer=MultiNodeTrainer, **arguments)
