"""The gauges of a run, and which event sets which: what both parts have in common."""

from collections.abc import Mapping
from typing import Any

from tracking_hooks import Run, hookimpl

STATUSES = ("running", "finished", "failed", "interrupted", "killed")
METRICS = {
    "on_epoch_end": "yolo_metric",
    "on_batch_end": "yolo_batch_metric",
    "on_system_metrics": "yolo_system_metric",
    "on_log": "yolo_logged_metric",
    "on_final_validation": "yolo_best_metric",
    "on_evaluation": "yolo_evaluation_metric",
}
Point = tuple[str, dict[str, str], float, float]  # a gauge, its labels, a value and the time of that


class Gauges:
    """Collects the points of a run. A part sends them in `flush`."""

    key: str  # of the destination: it says whether the part has anything to do

    @hookimpl
    def open(self, run: Run, state: dict[str, Any], destination: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Find nothing: the time of a point says which value is the latest."""
        self.labels = {"run": run.name, "project": run.project, "task": run.task, "uid": run.uid}
        self.wanted = bool(destination[self.key])
        self.points: list[Point] = []

    @hookimpl
    def on_event(self, hook: str, args: dict[str, Any], time: float) -> None:
        """Set the gauges that an event is about."""
        self._point("yolo_last_event_seconds", time, time)
        for status in STATUSES if hook in {"on_run_start", "on_run_end"} else ():
            self._point("yolo_status", status == args.get("status", "running"), time, status=status)
        if hook == "on_epoch_end":
            self._point("yolo_epoch", args["epoch"], time)
        for name, value in args["metrics"].items() if hook in METRICS else ():
            split = {"split": args["split"]} if hook == "on_evaluation" else {}
            self._point(METRICS[hook], value, time, metric=name, **split)

    @hookimpl
    def report_missing(self, missing: list[Any], time: float) -> None:
        """Say how many events are missing; 0 when they have been delivered after all."""
        self._point("yolo_missing_events", sum(lack.last - lack.first + 1 for lack in missing), time)

    def _point(self, gauge: str, value: float | str, time: float, **labels: str) -> None:
        if self.wanted:
            self.points.append((gauge, self.labels | labels, float(value), time))  # also "NaN" and "Infinity"
