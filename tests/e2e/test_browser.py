"""What a person sees: the demo, a tuning and a run that failed, opened in MLflow's own pages.

Pictures of the pages are left in ``build``; those in the docs are made by ``make pictures``.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest

from tests.support import browser, processes
from tests.support.forking import relays_are_forked
from tests.support.home import Home
from tests.support.mlflow import MLflowReader, mlflow_server
from tests.support.runs import write_run
from tracking_hooks.delivery.spawn import DELIVERED, start_relay
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run
from tracking_hooks_mlflow import pages, predictions

DEMO_EPOCHS = 12  # enough for curves that are nice to look at
DEMO, TUNING = "tracking-hooks demo", "tuning"  # the names of their experiments
FAILED = "broken"  # the name of a run
SIZE = {"width": 1600, "height": 1200}  # pixels of a page
SMALL = {"width": 1280, "height": 800}  # of a laptop
PICTURES = next(parent for parent in Path(__file__).parents if (parent / "LICENSE").is_file()) / "build"
pytestmark = [pytest.mark.e2e, browser.needed]

# Plotly keeps the data with the element that it draws into, and MLflow the metric's name with the data.
DRAWN = """
name => [...document.querySelectorAll('.js-plotly-plot')]
    .flatMap(plot => plot.data || [])
    .filter(trace => trace.metricHistory && trace.metricHistory[0].key === name)
    .map(trace => ({x: [...trace.x], y: [...trace.y]}))[0]
"""

BAR = """
() => {
    const bars = [...document.querySelectorAll('.js-plotly-plot')]
        .flatMap(plot => plot.data || []).filter(trace => trace.type === 'bar');
    return bars.length === 1 && [...bars[0].x];
}
"""
"""The values of the only bar chart, if there is one."""


def deliver_failed(folder: Path, uri: str) -> None:
    """Record a run that fails, without a trainer, and deliver it by a real relay."""
    save_dir = folder / "failed/train"
    calls = recorded_run(save_dir, status="failed")
    destination = {"tracking_uri": uri, "experiment": DEMO, "run_name": FAILED}
    files = write_run(sample_run(save_dir), calls, {"mlflow": destination})
    with relays_are_forked():
        code = start_relay(files, "mlflow", Settings(), drain=True).wait(processes.PATIENCE)
    assert code == DELIVERED, files.relay("mlflow").log.read_text()


LINES = """
() => [...document.querySelectorAll('.js-plotly-plot')].map(plot => (plot.data || []).map(line => line.metricKey))
"""
"""The metrics of each chart that is drawn."""

TUNE = """
from ultralytics import YOLO
arguments = {arguments!r}
YOLO(arguments.pop("model")).tune(iterations=2, **arguments)
"""


def run_demo(home: Home) -> Path:
    """Run the demo and tune a model beside it; return the demo's folder."""
    demo = home.work / "tracking-hooks-demo"
    demo.mkdir()
    shutil.copy(home.work / "yolo26n.yaml", demo)  # of few layers
    command = home.start(["tracking-hooks", "demo", "--epochs", str(DEMO_EPOCHS)])
    output, _ = command.communicate(timeout=5 * browser.PATIENCE / 1000)
    assert command.returncode == 0, output
    arguments = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in home.arguments(epochs=1, project=demo / "runs", name="tune").items()
    }
    (demo / "tune.py").write_text(TUNE.format(arguments=arguments))
    home.run([home.python, "tune.py"], "mlflow", cwd=demo, MLFLOW_EXPERIMENT_NAME=TUNING)
    return demo


@pytest.fixture(scope="module")
def store(tmp_path_factory, shapes, settings):
    """The demo's database, with the demo, a tuning of two trials, and a run that failed."""
    home = Home(tmp_path_factory.mktemp("browser") / "home", shapes)
    home.env["YOLO_CONFIG_DIR"] = str(settings)
    try:
        demo = run_demo(home)
    finally:
        home.close()
    uri = f"sqlite:///{demo / 'mlflow.db'}"
    deliver_failed(demo, uri)
    return uri


@pytest.fixture(scope="module")
def server(store, tmp_path_factory):
    """MLflow's own server on that database; the address of its pages."""
    with mlflow_server(tmp_path_factory.mktemp("server"), store=store) as address:
        yield address


@pytest.fixture(scope="module")
def reader(store):
    return MLflowReader(store)


def runs_of(reader, experiment):
    """Return the experiment's id, and its runs by name."""
    experiment_id = reader.client.get_experiment_by_name(experiment).experiment_id
    return experiment_id, {run.info.run_name: run for run in reader.client.search_runs([experiment_id])}


@pytest.fixture(scope="module")
def page(server):
    with browser.new_page(**SIZE) as page:
        page.goto(server)
        # Both are remembered by the browser: the pages for trainings, and none for the assistant.
        page.get_by_text("Model training", exact=True).first.click()
        page.get_by_text("MLflow Assistant").wait_for()
        page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()
        yield page


@pytest.fixture
def picture(page):
    """Take a picture of the page."""

    def take(name: str, height: int = SIZE["height"]) -> None:
        page.mouse.move(0, 0)  # away from what shows more of itself under it
        PICTURES.mkdir(exist_ok=True)
        part = {**SIZE, "height": height, "x": 0, "y": 0}
        page.screenshot(path=PICTURES / f"{name}.png", animations="disabled", clip=part)

    return take


def test_the_list_shows_the_runs_by_their_names(server, reader, page, picture):
    experiment_id, runs = runs_of(reader, DEMO)
    page.goto(f"{server}/#/experiments/{experiment_id}/runs")

    assert set(runs) == {"demo", FAILED}
    for name, run in runs.items():
        link = page.get_by_role("link", name=name, exact=True)
        link.wait_for()
        assert link.get_attribute("href").endswith(run.info.run_id)
    picture("mlflow-runs", height=400)


@pytest.mark.parametrize(("name", "shown"), [("demo", "Finished"), (FAILED, "Failed")])
def test_the_page_of_a_run_shows_how_it_ended(name, shown, server, reader, page):
    experiment_id, runs = runs_of(reader, DEMO)
    page.goto(f"{server}/#/experiments/{experiment_id}/runs/{runs[name].info.run_id}")

    page.get_by_text(shown, exact=True).first.wait_for()
    if name == FAILED:
        page.get_by_text("RuntimeError: boom").first.wait_for()


def test_the_demos_charts_have_its_points(server, reader, page, picture):
    experiment_id, runs = runs_of(reader, DEMO)
    page.goto(f"{server}/#/experiments/{experiment_id}/runs/{runs['demo'].info.run_id}/model-metrics")
    page.get_by_placeholder("Search metric charts").fill("^metrics/mAP|^train/.*loss$")

    for name in ("metrics/mAP50B", "metrics/mAP50-95B", "train/box_loss", "train/cls_loss"):
        scroll_to(name.partition("/")[0], page)  # the search leaves cards of images there, in between
        drawn = page.wait_for_function(DRAWN, arg=name).json_value()
        history = reader.history(runs["demo"], name)
        assert drawn["x"] == [step for step, _ in history] == list(range(1, DEMO_EPOCHS + 1)), name
        assert drawn["y"] == pytest.approx([value for _, value in history]), name
    picture("mlflow-charts", height=1050)

    page.get_by_placeholder("Search metric charts").fill("^best/metrics/mAP50-95B$")
    scroll_to("best/metrics", page)
    assert page.wait_for_function(BAR).json_value() == [runs["demo"].data.metrics["best/metrics/mAP50-95B"]]


def scroll_to(section, page):
    """Bring a section of charts into sight: the page makes them then."""
    page.get_by_text(section, exact=True).first.evaluate("section => section.scrollIntoView()")


def test_all_runs_are_shown_with_map_first_and_each_loss_of_training_and_validation_in_one_chart(
    server, reader, page, picture
):
    experiment_id, _ = runs_of(reader, DEMO)
    page.set_viewport_size(SMALL)
    try:
        page.goto(f"{server}/{pages.of_runs(experiment_id, has_view=True)}")
        page.wait_for_function(f"({LINES})()[0]?.includes('metrics/mAP50-95B')")
        picture("mlflow-view", height=SMALL["height"])
        scroll_to("losses", page)
        page.wait_for_function(
            f"({LINES})().some(keys => ['train', 'val'].every(of => keys.includes(of + '/box_loss')))"
        )
    finally:
        page.set_viewport_size(SIZE)


IS_SEEN = """
([image, shown]) => {
    const {left, right, top, width} = image.getBoundingClientRect();
    const corners = [[left + 1, top + 1], [right - 1, top + shown * width]];
    return image.naturalWidth > 0 && corners.every(([x, y]) => document.elementsFromPoint(x, y).includes(image));
}
"""
"""Whether the upper part of a picture lies in what its card shows."""


def test_the_view_shows_what_the_model_sees_without_a_click(server, reader, page, picture):
    experiment_id, runs = runs_of(reader, DEMO)
    keys = {key for key in shown_images(runs["demo"], reader) if key.startswith("predictions/")}
    page.set_viewport_size(SMALL)
    try:
        page.goto(f"{server}/{pages.of_runs(experiment_id, has_view=True)}")
        scroll_to("predictions", page)
        card = page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text="predictions/").first
        card.scroll_into_view_if_needed()
        image = card.locator("img[src*='compressed']")
        page.wait_for_function(IS_SEEN, arg=[image.element_handle(), 0.73])
        picture("mlflow-view-predictions", height=SMALL["height"])

        said = card.inner_text().split()
        assert said[0] in keys
        assert {"demo"} <= {*said} and "lr0" not in " ".join(said)
        size = predictions._CARD
        assert image.bounding_box()["width"] / size["width"] * size["text"] >= 11
    finally:
        page.set_viewport_size(SIZE)


def test_all_runs_are_listed_by_their_best_map(server, reader, page):
    experiment_id, _ = runs_of(reader, DEMO)
    page.goto(f"{server}/{pages.of_runs(experiment_id, has_view=True).replace('=CHART', '=TABLE')}")
    page.get_by_role("columnheader", name="best/metrics/mAP50-95B").first.wait_for()
    for column in ("epochs", "model.name", "Dataset", "Duration"):
        page.get_by_role("columnheader", name=column).first.wait_for()
    listed = page.get_by_role("link", name=re.compile(f"^(demo|{FAILED})$"))
    listed.nth(1).wait_for()
    assert listed.all_text_contents() == ["demo", FAILED], "the one without a result is the last"


@pytest.mark.parametrize("name", ["results.png", "confusion_matrix.png"])
def test_a_plot_of_the_demo_is_shown(name, server, reader, page, picture):
    experiment_id, runs = runs_of(reader, DEMO)
    page.goto(f"{server}/#/experiments/{experiment_id}/runs/{runs['demo'].info.run_id}/artifacts")
    page.get_by_text(name, exact=True).click()

    shown = page.get_by_role("img", name=name)
    shown.wait_for()
    page.wait_for_function("image => image.complete && image.naturalWidth > 500", arg=shown.element_handle())
    for other in ("dataset", "tables", "weights", "results.csv", "args.yaml", "console.log", "labels.jpg"):
        page.get_by_text(other, exact=True).first.wait_for()
    picture(f"mlflow-{name.removesuffix('.png').replace('_', '-')}", height=820)


def test_the_description_says_what_was_trained_and_how_it_ended(server, reader, page, picture):
    experiment_id, runs = runs_of(reader, DEMO)
    page.goto(f"{server}/#/experiments/{experiment_id}/runs/{runs['demo'].info.run_id}")
    page.get_by_text("Show more", exact=True).click()

    best = page.get_by_role("table").filter(has_text="Best checkpoint")
    best.wait_for()
    value = runs["demo"].data.metrics["best/metrics/mAP50-95B"]
    row = best.get_by_role("row").filter(has_text=re.compile(r"metrics/mAP50-95"))
    assert f"{value:.4g}" in row.text_content()
    for label, texts in {
        "Model:": ["yolo26n", "GFLOPs at 640"],
        "Data set:": ["3 classes"],
        "Result:": [f"mAP50-95(B) {value:.4g}", f"after {DEMO_EPOCHS} epochs"],
    }.items():
        paragraph = page.get_by_role("paragraph").filter(has=page.get_by_text(label, exact=True))
        for text in texts:
            assert text in paragraph.first.text_content()
    assert "model=yolo26n.yaml" in page.get_by_text("model=yolo26n.yaml").first.text_content()
    picture("mlflow-description")
    browser.expect(page.get_by_text("About this run")).to_be_in_viewport()


OPEN_WITHIN = browser.PATIENCE / 1000  # seconds, on two cores that other tests keep busy


def test_what_the_model_sees_are_cards_that_are_read_without_a_click(server, reader, page, picture):
    experiment_id, runs = runs_of(reader, DEMO)
    search = page.get_by_placeholder("Search metric charts")
    card = predictions._CARD
    page.set_viewport_size(SMALL)
    try:
        began = time.monotonic()
        page.goto(f"{server}/#/experiments/{experiment_id}/runs/{runs['demo'].info.run_id}/model-metrics")
        search.fill("^(predictions|worst)/")
        page.locator("img[src*='predictions']").first.wait_for()
        assert time.monotonic() - began < OPEN_WITHIN
        picture("mlflow-predictions", height=SMALL["height"])
        for key in shown_images(runs["demo"], reader)[:6]:  # the page makes those that are not in sight later
            search.fill(f"^{re.escape(key)}$")
            page.get_by_text(key, exact=True).wait_for()
            shown = page.locator("img[src*='compressed']").first
            shown.scroll_into_view_if_needed()
            page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=shown.element_handle())
            assert shown.bounding_box()["width"] / card["width"] * card["text"] >= 11
    finally:
        page.set_viewport_size(SIZE)


def shown_images(run, reader):
    """The keys of the cards; those of predictions have the first, some tenth and the last epoch."""
    keys = {}
    for name in reader.artifacts(run, "images"):
        key, _, step, *_ = name.removeprefix("images/").split("+")
        keys.setdefault(key.replace("~", "/"), set()).add(int(step))
    ours = {key: steps for key, steps in keys.items() if key.startswith("predictions/")}
    assert len(ours) == 8
    assert all({0, 1, 10, DEMO_EPOCHS} <= steps for steps in ours.values())
    assert any(key.startswith("worst/01 ") for key in keys)
    return sorted(keys)


def test_trials_are_nested_below_their_tuning(server, reader, page, picture):
    experiment_id, runs = runs_of(reader, TUNING)
    assert set(runs) == {"tune", "trial-1", "trial-2"}
    page.goto(f"{server}/#/experiments/{experiment_id}/runs")

    cell = page.get_by_role("gridcell").filter(has=page.get_by_role("link", name="tune", exact=True))
    cell.wait_for()
    assert page.get_by_role("link", name=re.compile("^trial-")).count() == 0
    cell.get_by_role("button").click()
    for name in ("trial-1", "trial-2"):
        link = page.get_by_role("link", name=name)
        link.wait_for()
        assert link.get_attribute("href").endswith(runs[name].info.run_id)
    picture("mlflow-tuning", height=400)

    page.goto(f"{server}/#/experiments/{experiment_id}/runs/{runs['tune'].info.run_id}")
    page.get_by_text("Child runs", exact=True).wait_for()
    for name in ("trial-1", "trial-2"):
        page.get_by_role("link", name=name).wait_for()
    picture("mlflow-tuning-run")


def test_the_best_checkpoint_has_a_page_as_a_model(server, reader, page, picture):
    experiment_id, runs = runs_of(reader, DEMO)
    (output,) = runs["demo"].outputs.model_outputs
    model = reader.client.get_logged_model(output.model_id)
    page.goto(f"{server}/#/experiments/{experiment_id}/runs/{runs['demo'].info.run_id}")
    link = page.get_by_role("link", name=model.name).first
    link.wait_for()
    assert link.get_attribute("href").endswith(output.model_id)

    page.goto(f"{server}/#/experiments/{experiment_id}/models/{output.model_id}")
    page.get_by_text("Ready", exact=True).first.wait_for()
    page.get_by_role("row").filter(has_text="best/metrics/mAP50-95B").wait_for()
    page.get_by_role("link", name="demo", exact=True).first.wait_for()
    picture("mlflow-model")
