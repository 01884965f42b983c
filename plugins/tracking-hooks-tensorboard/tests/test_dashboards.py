"""What the tabs of a running TensorBoard show of two runs under one folder, one of which was killed."""

import struct

import pytest
from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import metadata

from tracking_hooks.events import ConfusionMatrix, Curve, Dataset, Split
from tracking_hooks.testing import STARTED, play
from tracking_hooks_tensorboard import hparams
from tracking_hooks_tensorboard.curves import pr_curves
from tracking_hooks_tensorboard.dashboard import layout
from tracking_hooks_tensorboard.texts import dataset, shortened
from tracking_hooks_tensorboard.tracker import TensorBoardTracker

pytestmark = pytest.mark.e2e

FINISHED, KILLED = "finished", "killed"


@pytest.fixture(scope="module")
def logdir(recorded, run_of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    for status in (FINISHED, KILLED):
        save_dir = folder / "runs" / status
        calls = recorded(save_dir, status=status)
        if status == KILLED:
            calls[0].args["params"] |= {"lr0": 0.5, "freeze": 10}
        play(TensorBoardTracker(), calls, run_of(save_dir), destination={"logdir": str(folder / "tb" / status)})
    return folder / "tb"


@pytest.fixture(scope="module", params=[["--load_fast=false"], []], ids=["python", "default"])
def server(request, serve, logdir):
    """TensorBoard with its Python reader, and as it is started by default: with the Rust one, where that runs."""
    server = serve(logdir, *request.param)
    server.await_(lambda: "status" in server.get("plugin/text/tags").get(KILLED, []), "the last event")
    server.await_(lambda: "status" in server.get("plugin/text/tags").get(FINISHED, []), "the last event")
    return server


def test_there_is_a_run_for_each_folder_and_no_other(server):
    assert sorted(server.get("runs")) == [FINISHED, KILLED]


def test_curves_stand_at_their_epochs(server):
    points = server.get("plugin/scalars/scalars", run=FINISHED, tag="per_class/circle/metrics/mAP50B")
    assert [(step, value) for _, step, value in points] == [(n, pytest.approx(0.85 - 0.5**n)) for n in (1, 2, 3)]
    points = server.get("plugin/scalars/scalars", run=KILLED, tag="train/box_loss")
    assert [step for _, step, _ in points] == [1, 2]


def test_the_layout_overlays_what_belongs_together(server):
    # Of two runs that say the same, one.
    categories = {one["title"]: one["chart"] for one in server.get("plugin/custom_scalars/layout")["category"]}
    assert list(categories) == ["losses", "metrics", "learning rates", "classes"]
    drawn = {}
    for charts in categories.values():
        for chart in charts:
            tags = set()
            for regex in chart["multiline"]["tag"]:
                answer = server.get("plugin/custom_scalars/scalars", run=FINISHED, tag=regex)
                assert answer["regex_valid"]
                tags |= answer["tag_to_events"].keys()
            drawn[chart["title"]] = sorted(tags)
    assert drawn == {
        "box_loss": ["train/box_loss", "val/box_loss"],
        "cls_loss": ["train/cls_loss"],
        "mAP50-95(B)": ["without_brackets/metrics/mAP50-95B"],
        "mAP50(B)": ["without_brackets/metrics/mAP50B"],
        "precision(B)": ["without_brackets/metrics/precisionB"],
        "recall(B)": [],
        "fitness": ["metrics/fitness"],
        "by parameter group": ["lr/pg0"],
        "metrics/mAP50B": ["per_class/circle/metrics/mAP50B", "per_class/square/metrics/mAP50B"],
    }
    # TensorBoard's page takes what follows the first bracket of "tag (run)" for the run, and would draw nothing.
    assert not [tag for tags in drawn.values() for tag in tags if "(" in tag]
    for name in ("mAP50-95", "mAP50", "precision"):
        copy = server.get("plugin/scalars/scalars", run=FINISHED, tag=f"without_brackets/metrics/{name}B")
        assert copy == server.get("plugin/scalars/scalars", run=FINISHED, tag=f"metrics/{name}(B)")


@pytest.mark.parametrize(
    "name",
    [
        "PLUGIN_NAME",
        "PLUGIN_DATA_VERSION",
        "EXPERIMENT_TAG",
        "SESSION_START_INFO_TAG",
        "SESSION_END_INFO_TAG",
        "NULL_TENSOR",
    ],
)
def test_the_names_of_the_hparams_tab_are_those_of_tensorboard(name):
    assert getattr(hparams, name) == getattr(metadata, name)


def test_a_run_is_a_row_of_the_hparams_tab(server):
    experiment = server.post("plugin/hparams/experiment", {})
    columns = {info["name"]: info["type"] for info in experiment["hparamInfos"]}
    assert columns["lr0"] == "DATA_TYPE_FLOAT64"
    assert columns["amp"] == "DATA_TYPE_BOOL"
    assert columns["model"] == "DATA_TYPE_STRING"
    metrics = [info["name"]["tag"] for info in experiment["metricInfos"]]
    assert metrics[:2] == ["validation/best/metrics/mAP50-95(B)", "validation/best/metrics/mAP50(B)"]

    request = {
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"hparam": name} for name in columns] + [{"metric": {"tag": tag}} for tag in metrics],
        "startIndex": 0, "sliceSize": 10,
    }  # fmt: skip
    answer = server.post("plugin/hparams/session_groups", request)
    rows = {row["name"]: row for row in answer["sessionGroups"]}
    assert sorted(rows) == [FINISHED, KILLED]

    finished, killed = rows[FINISHED], rows[KILLED]
    assert finished["hparams"] == {
        "task": "detect", "model": "yolo26n.yaml", "epochs": 3.0, "lr0": 0.01, "data": "shapes.yaml",
        "batch": 16.0, "amp": True, "classes": "[0, 2]", "name": FINISHED,
    }  # fmt: skip
    assert (killed["hparams"]["lr0"], killed["hparams"]["freeze"]) == (0.5, 10.0)
    (session,) = finished["sessions"]
    assert session["status"] == "STATUS_SUCCESS"
    assert session["startTimeSecs"] == STARTED
    values = {metric["name"]["tag"]: (metric["trainingStep"], metric["value"]) for metric in session["metricValues"]}
    assert values["validation/best/metrics/mAP50(B)"] == (3, pytest.approx(0.91))
    assert values["metrics/fitness"] == (3, pytest.approx(0.7 - 0.5**3))
    (session,) = killed["sessions"]
    assert session["status"] == "STATUS_UNKNOWN"
    assert "metrics/mAP50(B)" in {metric["name"]["tag"] for metric in session["metricValues"]}


def test_pr_curves_are_those_of_each_class_over_the_confidence(server):
    tags = server.get("plugin/pr_curves/tags")
    assert sorted(tags[FINISHED]) == ["pr_curves(B)/circle", "pr_curves(B)/square"]
    assert tags.get(KILLED, {}) == {}
    answer = server.get("plugin/pr_curves/pr_curves", run=FINISHED, tag="pr_curves(B)/square")
    (curve,) = answer[FINISHED]
    assert curve["step"] == 3
    # Above a confidence of 0.8 nothing was found: there the curve ends.
    assert len(curve["precision"]) == 81
    assert curve["thresholds"][50] == pytest.approx(0.5)
    assert (curve["precision"][50], curve["recall"][50]) == (0.5, 0.5)
    assert (curve["precision"][51], curve["recall"][80]) == (1.0, 0.5)
    # 40 squares, of which 38 + 1 were found as something and 1 was missed.
    assert [curve[name][50] for name in ("true_positives", "false_positives", "false_negatives")] == [20, 20, 20]


def test_pictures_are_served_as_they_are(server, logdir):
    (picture,) = server.get("plugin/images/images", run=FINISHED, tag="plots/results", sample=0)
    assert picture["step"] == 3
    data = server.get(f"plugin/images/individualImage?{picture['query']}&")
    assert data == (logdir.parent / "runs" / FINISHED / "results.png").read_bytes()


def test_texts_are_shown(server):
    def shown(tag):
        (text,) = server.get("plugin/text/text", run=FINISHED, tag=tag)
        return text["text"]

    tags = server.get("plugin/text/tags")[FINISHED]
    assert {"params", "environment", "model", "dataset", "console", "status", "best/per_class"} <= set(tags)
    assert "<td>yolo26n.yaml</td>" in shown("params")
    assert "1  &lt;b&gt;[-1, 6]&lt;/b&gt; *conv*" in shown("console")
    assert "<td>background</td>\n<td>1</td>\n<td>3</td>\n<td>0</td>" in shown("best/confusion_matrix")


# -- without a server -----------------------------------------------------------------------------------------


def tensors(logdir, tag):
    events = EventAccumulator(str(logdir), size_guidance={TENSORS: 0}).Reload()
    return events.Tensors(tag) if tag in events.Tags()["tensors"] else []


def test_a_run_that_was_resumed_and_finished_is_shown_as_such(recorded, run_of, tmp_path):
    folder, destination = tmp_path / "train", {"logdir": str(tmp_path / "tb")}
    before, whole = recorded(folder, status="failed"), recorded(folder)
    state = play(TensorBoardTracker(), before, run_of(folder), destination=destination)
    assert not tensors(tmp_path / "tb", "_hparams_/session_end_info")
    resume = whole[0].__class__(0, STARTED + 100, "on_run_start", {**whole[0].args, "resumed": True})
    after = [resume, *whole[-3:]]
    play(TensorBoardTracker(), after, run_of(folder), destination=destination, state=state, before=before)
    events = EventAccumulator(str(tmp_path / "tb")).Reload()
    content = events.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    assert hparams.HParamsPluginData.FromString(content).session_end_info.status == hparams.STATUS_SUCCESS
    assert len(tensors(tmp_path / "tb", "custom_scalars__config__")) == 1


@pytest.mark.parametrize(
    ("task", "first"),
    [
        ("segment", "validation/best/metrics/mAP50-95(B)"),
        ("pose", "validation/best/metrics/mAP50-95(B)"),
        ("classify", "validation/best/metrics/accuracy_top1"),
        ("semantic", "validation/best/metrics/mIoU"),
        ("depth", "validation/best/metrics/delta1"),
        ("a new one", "metrics/fitness"),
    ],
)
def test_the_metrics_of_a_row_are_those_of_the_task(task, first):
    experiment, _ = hparams.start({}, task, STARTED)
    data = hparams.HParamsPluginData.FromString(experiment.metadata.plugin_data.content)
    tags = [info.name.tag for info in data.experiment.metric_infos]
    assert tags[0] == first
    assert ("metrics/mAP50(M)" in tags) == (task == "segment")
    assert ("metrics/mAP50(P)" in tags) == (task == "pose")


def test_arguments_keep_their_types():
    params = {"a": float("nan"), "b": {"x": 1}, "c": 1, "d": False, "e": "", "f": None, "g": 2**70}
    _, start = hparams.start(params, "detect", STARTED)
    session = hparams.HParamsPluginData.FromString(start.metadata.plugin_data.content).session_start_info
    values = {name: value.WhichOneof("kind") for name, value in session.hparams.items()}
    assert values == {
        "a": "string_value", "b": "string_value", "c": "number_value", "d": "bool_value", "e": "string_value",
        "g": "number_value",
    }  # fmt: skip


def test_the_same_arguments_give_the_same_bytes():
    params = {f"name{i}": i for i in range(200)}
    once, twice = (hparams.start(given, "detect", STARTED)[1] for given in (params, dict(sorted(params.items()))))
    assert once.SerializeToString() == twice.SerializeToString()


def test_a_chart_names_its_metric_also_before_the_first_validation():
    value = layout({"train/loss": 1.0}, None, "pose")
    (charts,) = (one.chart for one in Layout.FromString(value.tensor.string_val[0]).category if one.title == "metrics")
    assert [chart.title for chart in charts] == [
        "mAP50-95(B)", "mAP50(B)", "precision(B)", "recall(B)", "mAP50-95(P)", "mAP50(P)", "precision(P)", "recall(P)",
        "fitness",
    ]  # fmt: skip
    assert list(charts[4].multiline.tag) == [r"^without_brackets/metrics/mAP50\-95P$"]


def test_an_epoch_without_losses_has_no_layout():
    assert layout({"metrics/mAP50(B)": 0.5}, None, "detect") is None


def test_a_classifier_has_its_accuracy_in_a_chart():
    value = layout({"train/loss": 1.0, "metrics/accuracy_top1": 0.5, "metrics/accuracy_top5": 0.9}, None, "classify")
    categories = {
        one.title: [chart.title for chart in one.chart]
        for one in Layout.FromString(value.tensor.string_val[0]).category
    }
    assert categories == {
        "losses": ["loss"], "metrics": ["accuracy_top1", "accuracy_top5", "fitness"],
        "learning rates": ["by parameter group"],
    }  # fmt: skip


def curve(name, **y):
    return Curve(name=name, x_label="", y_label="", x=[0.0, 0.5, 1.0], y=y)


def counts(value):
    rows = struct.unpack("<18f", value.tensor.tensor_content)
    return [rows[i : i + 3] for i in range(0, 18, 3)]


def test_the_counts_of_a_curve_follow_from_what_there_is_to_find():
    given = [
        curve("Precision-Confidence(M)", cat=[0.0, 0.5, 1.0], dog=[1.0, 1.0, 1.0]),
        curve("Recall-Confidence(M)", cat=[0.0, 0.25, 0.0]),
        curve("Precision-Confidence", cat=[1.0, 1.0, 1.0]),
    ]
    matrix = ConfusionMatrix(labels=["cat", "background"], matrix=[[3, 5], [1, 0]])
    (value,) = pr_curves(given, matrix)
    assert value.tag == "pr_curves(M)/cat"
    assert value.metadata.summary_description == "of 4 objects"
    assert counts(value) == [(0, 1, 0), (0, 1, 0), (0, 0, 0), (4, 3, 4), (0.0, 0.5, 1.0), (0.0, 0.25, 0.0)]
    (value,) = pr_curves(given, None)
    assert value.metadata.summary_description == "counts are in per cent of the objects"
    assert counts(value)[0] == (0, 25, 0)


def test_a_long_log_is_shortened_in_its_middle():
    log = "begin\n" + "x" * 200_000 + "\nend"
    shown = shortened(log)
    assert shown.startswith("begin\n") and shown.endswith("\nend")
    assert len(shown) < 100_100
    assert "100,010 characters are left out" in shown
    assert shortened("short") == "short"


def test_labels_that_are_pixels_are_not_said_to_be_no_objects():
    def told(**instances):
        splits = {
            "train": Split(path="t", images=3, instances=instances),
            "val": Split(path="v", images=1, instances={}),
        }
        return dataset(Dataset(name="streets", yaml=None, splits=splits, classes={0: "road"}, digest="f"))

    assert "| images | 3 | 1 |" in told()
    assert "road" not in told()
    assert "| road | 2 | 0 |" in told(road=2)
