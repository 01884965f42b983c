"""What stands on the terminal where a line of ours comes while a progress bar of Ultralytics is drawn."""

import io
import logging
import threading
import weakref

import pytest

from tracking_hooks import autoload

utils = pytest.importorskip("ultralytics.utils")
bars = pytest.importorskip("tracking_hooks.hosts.ultralytics.bars")


class Screen(io.StringIO):
    def __init__(self, *, is_terminal):
        super().__init__()
        self.isatty = lambda: is_terminal


@pytest.fixture
def logging_to(monkeypatch):
    """Have Ultralytics' logger write to a screen only."""

    def to(screen):
        handler = logging.StreamHandler(screen)
        handler.setFormatter(logging.Formatter("WARNING %(message)s"))
        monkeypatch.setattr(utils.LOGGER, "handlers", [handler])
        monkeypatch.setattr(utils.LOGGER, "filters", [])
        monkeypatch.setenv("TRACKING_HOOKS", "tensorboard")
        autoload.install()
        bars.keep_lines_apart()
        return screen

    return to


def say(sentence="tracking-hooks: mlflow is down"):
    utils.LOGGER.warning(sentence)


def in_a_bar(screen, job):
    bar = utils.TQDM(range(2), desc="1/3", file=screen, mininterval=0.0)  # a variable, as in Ultralytics' loops
    for _ in bar:
        job()


def drawn(screen):
    """Return the lines as a terminal shows them."""
    return [line.rpartition("\r\x1b[K")[2] for line in screen.getvalue().split("\n")]


def test_a_line_of_ours_begins_at_the_left_and_the_bar_goes_on_below(logging_to):
    screen = logging_to(Screen(is_terminal=True))
    in_a_bar(screen, say)
    first, second, bar, rest = drawn(screen)
    assert first == second == "WARNING tracking-hooks: mlflow is down"
    assert bar.startswith("1/3: 100%")
    assert rest == ""


def test_so_does_one_from_another_thread(logging_to):
    screen = logging_to(Screen(is_terminal=True))

    def say_elsewhere():
        thread = threading.Thread(target=say)
        thread.start()
        thread.join()

    in_a_bar(screen, say_elsewhere)
    assert drawn(screen)[:2] == ["WARNING tracking-hooks: mlflow is down"] * 2


def test_no_batch_is_kept_alive_by_a_line_of_ours(logging_to):
    class Batch:
        pass

    logging_to(Screen(is_terminal=True))
    batches = weakref.WeakSet()
    for number in utils.TQDM(range(3), file=io.StringIO(), mininterval=0.0):
        batch = Batch()
        batches.add(batch)
        if number == 0:
            say()
    assert list(batches) == [batch]


def test_in_a_file_it_stands_on_a_line_of_its_own(logging_to):
    screen = logging_to(Screen(is_terminal=False))
    in_a_bar(screen, say)
    assert screen.getvalue().split("\n").count("WARNING tracking-hooks: mlflow is down") == 2


def test_without_a_bar_nothing_but_the_line_is_written(logging_to):
    screen = logging_to(Screen(is_terminal=True))
    in_a_bar(io.StringIO(), lambda: None)
    say()
    say("theirs")
    assert screen.getvalue() == "WARNING tracking-hooks: mlflow is down\nWARNING theirs\n"
