"""What the user's script logs, evaluates and exports, read with TensorBoard's own reader."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, TENSORS, EventAccumulator
from tensorboard.plugin_util import markdown_to_safe_html

from tracking_hooks.events import Artifact, Checkpoint, ConfusionMatrix, Rejected, Unavailable
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import STARTED, play, recorded_addendum, recorded_run, sample_addendum, sample_run
from tracking_hooks_tensorboard.tracker import TensorBoardTracker


def read(logdir: Path) -> EventAccumulator:
    return EventAccumulator(str(logdir), size_guidance={SCALARS: 0, IMAGES: 0, TENSORS: 0}).Reload()


def texts(events: EventAccumulator, tag: str) -> list[str]:
    return [event.tensor_proto.string_val[0].decode() for event in events.Tensors(tag)]


def content(logdir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in logdir.iterdir()}


class Place:
    """A run and its logdir."""

    def __init__(self, folder: Path):
        self.folder, self.logdir = folder / "run", folder / "tb"
        self.calls = recorded_run(self.folder)
        self.added = recorded_addendum(self.folder)

    def deliver(self, calls, run=None, **options):
        run = run or sample_run(self.folder)
        return play(TensorBoardTracker(), calls, run=run, destination={"logdir": str(self.logdir)}, **options)

    def deliver_added(self, calls=None, **options):
        return self.deliver(self.added if calls is None else calls, sample_addendum(self.folder), **options)


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def test_what_a_script_logs_and_does_with_a_checkpoint_is_shown(place):
    place.deliver([*place.calls[:-1], *place.added, place.calls[-1]])
    events = read(place.logdir)
    assert "| fold | 3 |" in texts(events, "logged/params")[0]
    assert "| reviewed | yes |" in texts(events, "logged/tags")[0]
    assert [(p.step, p.value) for p in events.Scalars("mine/score")] == [(7, 0.75)]
    (picture,) = events.Images("samples/first")
    assert (picture.step, picture.encoded_image_string) == (7, (place.folder / "added/sample.png").read_bytes())
    assert texts(events, "errors") == ["| image | AP |\n| --- | --- |\n| a.jpg | 0.5 |\n| b.jpg |  |\n"]
    assert [p.value for p in events.Scalars("validation/test/metrics/mAP50(B)")] == [pytest.approx(0.81)]
    assert "| square | 0.81 |" in texts(events, "test/per_class")[0]
    assert "best.pt" in texts(events, "test/checkpoint")[0]
    (export,) = texts(events, "exports")
    assert "| file | best.onnx |" in export, "and not where our copy of it is"
    assert "| format | onnx |" in export
    assert "| bytes | 16 |" in export


def test_an_evaluation_is_no_epoch_and_leaves_the_curves_of_the_training_as_they_are(place):
    place.deliver(place.calls)
    events = read(place.logdir)
    before = {tag: str(events.Scalars(tag)) for tag in events.Tags()["scalars"]}
    evaluation = next(call for call in place.added if call.hook == "on_evaluation")
    matrix = ConfusionMatrix(labels=["square", "background"], matrix=[[9.0, 1.0], [2.0, 0.0]])
    args = evaluation.args | {"split": "val", "confusion_matrix": matrix}
    place.deliver_added([Call(evaluation.seq, evaluation.time, evaluation.hook, args)])
    events = read(place.logdir)
    assert {tag: str(events.Scalars(tag)) for tag in before} == before
    assert "| square | 9 | 1 |" in texts(events, "val/confusion_matrix")[0]


def test_an_addendum_has_a_file_of_its_own_beside_that_of_the_run(place):
    place.deliver(place.calls)
    before = content(place.logdir)
    place.deliver_added()
    after = content(place.logdir)
    assert {name: after[name] for name in before} == before
    (name,) = after.keys() - before.keys()
    assert name.endswith(f".{sample_addendum(place.folder).addendum}")
    events = read(place.logdir)  # TensorBoard shows the two as one run
    assert len(events.Scalars("metrics/mAP50(B)")) == 3
    assert len(events.Scalars("validation/test/metrics/mAP50(B)")) == 1
    assert texts(events, "status") == ["finished"]


def test_a_crash_in_an_addendum_leaves_no_trace(place):
    place.deliver(place.calls)
    place.deliver_added()
    expected = content(place.logdir)
    for first in range(1, len(place.added)):
        before = place.added[:first]
        state = place.deliver_added(before)
        place.deliver_added(place.added[first:], state=dict(state), before=before, flush=False)
        place.deliver_added(place.added[first:], state=state, before=before)
        assert content(place.logdir) == expected, first


def test_two_addenda_to_one_run_have_a_file_each(place):
    place.deliver(place.calls)
    for uid in ("20251009-095320-first", "20251009-095320-second"):
        place.deliver(place.added, replace(sample_run(place.folder), addendum=uid))
    assert len(content(place.logdir)) == 3
    assert len(read(place.logdir).Scalars("mine/score")) == 2


def test_an_addendum_waits_until_its_run_is_there(place):
    with pytest.raises(Unavailable, match=f"no event file of the run {sample_run(place.folder).uid}") as raised:
        place.deliver_added()
    assert raised.value.only_this_run
    assert not place.logdir.exists()
    place.deliver(place.calls)
    place.deliver_added()


def test_a_run_that_is_delivered_again_leaves_the_file_of_its_addendum_as_it_is(place):
    place.deliver(place.calls)
    place.deliver_added()
    before = content(place.logdir)
    place.deliver(place.calls)
    assert content(place.logdir) == before


def test_a_params_text_of_the_user_does_not_push_that_of_the_training_aside(place):
    logged = [Call(100 + n, STARTED + n, "on_params", {"params": {"n": n}}) for n in range(30)]
    place.deliver([*place.calls, *logged])
    events = read(place.logdir)
    assert "| epochs | 3 |" in texts(events, "params")[0]
    assert len(texts(events, "logged/params")) == 30


# -- tables and pictures of the user ------------------------------------------------------------------------------


def artifact(path: Path, data: bytes, kind: str) -> dict:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"artifact": Artifact(path=path, kind=kind, name="mine", size=len(data), digest=""), "step": None}


def test_a_large_table_is_cut_and_says_so(place, tmp_path):
    data = {"columns": [f"c{n}" for n in range(40)], "data": [[f"r{n}", "x" * 5000, *range(38)] for n in range(1000)]}
    args = artifact(tmp_path / "large.json", json.dumps(data).encode(), "table")
    place.deliver([Call(3, STARTED, "on_table", args)])
    (shown,) = texts(read(place.logdir), "mine")
    assert len(shown) < 200_000
    assert "r199" in shown
    assert "r200" not in shown
    assert shown.endswith("800 rows and 10 columns more in the logged table")


def test_the_cells_of_a_table_are_shown_as_they_are(place, tmp_path):
    data = {"columns": ["a|b"], "data": [["<script>*x*|y"], [True], [None], [[1, 2]]]}
    place.deliver([Call(3, STARTED, "on_table", artifact(tmp_path / "t.json", json.dumps(data).encode(), "table"))])
    html = markdown_to_safe_html(texts(read(place.logdir), "mine")[0])
    for cell in ("<th>a|b</th>", "<td>&lt;script&gt;*x*|y</td>", "<td>true</td>", "<td></td>", "<td>[1, 2]</td>"):
        assert cell in html


@pytest.mark.parametrize("data", [b"not JSON", b"[1, 2]", b'{"columns": ["a"], "data": 3}', b'{"data": []}', b"\xff"])
def test_a_table_that_is_none_is_refused_and_the_rest_goes_on(place, tmp_path, data):
    call = Call(3, STARTED, "on_table", artifact(tmp_path / "t.json", data, "table"))
    with pytest.raises(Rejected, match=r"t\.json cannot be shown: it is not a table"):
        place.deliver([call])


def test_a_picture_that_is_none_is_refused(place, tmp_path):
    call = Call(3, STARTED, "on_image", artifact(tmp_path / "p.png", b"no picture", "plot"))
    with pytest.raises(Rejected, match=r"p\.png cannot be shown: it is neither a PNG nor a JPEG"):
        place.deliver([call])


def test_an_evaluation_without_classes_has_its_metrics_only(place):
    args = {
        "split": "test", "metrics": {"metrics/accuracy_top1": 0.9}, "per_class": None, "curves": [],
        "confusion_matrix": None, "checkpoint": Checkpoint(path=place.folder / "weights/best.pt", kind="best"),
    }  # fmt: skip
    place.deliver([*place.calls, Call(99, STARTED, "on_evaluation", args)])
    tags = read(place.logdir).Tags()
    assert "validation/test/metrics/accuracy_top1" in tags["scalars"]
    assert "test/per_class" not in tags["tensors"]
