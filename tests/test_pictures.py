"""The pictures of the documents are those that ``make pictures`` makes, small enough for every page that shows them."""

from __future__ import annotations

import re
import shlex
import sys

import pytest
from PIL import Image, ImageSequence

from docs.pictures import CAST, IMAGES, LARGEST, SIZES, cast, predictions, terminal
from docs.pictures.cast import Cast, Event
from tests.makefile import ROOT, commands, run
from tests.support.systems import posix
from tracking_hooks.predictions import Box, SeenImage

DOCUMENTS = [path for pattern in ("*.md", "docs/*.md", "plugins/*/README.md") for path in ROOT.glob(pattern)]
SHOWN = re.compile(r"images/([\w-]+\.(?:png|gif|svg|webp|jpg))")


def durations(film: Image.Image) -> list[int]:
    """Milliseconds of each of its pictures."""
    return [frame.info["duration"] for frame in ImageSequence.Iterator(film)]


def text(recording: Cast) -> str:
    """What was shown, without what colours it and moves the cursor."""
    return re.sub(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07)", "", recording.text())


def test_every_picture_is_one_that_the_command_makes():
    assert {path.name for path in IMAGES.iterdir()} == SIZES.keys()


def test_the_documents_show_no_other_pictures():
    shown = {name for path in DOCUMENTS for name in SHOWN.findall(path.read_text("utf-8"))}
    assert shown <= SIZES.keys()


@pytest.mark.parametrize("name", SIZES)
def test_a_picture_has_its_size(name):
    path = IMAGES / name
    with Image.open(path) as picture:
        assert picture.size == SIZES[name]
    assert path.stat().st_size < LARGEST[path.suffix]


def test_the_film_is_made_from_the_recording_in_seconds(tmp_path):
    *_, command = commands("pictures", f"--only terminal --into {tmp_path.as_posix()}")
    run([sys.executable, *shlex.split(command)[1:]])
    (made,) = tmp_path.iterdir()
    assert made.name == "demo.gif"
    with Image.open(made) as new, Image.open(IMAGES / "demo.gif") as shown:
        assert sum(durations(new)) == sum(durations(shown)), (
            "docs/images/demo.gif is of another recording: make pictures"
        )


def test_the_film_takes_twenty_seconds_and_holds_mlflows_page_at_its_end():
    with Image.open(IMAGES / "demo.gif") as film:
        *before, last = durations(film)
        assert 10_000 <= sum(before) + last <= 21_000
        assert last >= 3_000
        film.seek(film.n_frames - 1)
        paper = film.convert("L").histogram()[220:]
        assert sum(paper) > film.width * film.height / 2, "a page, and no terminal"


def test_the_recording_shows_a_training_that_is_tracked_and_opened():
    recording = cast.read(CAST)
    typed = [event.text for event in recording.events if event.kind == cast.MARKER and event.text]
    assert [command.split()[0] for command in typed] == ["pip", "export", "yolo", "tracking-hooks"]
    shown = text(recording)
    for tracker in ("mlflow", "tensorboard"):
        assert re.search(rf"{tracker}: all \d+ events delivered\.", shown)
    assert "Traceback" not in shown
    assert "http://127.0.0.1:" in shown


def test_the_recording_tells_nothing_of_the_machine_that_it_was_made_on():
    shown = text(cast.read(CAST))
    paths = set(re.findall(r"(?<![\w.:/#])/+(?:[\w.-]+/)+[\w.-]*", shown))
    assert paths and all(path.lstrip("/").startswith("home/ada") for path in paths)
    assert not re.search(r"\b(?:root|localhost)\b", shown)


# -- how it is made -------------------------------------------------------------------------------------------


@posix("pseudo-terminal")
def test_a_recording_has_what_a_shell_shows_with_paths_of_nobody(tmp_path):
    from docs.pictures.home import Home
    from docs.pictures.session import record

    home = Home(tmp_path)
    home.work.mkdir(parents=True)
    recording = record(home, ["pwd", "export NAME=value", "echo $NAME; false"])
    lines = [line.rstrip() for line in text(recording).splitlines() if line]
    assert lines == [
        "~/shapes $ pwd", "/home/ada/shapes", "~/shapes $ export NAME=value", "~/shapes $ echo $NAME; false", "value",
        "~/shapes $",
    ]  # fmt: skip
    assert [event.text for event in recording.events if event.kind == cast.MARKER] == [
        "pwd", "", "export NAME=value", "", "echo $NAME; false", "",
    ]  # fmt: skip


def test_a_recording_is_read_as_it_was_written(tmp_path):
    recording = Cast(80, 24, [Event(0.5, cast.OUTPUT, "größer \x1b[1m🚀\r\n"), Event(1.0, cast.MARKER, "")])
    cast.write(tmp_path / "a.cast", recording)
    assert cast.read(tmp_path / "a.cast") == recording


def test_a_long_command_is_played_in_five_seconds():
    minutes = [Event(second, cast.OUTPUT, f"{second}\r\n") for second in range(600)]
    events = [Event(0, cast.MARKER, "yolo"), *minutes, Event(600, cast.MARKER, "")]
    *played, end = cast.quickened(Cast(80, 24, events))
    assert [event.text for event in played] == [event.text for event in minutes]
    assert played[-1].at == pytest.approx(5, abs=0.1)
    assert end.at > played[-1].at + 1, "time to read it"


def test_a_line_that_is_written_over_is_drawn_as_its_last_state():
    one, other = terminal.Terminal(20, 3), terminal.Terminal(20, 3)
    for step in ("1/20", "2/20 \x1b[34mbox\x1b[0m"):
        one.print(f"\r\x1b[K{step}")
        shown = one.picture()
    other.print("2/20 \x1b[34mbox\x1b[0m")
    assert shown.tobytes() == other.picture().tobytes()


def test_the_four_images_show_every_kind_of_mistake_and_no_crowd():
    def image(path, reason, label="circle", found=1):
        box = Box(label=label, box=(0, 0, 1, 1))
        return SeenImage(
            path=path, width=64, height=64, picture="", reason=reason, labels=[box], predictions=[box] * found
        )

    images = [
        image("crowded", "1 missed, 8 false positives", found=9), image("empty", "1 missed", found=0),
        image("a", "1 missed"), image("again", "1 missed"), image("b", "2 false positives"),
        image("c", "1 circle taken for square"), image("d", "", label="square"),
    ]  # fmt: skip
    assert {image.path for image in predictions.four(images)} == {"a", "b", "c", "d"}
