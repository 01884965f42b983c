"""Makes every picture of the documents, from trainings and pages that are real: ``make pictures``."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs/images"
CAST = ROOT / "tests/data/demo.cast"
"""What the terminal has shown in the recording, of which ``demo.gif`` is made."""

SIZES = {
    "demo.gif": (832, 624),
    "mlflow.png": (1280, 1116),
    "mlflow-artifacts.png": (1280, 720),
    "mlflow-charts.png": (1280, 1116),
    "mlflow-model.png": (1280, 1000),
    "mlflow-runs.png": (1280, 400),
    "mlflow-tuning.png": (1280, 400),
    "mlflow-view.png": (1280, 800),
    "mlflow-view-predictions.png": (1280, 800),
    "predictions.png": (1280, 768),
    "tensorboard.png": (1280, 1038),
    "tensorboard-custom-scalars.png": (1260, 936),
    "tensorboard-hparams.png": (1600, 240),
    "tensorboard-pr-curves.png": (1260, 936),
}
"""Every picture, with its width and height in pixels."""

LARGEST = {".gif": 1_000_000, ".png": 300_000}
"""Bytes of a file, at most."""
