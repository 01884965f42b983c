"""What somebody sees who looks at the text files: for the tests, and for `tracking-hooks plugins --check otel`."""

from pathlib import Path
from typing import Any

from tracking_hooks_otel.textfile import read

keeps_values = "latest"


def destination(folder: Path) -> dict[str, Any]:
    """Return a place where nothing is."""
    return {"otlp": False, "textfile": str(folder)}


def observe(destination: dict[str, Any]) -> list[dict[str, float]]:
    """Return the latest value of each gauge, for each run."""
    files = sorted(Path(destination["textfile"]).glob("*.prom"))
    return [{" ".join(key): value for key, (value, _) in read(path).items()} for path in files]
