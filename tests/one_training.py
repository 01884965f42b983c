"""One training on this system, tracked in MLflow and TensorBoard, and compared with Ultralytics' ``results.csv``.

``python -m tests.one_training FOLDER`` is for hosted CI, on systems that the end-to-end tests do not run on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.compat import comparison, reading

EPOCHS = 2
_COMMAND = [sys.executable, "-c", "from tracking_hooks.cli import main; main()"]
_QUIET = {
    "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONUTF8": "1",
}  # fmt: skip


def main(folder: Path) -> None:
    """Train, deliver and compare; say what was compared."""
    # Ultralytics is another one where it sees a hosted runner.
    seen = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB")}
    environment = {"YOLO_CONFIG_DIR": str(folder.parent / "yolo"), **_QUIET, **seen}
    for words in (["demo", "--epochs", str(EPOCHS), "--folder", str(folder)], ["sync", str(folder)]):
        subprocess.run([*_COMMAND, *words], env=environment, check=True)
    where = f"{sys.platform}, Python {sys.version.split()[0]}"
    print(f"{where}: {compare(folder)} values of results.csv are in both trackers")


def compare(folder: Path) -> int:
    """Compare what the demo has left in a folder; return how many values were found in both trackers.

    :raises comparison.Differs: if one is missing, or is another
    """
    save_dir = folder / "runs/demo"
    table = comparison.table(save_dir / "results.csv")
    tensorboard = reading.tensorboard(str(save_dir))
    mlflow = reading.mlflow(f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
    assert mlflow["ended"]
    comparison.same("tensorboard", table, tensorboard["curves"])
    return comparison.same("mlflow", table, mlflow["curves"])


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
