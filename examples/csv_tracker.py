"""Writes every metric of every epoch to a CSV file beside the training's folder."""

import csv

from tracking_hooks import hookimpl


class CsvTracker:
    @hookimpl
    def on_epoch_end(self, run, epoch, metrics, state):
        path = run.save_dir.parent / f"{run.name}-{run.uid}.csv"
        with path.open("a", newline="") as file:
            file.truncate(state.get("size", 0))  # an epoch that is delivered twice replaces itself
            writer = csv.writer(file)
            if "size" not in state:
                writer.writerow(["epoch", "metric", "value"])
            writer.writerows([epoch, name, value] for name, value in metrics.items())
            state["size"] = file.tell()
        state["url"] = path.as_uri()  # shown when the training ends
