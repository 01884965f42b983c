"""The trainer's log, as it is recorded."""

import logging
import os
import threading
import weakref

import pytest

from tracking_hooks.recording.console import ConsoleLog


@pytest.fixture
def logger(request):
    logger = logging.getLogger(f"trainer.{request.node.name}")
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers.clear()


@pytest.fixture
def log(logger, tmp_path):
    log = ConsoleLog(tmp_path / "files" / "console.log")
    logger.addHandler(log)
    return log


def test_lines_are_recorded_without_colours_and_secrets(logger, log, tmp_path):
    logger.info("\x1b[1mUltralytics\x1b[0m 8.4\n  two lines")
    logger.warning("key=hf_abcdefghijklmnopqrstuvwxyz")
    expected = ["Ultralytics 8.4", "  two lines", "key=[redacted]"]
    assert log.take() == expected
    assert log.take() == []
    path = tmp_path / "files" / "console.log"
    assert path.read_text().splitlines() == expected
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_another_thread_logs_belongs_to_another_training(logger, log):
    thread = threading.Thread(target=logger.info, args=["the other one"])
    thread.start()
    thread.join()
    assert log.take() == []


def test_what_is_logged_after_the_end_is_left_out(logger, log):
    log.end()
    logger.info("too late")
    assert log.take() == []


def test_who_configures_logging_in_mid_training_does_not_end_the_log(logger, log):
    """As a callback does that imports MLflow."""
    logging.shutdown([weakref.ref(log)])  # so does `dictConfig` with the handlers of all loggers
    logger.info("still here")
    assert log.take() == ["still here"]


def test_a_disk_that_is_full_disturbs_nobody(logger, tmp_path, capsys):
    log = ConsoleLog(tmp_path / "files" / "console.log")
    os.close(log._fd)  # as good as a full one: every write fails
    logger.addHandler(log)
    logger.info("lost")
    assert capsys.readouterr().err == ""
    log._fd = -1
