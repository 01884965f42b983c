"""What the model sees, as TensorBoard's own readers see it: that in Python, and the data server."""

import io
import json
import subprocess
import sys
import urllib.request

import pytest
from msgspec.structs import replace
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import IMAGES, EventAccumulator

from tests.support.processes import free_port, wait_for
from tracking_hooks.events import Rejected
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import STARTED, play, recorded_run, sample_run
from tracking_hooks.testing.scribe import Scribe
from tracking_hooks_tensorboard.tracker import TensorBoardTracker


class Place:
    """A run that has begun, and its logdir."""

    def __init__(self, folder):
        self.folder, self.logdir = folder / "run", folder / "tb"
        self.begun = recorded_run(self.folder, epochs=100)[:2]
        self._seq = 100

    def deliver(self, *calls):
        """Deliver calls in their order, as those of a run."""
        calls = [Call(100 + n, STARTED + n, call.hook, call.args) for n, call in enumerate(calls)]
        return play(
            TensorBoardTracker(), [*self.begun, *calls], run=sample_run(self.folder),
            destination={"logdir": str(self.logdir)},
        )  # fmt: skip

    def seen(self, step, name="predictions", count=2):
        scribe = Scribe(self.folder)
        scribe.seen(step, name)
        args = scribe.calls[0].args
        args["images"] = [replace(args["images"][0], path=f"images/val/{number:03}.jpg") for number in range(count)]
        return Call(0, STARTED, "on_predictions", args)

    def pictures(self):
        """Tag to the steps of its pictures."""
        events = EventAccumulator(str(self.logdir), size_guidance={IMAGES: 0}).Reload()
        return {tag: [picture.step for picture in events.Images(tag)] for tag in events.Tags()["images"]}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_each_image_has_its_epochs_and_the_best_one_beside_them(place):
    place.deliver(*map(place.seen, (1, 20, 40, 100, 17)))
    assert place.pictures() == {
        "predictions/000.jpg": [1, 20, 40, 100], "predictions/001.jpg": [1, 20, 40, 100],
        "predictions_best/000.jpg": [17], "predictions_best/001.jpg": [17],
    }  # fmt: skip


def test_each_epoch_is_seen_wherever_the_training_stops(place):
    """100 epochs were planned: nobody knows by epoch 30 that this is the last one."""
    place.deliver(*map(place.seen, (1, 10, 20, 30, 17)))
    assert place.pictures()["predictions/000.jpg"] == [1, 10, 20, 30]
    assert place.pictures()["predictions_best/000.jpg"] == [17]


def test_the_data_server_keeps_them_all(place):
    place.deliver(*map(place.seen, (1, 20, 40, 100, 17)))
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", place.logdir.parent, "--port", str(port)]
    process = subprocess.Popen([*map(str, command), "--host", "127.0.0.1"], stderr=subprocess.DEVNULL)
    try:

        def listed(tag):
            address = f"http://127.0.0.1:{port}/data/plugin/images/images?run=tb&sample=0&tag={tag}"
            try:
                with urllib.request.urlopen(address, timeout=10) as answer:
                    return [picture["step"] for picture in json.load(answer)]
            except OSError:
                return []

        wait_for(lambda: listed("predictions_best/000.jpg") == [17], "the picture of the best epoch")
        assert listed("predictions/000.jpg") == [1, 20, 40, 100]
    finally:
        process.terminate()
        process.wait(30)


def test_eight_images_are_shown(place):
    place.deliver(*(place.seen(step, count=16) for step in (1, 20)))
    assert sorted(place.pictures()) == [f"predictions/{number:03}.jpg" for number in range(8)]


def test_the_worst_images_have_their_rank(place):
    place.deliver(place.seen(17, "worst", count=24))
    shown = place.pictures()
    assert sorted(shown)[:2] == ["worst/01 000.jpg", "worst/02 001.jpg"]
    assert len(shown) == 24


def test_the_users_own_image_with_boxes_has_its_name(place):
    place.deliver(place.seen(7, "street/first", count=1), place.seen(None, "mine", count=1))
    assert place.pictures() == {"street/first": [7], "mine": [101]}


def test_a_picture_is_two_halves_of_a_jpeg_file(place):
    place.deliver(place.seen(1))
    events = EventAccumulator(str(place.logdir), size_guidance={IMAGES: 0}).Reload()
    (picture,) = events.Images("predictions/000.jpg")
    with Image.open(io.BytesIO(picture.encoded_image_string)) as opened:
        assert (opened.format, opened.width) == ("JPEG", 900)
    assert (picture.width, picture.height) == opened.size


def test_an_archive_that_is_none_is_refused(place):
    call = place.seen(1)
    call.args["artifact"].path.write_bytes(b"no archive")
    with pytest.raises(Rejected, match=r"seen\.zip cannot be shown"):
        place.deliver(call)
