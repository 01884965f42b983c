"""Writes every metric of every epoch to a CSV file beside the training's folder."""

import csv

from tracking_hooks import hookimpl


class CsvTracker:
    @hookimpl
    def on_epoch_end(self, run, epoch, metrics, state):
        path = run.save_dir.parent / f"{run.name}-{run.uid}.csv"
        rows = [[epoch, name, value] for name, value in metrics.items()]
        with path.open("a", newline="") as file:
            file.truncate(state.get("size", 0))  # an epoch that is delivered twice replaces itself
            csv.writer(file).writerows(rows if state else [["epoch", "metric", "value"], *rows])
            state.update(size=file.tell(), url=path.as_uri())  # the url is shown when the training ends
