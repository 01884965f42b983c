"""Pictures of MLflow's pages."""

from __future__ import annotations

from typing import Any

from mlflow import MlflowClient
from PIL import Image

from docs.pictures.camera import Camera
from docs.pictures.home import DEMO, TUNING
from docs.pictures.others import BROKEN, FAST, TUNE
from tracking_hooks_mlflow import pages

FILMED = (1040, 780)
"""Width and height of the page in the film, which shows it a little smaller."""

_ARE_DRAWN = """
count => [...document.querySelectorAll('.js-plotly-plot')].filter(plot => (plot.data || []).length).length >= count
"""
_ARE_LOADED = """
count => [...document.querySelectorAll("img[src*='compressed']")].filter(image => image.naturalWidth).length >= count
"""


class Pages:
    """Those of a server."""

    def __init__(self, camera: Camera, server: str, store: str) -> None:
        self._camera = camera
        self._server = server
        self._client = MlflowClient(store)
        page = camera.page
        page.goto(server)
        # Both are remembered by the browser: the pages for trainings, and none for the assistant.
        page.get_by_text("Model training", exact=True).first.click()
        page.get_by_text("MLflow Assistant").wait_for()
        page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()

    def of_the_film(self, link: str) -> list[Image.Image]:
        """Return what a user sees who opens the link: curves, and further down what the model sees."""
        page = self._camera.page
        self._camera.resize(*FILMED)
        page.goto(link)
        for name in ("Toggle sidebar", "Hide banner"):
            page.get_by_role("button", name=name).click()
        page.locator("[data-component-id='mlflow.experiment_page.table_resizer.collapse']").click()
        page.wait_for_function(_ARE_DRAWN, arg=3)
        curves = self._camera.take()
        self._scroll_to("predictions")
        page.wait_for_function(_ARE_LOADED, arg=2)
        return [curves, self._camera.take()]

    def of_the_demo(self) -> None:
        """Take those of one run."""
        experiment, runs = self._runs(DEMO)
        run = runs["demo"]
        with self._camera.picture("mlflow.png") as page:
            self._open(pages.of_run(experiment, run.info.run_id, "model-metrics"))
            self._search("^metrics/(mAP|precision)|^train/.*loss$")
            page.get_by_text("predictions", exact=True).first.click()  # cards that the search leaves
            page.wait_for_function(_ARE_DRAWN, arg=6)
        with self._camera.picture("mlflow-charts.png") as page:
            self._search("^metrics/(mAP50|recall)|^val/.*loss$")
            page.get_by_text("val", exact=True).wait_for()
            page.wait_for_function(_ARE_DRAWN, arg=6)
        with self._camera.picture("mlflow-artifacts.png") as page:
            self._open(pages.of_run(experiment, run.info.run_id, "artifacts"))
            page.get_by_text("results.png", exact=True).click()
            shown = page.get_by_role("img", name="results.png")
            shown.wait_for()
            page.wait_for_function("image => image.complete && image.naturalWidth", arg=shown.element_handle())
        with self._camera.picture("mlflow-model.png") as page:
            (output,) = run.outputs.model_outputs
            self._open(f"#/experiments/{experiment}/models/{output.model_id}")
            page.get_by_text("Ready", exact=True).first.wait_for()
            page.get_by_role("row").filter(has_text="best/metrics/mAP50-95B").wait_for()
        with self._camera.picture("mlflow-view-predictions.png") as page:
            self._open(pages.of_runs(experiment, has_view=True))
            page.wait_for_function(_ARE_DRAWN, arg=3)
            self._scroll_to("predictions")
            page.wait_for_function(_ARE_LOADED, arg=2)

    def of_several(self) -> None:
        """Take those of all runs, and of a tuning."""
        experiment, runs = self._runs(DEMO)
        assert {FAST, BROKEN} <= runs.keys()
        with self._camera.picture("mlflow-runs.png") as page:
            self._open(f"#/experiments/{experiment}/runs")
            page.get_by_role("link", name="demo", exact=True).wait_for()
        with self._camera.picture("mlflow-view.png") as page:
            self._open(pages.of_runs(experiment, has_view=True))
            page.wait_for_function(_ARE_DRAWN, arg=3)
        with self._camera.picture("mlflow-tuning.png") as page:
            experiment, _ = self._runs(TUNING)
            self._open(f"#/experiments/{experiment}/runs")
            cell = page.get_by_role("gridcell").filter(has=page.get_by_role("link", name=TUNE, exact=True))
            cell.get_by_role("button").click()
            page.get_by_role("link", name="trial-1").wait_for()

    def _runs(self, experiment: str) -> tuple[str, dict[str, Any]]:
        """Return an experiment's id, and its runs by name."""
        number = self._client.get_experiment_by_name(experiment).experiment_id
        return number, {run.info.run_name: run for run in self._client.search_runs([number])}

    def _open(self, place: str) -> None:
        """Open a page afresh: from one to another, it keeps how it is arranged."""
        self._camera.page.goto("about:blank")
        self._camera.page.goto(f"{self._server}/{place}")

    def _search(self, pattern: str) -> None:
        """Show those charts only whose names a pattern matches."""
        search = self._camera.page.get_by_placeholder("Search metric charts")
        search.fill(pattern)
        search.blur()

    def _scroll_to(self, section: str) -> None:
        """Bring a section of charts into sight: the page makes them then."""
        heading = self._camera.page.get_by_text(section, exact=True).first
        heading.evaluate("heading => heading.scrollIntoView()")
