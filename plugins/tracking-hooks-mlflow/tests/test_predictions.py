"""What the model sees: the cards of MLflow's image grid, as its page reads them out of the names of files."""

import io
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image

from tests.support.mlflow import MLflowReader
from tracking_hooks.events import Checkpoint, Rejected
from tracking_hooks.predictions import SeenImage, write_archive
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import STARTED, play, recorded_run
from tracking_hooks.testing.scribe import Scribe
from tracking_hooks_mlflow.files import MLflowFiles
from tracking_hooks_mlflow.tracker import MLflowTracker


@pytest.fixture
def reader(store):
    return MLflowReader(store["tracking_uri"])


@pytest.fixture
def started(store, save_dir, run):
    """A run that has begun, and what delivers more of it."""
    calls = recorded_run(save_dir, epochs=100)[:2]
    play(MLflowTracker(), calls, run, destination=store)
    state = play(MLflowFiles(), calls, run, destination=store)

    def deliver(*more, of=state):
        return play(MLflowFiles(), more, run, state=of, destination=store)

    return deliver


def seen(folder, step, name="predictions", count=2, seq=None, paths=None):
    """An event with as many images."""
    scribe = Scribe(folder)
    scribe.seen(step, name)
    args = scribe.calls[0].args
    paths = paths or [f"images/val/{number:03}.jpg" for number in range(count)]
    args["images"] = [replace(args["images"][0], path=path) for path in paths]
    return Call(seq or 1000 + (step or 0), STARTED + 1000, "on_predictions", args)


def best(folder, epoch):
    checkpoint = Checkpoint(path=folder / "weights/best.pt", kind="best")
    return Call(900 + epoch, STARTED, "on_checkpoint_saved", {"epoch": epoch, "checkpoint": checkpoint})


def cards(reader):
    """Key to the steps of each card, as MLflow's page makes them; each step has a large and a small picture."""
    found = {}
    names = [name for name in reader.artifacts(reader.only_run()) if name.startswith("images/")]
    for name in names:
        key, step, at, timestamp, _, made_of, *small = name.removeprefix("images/").removesuffix(".webp").split("+")
        assert (step, timestamp) == ("step", "timestamp")
        assert small in ([], ["compressed"])
        found.setdefault(key.replace("~", "/"), []).append((int(at), made_of, bool(small)))
    for key, files in found.items():
        steps = {at for at, *_ in files}
        assert len(files) == 2 * len(steps), f"{key}: two pictures at a step"
        found[key] = sorted(steps)
    return found


def picture(reader, key, step, *, small=False):
    run = reader.only_run()
    (name,) = [
        name for name in reader.artifacts(run)
        if name.startswith(f"images/{key.replace('/', '~')}+step+{step}+") and ("compressed" in name) == small
    ]  # fmt: skip
    return Path(reader.client.download_artifacts(run.info.run_id, name)).read_bytes()


def test_each_image_is_a_card_with_its_epochs(started, save_dir, reader):
    started(seen(save_dir, 1), seen(save_dir, 20))
    assert cards(reader) == {"predictions/000.jpg": [0, 1, 20], "predictions/001.jpg": [0, 1, 20]}
    assert reader.only_run().data.tags["mlflow.loggedImages"] == "True"


def test_a_card_opens_with_the_latest_epoch_and_with_the_best_once_that_is_there(started, save_dir, reader):
    def opens_with(step):
        return picture(reader, "predictions/000.jpg", 0) == picture(reader, "predictions/000.jpg", step)

    state = started(seen(save_dir, 1), best(save_dir, 17))
    assert opens_with(1)
    state = started(seen(save_dir, 20), of=state)
    assert opens_with(20)
    state = started(seen(save_dir, 100), seen(save_dir, 17), of=state)
    assert opens_with(17)
    started(seen(save_dir, 99), of=state)
    assert opens_with(17)


def test_eight_images_at_each_epoch_wherever_the_training_stops(started, save_dir, reader):
    """100 epochs were planned: nobody knows by epoch 30 that this is the last one."""
    started(*(seen(save_dir, step, count=16) for step in (1, 10, 20, 30, 17)))
    shown = cards(reader)
    assert len(shown) == 8
    assert set(map(tuple, shown.values())) == {(0, 1, 10, 17, 20, 30)}


def test_the_pictures_of_step_0_are_artifacts_as_well(started, save_dir, reader):
    started(seen(save_dir, 1), seen(save_dir, 20))
    files = {name for name in reader.artifacts(reader.only_run()) if name.startswith("predictions/")}
    assert files == {"predictions/01-000.jpg", "predictions/02-001.jpg"}


def test_a_replay_doubles_nothing(started, save_dir, reader):
    events = [seen(save_dir, step) for step in (1, 20)] + [seen(save_dir, 20, "worst", seq=2000)]
    state = started(*events)
    before = reader.artifacts(reader.only_run())
    started(*events, of=state)
    started(*events, of={"run_id": state["run_id"], "model_id": state.get("model_id")})
    assert reader.artifacts(reader.only_run()) == before


def test_the_worst_images_are_cards_by_rank_and_files(started, save_dir, reader):
    started(seen(save_dir, 17, "worst", count=24))
    shown = cards(reader)
    assert sorted(shown)[:2] == ["worst/01 000.jpg", "worst/02 001.jpg"]
    assert len(shown) == 8
    assert set(map(tuple, shown.values())) == {(0,)}
    files = {name for name in reader.artifacts(reader.only_run()) if name.startswith("worst/")}
    assert len(files) == 24
    assert "worst/24-023.jpg" in files


def test_images_of_one_name_in_two_folders_are_two_cards(started, save_dir, reader):
    started(seen(save_dir, 1, paths=["val/left/a.jpg", "val/right/a.jpg"]))
    assert set(cards(reader)) == {"predictions/left a.jpg", "predictions/right a.jpg"}


def test_names_that_mlflow_would_take_for_one_are_two_cards(started, save_dir, reader):
    paths = ["val/a(1).jpg", "val/a1.jpg", "val/größe %.jpg"]
    started(seen(save_dir, 1, paths=paths), seen(save_dir, 20, paths=paths[::-1]))
    shown = cards(reader)
    assert len(shown) == 3
    assert "predictions/a1.jpg" in shown
    assert set(map(tuple, shown.values())) == {(0, 1, 20)}


def test_a_name_that_no_file_can_have_is_refused(started, save_dir):
    with pytest.raises(Rejected, match="cannot be sent a file named"):
        started(seen(save_dir, 1, "n" * 250, count=1))


def test_the_users_own_image_with_boxes_has_its_name(started, save_dir, reader):
    started(seen(save_dir, 7, "street/first", count=1), seen(save_dir, None, "mine", count=1, seq=55))
    assert cards(reader) == {"street/first": [7], "mine": [55]}


def test_the_users_own_images_of_two_processes_are_both_there(started, store, save_dir, run, reader):
    """What comes after the end has numbers of its own: they may be those of earlier events."""
    started(seen(save_dir, None, "mine", count=1, seq=5))
    late = [seen(save_dir, None, "mine", count=1, seq=5)]
    for uid in ("first", "second"):
        play(MLflowFiles(), late, replace(run, addendum=uid), destination=store)
    assert len([name for name in reader.artifacts(reader.only_run()) if "compressed" in name]) == 3


def test_the_users_own_image_takes_no_place_among_the_users_artifacts(started, save_dir, reader):
    started(seen(save_dir, 0, "street", count=1))
    assert cards(reader) == {"street": [0]}
    assert not [name for name in reader.artifacts(reader.only_run()) if name.startswith("street")]


def test_the_small_picture_is_a_square_that_a_card_shows_in_full(started, save_dir, reader):
    started(seen(save_dir, 1))
    small, large = (
        Image.open(io.BytesIO(picture(reader, "predictions/000.jpg", 1, small=small))) for small in (True, False)
    )
    assert (small.size, small.format) == ((600, 600), "WEBP")
    assert (large.width, large.format) == (1280, "WEBP")
    content = small.convert("RGBA").getchannel("A").getbbox()
    assert content[3] <= 0.73 * 600, "a card of MLflow 3.17 shows 219 of 298 pixels"


def test_pictures_of_80_are_small(started, save_dir, reader, tmp_path):
    noise = Image.effect_noise((640, 480), 80)
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG", quality=85)
    archive = tmp_path / "noise.zip"
    archive.write_bytes(write_archive({"a.png": buffer.getvalue()}))
    call = seen(save_dir, 1)
    call.args["artifact"] = replace(call.args["artifact"], path=archive)
    call.args["images"] = [SeenImage(path="a.jpg", width=640, height=480, picture="a.png")]
    started(call)
    size = sum(len(picture(reader, "predictions/a.jpg", 1, small=small)) for small in (True, False))
    assert 80 * size < 40e6, "and noise is the worst case"


def test_an_archive_that_is_gone_or_none_is_refused_in_a_sentence(started, save_dir, tmp_path):
    call = seen(save_dir, 1)
    for content, said in (
        (None, "is gone|not there|does not exist|no longer"),
        (b"no archive", "cannot be shown in MLflow"),
    ):
        path = tmp_path / "seen.zip"
        if content:
            path.write_bytes(content)
        call.args["artifact"] = replace(call.args["artifact"], path=path)
        with pytest.raises(Rejected, match=said):
            started(call)
