"""A trainer with which Ultralytics really trains in several processes where there is no GPU.

It stands for a machine with as many GPUs as ``PROCESSES`` says, in both ways that Ultralytics trains on several:

- its own launch: ``python train.py``, whose process only starts the workers (``generate_ddp_command``, a pickled
  trainer, ``torch.distributed.run``), as with ``device="0,1"``;
- ``torchrun``: ``python -m torch.distributed.run … train.py``, on one machine or on several.

The launch, the training loop, the validation and all callbacks are Ultralytics' own. Replaced is only what asks for
CUDA: the number of devices (0 for a CPU), the back-end (gloo stands for nccl), DistributedDataParallel's device ids,
and the device of the final validation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from ultralytics.engine import validator
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOCAL_RANK, RANK, WORLD_SIZE

PROCESSES = 2

CPU = torch.device("cpu")


class CpuDDPTrainer(DetectionTrainer):
    """Trains in ``PROCESSES`` processes, or in as many as torchrun has started."""

    # Properties, so that BaseTrainer's constructor finds them right as soon as it has set them: in the process that
    # only launches the workers it adds no integrations and runs no callbacks.

    @property
    def ddp(self) -> bool:
        """Whether this process is to launch the workers, and is none itself."""
        return LOCAL_RANK == -1

    @ddp.setter
    def ddp(self, _: bool) -> None:
        """Leave it: what Ultralytics says is right for one CPU."""

    @property
    def world_size(self) -> int:
        """The number of processes."""
        return PROCESSES if self.ddp else WORLD_SIZE

    @world_size.setter
    def world_size(self, _: int) -> None:
        """Leave it: what Ultralytics says is right for one CPU."""

    def _setup_ddp(self) -> None:
        self.device = CPU
        distributed.init_process_group("gloo", rank=RANK, world_size=self.world_size)

    def _do_train(self) -> None:
        with _without_cuda():
            super()._do_train()


class _WithoutDeviceIds(DistributedDataParallel):
    """A model on a CPU has none."""

    def __init__(self, module: torch.nn.Module, *, device_ids: object, **options: Any) -> None:
        super().__init__(module, **options)


@contextmanager
def _without_cuda() -> Iterator[None]:
    backend = SimpleNamespace(current_device=lambda: 0)
    with ExitStack() as patches:
        patches.enter_context(mock.patch("torch.nn.parallel.DistributedDataParallel", _WithoutDeviceIds))
        # The final validation runs on the current CUDA device of any process that is a rank.
        patches.enter_context(mock.patch.object(validator, "get_torch_device_backend", return_value=backend))
        patches.enter_context(mock.patch.object(validator, "AutoBackend", _on_cpu(validator.AutoBackend)))
        yield


def _on_cpu(build: Callable[..., torch.nn.Module]) -> Callable[..., torch.nn.Module]:
    return lambda *args, **options: build(*args, **{**options, "device": CPU})
