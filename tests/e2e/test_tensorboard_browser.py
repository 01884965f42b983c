"""What a person sees: one short training, opened in TensorBoard's own pages. Their pictures are put into ``build/``."""

from __future__ import annotations

import inspect
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support import browser
from tests.support.home import Home
from tests.support.processes import wait_for
from tracking_hooks.cli.shapes import make_shapes
from tracking_hooks.drawing import draw
from tracking_hooks.run.layout import find_runs
from tracking_hooks_tensorboard import trainer

EPOCHS = 12  # until something is found: of nothing there is no curve
pytestmark = [pytest.mark.e2e, browser.needed]

PICTURES = Path(__file__).parents[2] / "build" / "tensorboard"


@pytest.fixture(scope="module")
def logdir(tmp_path_factory, settings):
    """The folder of a project with one training."""
    folder = tmp_path_factory.mktemp("training")
    home = Home(folder / "home", make_shapes(folder / "shapes", train=96, val=16))
    home.env["YOLO_CONFIG_DIR"] = str(settings)
    command = home.yolo(
        epochs=EPOCHS, imgsz=64, batch=8, lr0=0.005, optimizer="AdamW", mosaic=0.0, close_mosaic=0, warmup_epochs=1,
        plots=True,
    )  # fmt: skip
    home.run(command, "tensorboard", TRACKING_HOOKS_HISTOGRAMS="on", TRACKING_HOOKS_GRAPH="on")
    return home.work / "runs"


@pytest.fixture(scope="module")
def server(logdir, tmp_path_factory):
    """TensorBoard on that folder, on a free port of its choice; the address of its pages."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1", "--port", "0"]
    output = tmp_path_factory.mktemp("server") / "log"
    with output.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)

    def wait(condition, what):
        wait_for(lambda: process.poll() is not None or condition(), what)
        assert process.poll() is None, output.read_text()

    try:
        wait(lambda: "http://127.0.0.1:" in output.read_text(), "the address")
        address = "http://127.0.0.1:" + output.read_text().partition("http://127.0.0.1:")[2].partition("/")[0]
        wait(lambda: b'"status"' in ask(f"{address}/data/plugin/text/tags"), "the last event")
        yield address
    finally:
        process.terminate()
        process.wait(30)


def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read()
    except OSError:
        return b""


@pytest.fixture(scope="module")
def page():
    with browser.new_page() as page:
        yield page


@pytest.fixture
def show(server, page):
    """Open a tab afresh, and take a picture of it at the end of the test."""
    opened = []

    def open_(tab, *, query="", more="", errors=None):
        page.goto("about:blank")
        if errors is not None:
            page.on("pageerror", lambda error: errors.append(error))  # noqa: PLW0108 it takes no method of C
        page.goto(f"{server}/{query}#{tab}{more}")  # the older tabs keep their settings behind the tab's name
        opened.append(tab)
        return page

    yield open_
    PICTURES.mkdir(parents=True, exist_ok=True)
    for tab in opened:
        page.wait_for_timeout(1500)  # until what moves into its place has come to rest
        page.screenshot(path=PICTURES / f"{tab}.png")


def await_drawn(page, selector, count):
    page.locator(selector).nth(count - 1).wait_for(state="attached")


def await_texts(page, *texts):
    for text in texts:
        page.get_by_text(text, exact=True).first.wait_for()


def test_time_series(show):
    page = show("timeseries", query="?tagFilter=%5E(train%7Cval%7Cmetrics)%2F&smoothing=0")
    await_texts(page, "metrics/mAP50(B)", "metrics/precision(B)")
    await_drawn(page, "scalar-card svg path, scalar-card canvas", 2)


def test_time_series_opens_curves_over_epochs(show):
    page = show("timeseries")
    await_texts(page, "lr/pg0", "metrics/mAP50(B)")
    groups = page.locator("metrics-card-group-toolbar .group-title").all_inner_texts()
    assert groups[:2] == ["lr", "metrics"]


def test_custom_scalars_overlay_training_and_validation(show):
    errors = []
    page = show("custom_scalars", more="&_smoothingWeight=0", errors=errors)
    await_texts(page, "losses", "box_loss", "cls_loss", "metrics", "mAP50(B)", "fitness", "learning rates")
    page.get_by_text("Matches (2)").nth(2).wait_for()  # three losses
    page.get_by_text("Matches (1)").nth(4).wait_for()  # a chart for each metric, and the fitness
    page.wait_for_timeout(3000)
    assert not errors  # they are what a chart that stays empty leaves behind


def test_hparams_have_the_run_as_a_row(show):
    page = show("hparams")
    await_texts(page, "batch", "epochs", "imgsz", "lr0", "model", "train")
    page.get_by_text("validation/best/metrics/mAP50-95(B)").first.wait_for()


def test_the_link_of_the_run_has_map_and_the_losses_on_top(logdir, show):
    (folder,) = find_runs(logdir)
    state = folder.relay("tensorboard").read_cursor().state
    link = trainer.page(state, {"logdir": str(logdir / "train")}, overview=False).url
    page = show("timeseries", query=link.partition("#")[0])
    pinned = page.locator("metrics-pinned-view")
    for tag in ("metrics/mAP50-95(B)", "metrics/mAP50(B)", "train/box_loss", "val/box_loss"):
        pinned.get_by_text(tag, exact=True).first.wait_for(state="attached")


def test_images_show_batches_and_predictions_beside_labels(show):
    page = show("images", more="&tagFilter=batch")
    await_texts(page, "plots/train_batch0", "plots/val_batch0_labels", "plots/val_batch0_pred")
    await_drawn(page, "#main-image-container img", 5)


@pytest.mark.parametrize(("of", "count"), [("predictions", 8), ("worst", 1)])
def test_images_show_what_the_model_sees_in_letters_that_can_be_read(of, count, show):
    page = show("images", more=f"&tagFilter=^{of}/")
    selector = "#main-image-container img"
    await_drawn(page, selector, count)
    texts = inspect.signature(draw).parameters
    for image in page.locator(selector).all()[:count]:
        page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=image.element_handle())
        assert image.bounding_box()["width"] / texts["width"].default * texts["text"].default >= 11


def test_pr_curves_are_drawn_by_class(show):
    page = show("pr_curves")
    await_texts(page, "pr_curves(B)/square", "pr_curves(B)/circle", "pr_curves(B)/triangle")
    page.get_by_text(f"step {EPOCHS}").nth(2).wait_for()


def test_text_tells_how_the_run_was_made_and_ended(show):
    page = show("text")
    await_texts(page, "Result", "best", "params", "environment", "console", "status")
    first, second = (page.get_by_text(text, exact=True).first.bounding_box() for text in ("Result", "best"))
    assert first["y"] < second["y"]


def test_histograms_show_the_weights(show):
    page = show("histograms", more="&tagFilter=model.0.conv")
    await_texts(page, "weights/model.0.conv.weight")
    await_drawn(page, "vz-histogram-timeseries path", EPOCHS)


def test_the_graph_has_the_layers(show):
    page = show("graphs")
    for name in ("images", "0_Conv", "5_Detect"):
        page.get_by_text(name, exact=True).first.wait_for(state="attached")
