"""The table of cells: which package is swapped for which version, and what goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PRESENT = "present"
"""The version of what is installed."""


@dataclass(frozen=True)
class Cell:
    """The present environment with one package swapped."""

    package: str
    version: str = PRESENT
    """Exactly this one."""
    requirements: tuple[str, ...] = ()
    """What is swapped with it, as pip takes it."""
    resolved: bool = False
    """Whether pip brings the dependencies of all these; else it brings these only."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that both trainings need."""
    model: str = "yolov8n.yaml"
    trackers: str = "mlflow,tensorboard"
    python: str = ""
    """Another Python, such as 3.10: what is swapped makes an environment for it; empty: the one that runs this."""
    serves: bool = False
    """Whether what is swapped serves the store, and the present client reports to it."""
    start: tuple[str, ...] = ()
    """What stands before the command of the tracked training, such as ``tracking-hooks run --``."""
    refused: bool = False
    """Whether the training is not tracked, and a sentence says so."""
    note: str = ""
    """What the page says of it beside the versions of other packages: one clause."""

    @property
    def name(self) -> str:
        return f"{self.package}{'-server' if self.serves else ''}=={self.version}"


_NUMPY = "numpy==2.3.5"
_CPU = "py-cpuinfo"  # imported by the releases up to 8.3.192
_TRAPZ = "`np.trapz` is gone in NumPy 2.4"
_UNSAFE = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
_PICKLES = "`TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1` (it reads its weights as PyTorch 2.5 did)"

ULTRALYTICS = (
    Cell(
        "ultralytics", "8.0.131", (_NUMPY, _CPU, "setuptools==80.9.0"), env=_UNSAFE, trackers="tensorboard",
        refused=True, note=f"{_TRAPZ}; {_PICKLES}; setuptools 80",
    ),
    *(
        Cell("ultralytics", version, (_NUMPY, _CPU, *more), env=_UNSAFE, note=f"{_TRAPZ}; {_PICKLES}")
        for version, more in {"8.0.200": (), "8.1.0": ("hub-sdk",), "8.1.47": (), "8.2.0": ()}.items()
    ),
    *(
        Cell("ultralytics", version, (_NUMPY, _CPU), note=_TRAPZ)
        for version in ("8.2.103", "8.3.0", "8.3.63")
    ),
    Cell("ultralytics", "8.3.192", (_CPU,)),
    Cell("ultralytics", "8.3.200"),
    *(Cell("ultralytics", version, model="yolo26n.yaml") for version in ("8.4.0", PRESENT)),
)  # fmt: skip

DEPENDENCIES = (
    Cell("pluggy", "1.5.0"),
    Cell("click", "8.1.0", note="`tracking-hooks status` was run, too"),
    Cell("msgspec", "0.19.0"),
    Cell("platformdirs", "4.0.0"),
    Cell("psutil", "6.0.0"),
    Cell("rich", "13.0.0", note="`tracking-hooks status` was run, too"),
    Cell("tenacity", "9.0.0"),
    Cell("numpy", "1.26.4"),
)

_OF_OLD_WANDB = ("docker-pycreds", "sentry-sdk", "setproctitle")
_TORCH = ("torch==2.14.1", "torchvision==0.29.1")
_SQL = "sqlalchemy==2.0.44"
_SERVES = "the installed client reports to it"
_OLD_SERVES = f"{_SERVES}; SQLAlchemy 2.0"
_OFFLINE = {"WANDB_MODE": "offline"}

TRACKERS = (
    *(
        Cell("mlflow", version, (f"mlflow-skinny=={version}", _SQL), trackers="mlflow", note="SQLAlchemy 2.0")
        for version in ("2.22.0", "3.0.0")
    ),
    Cell("mlflow", trackers="mlflow"),
    *(
        Cell("mlflow", version, (_SQL,), resolved=True, trackers="mlflow", serves=True, note=_OLD_SERVES)
        for version in ("2.22.0", "3.0.0")
    ),
    Cell("mlflow", trackers="mlflow", serves=True, note=_SERVES),
    Cell("tensorboard", "2.18.0", trackers="tensorboard"),
    Cell("tensorboard", trackers="tensorboard"),
    Cell(
        "wandb", "0.18.7", ("protobuf==5.29.5", *_OF_OLD_WANDB), env=_OFFLINE, trackers="wandb", refused=True,
    ),
    Cell("wandb", env=_OFFLINE, trackers="wandb"),
    Cell("protobuf", "4.25.8", ("tensorboard==2.18.0",)),
    Cell(
        "protobuf", "5.29.5", ("tensorboard==2.18.0",), env=_OFFLINE, trackers="mlflow,tensorboard,wandb",
    ),
    Cell("protobuf", "6.33.1", env=_OFFLINE, trackers="mlflow,tensorboard,wandb"),
)  # fmt: skip

PYTHONS = (
    Cell(
        "torch", "2.4.1", ("torchvision==0.19.1", "ultralytics", "numpy<2", "mlflow", "tensorboard"), python="3.10",
        model="yolo26n.yaml", start=("tracking-hooks", "run", "--"),
        note="`tracking-hooks run`, since this PyTorch loads no extensions",
    ),
    Cell(
        "mlflow-skinny", PRESENT, (*_TORCH, "ultralytics", "mlflow-skinny", "tensorboard"), python="3.13",
        note="reports to a server",
    ),
)  # fmt: skip

GROUPS: Mapping[str, tuple[Cell, ...]] = {
    "Ultralytics": ULTRALYTICS,
    "Dependencies": DEPENDENCIES,
    "Trackers": TRACKERS,
    "Python and PyTorch": PYTHONS,
}
"""The tables of the page."""

CELLS = tuple(cell for cells in GROUPS.values() for cell in cells)
OLDEST = next(cell for cell in ULTRALYTICS if not cell.refused)
"""The oldest Ultralytics whose trainings are tracked."""
