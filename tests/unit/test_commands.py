"""What is asked of a training from outside reaches it once, whoever writes it, and when."""

import pytest

from tracking_hooks.delivery.spawn import end_process, start_relay
from tracking_hooks.events import ScaleLearningRate, Stop
from tracking_hooks.run import commands
from tracking_hooks.run.commands import Command, Commands
from tracking_hooks.run.liveness import Lock
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run

STOP = Command(plugin="mlflow", action=Stop(reason="enough"))
SLOWER = Command(plugin="rules", action=ScaleLearningRate(factor=0.5, reason="plateau"))


def test_each_command_is_taken_once(tmp_path):
    path = tmp_path / "commands.jsonl"
    inbox = Commands(path, pytest.fail)
    assert inbox.take() == []
    commands.send(path, STOP)
    commands.send(path, SLOWER)
    assert inbox.take() == [STOP, SLOWER]
    assert inbox.take() == []
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_asked_of_an_earlier_part_of_the_run_is_not_asked_of_the_resumed_one(tmp_path):
    path = tmp_path / "commands.jsonl"
    commands.send(path, STOP)
    inbox = Commands(path, pytest.fail)
    assert inbox.take() == []
    commands.send(path, SLOWER)
    assert inbox.take() == [SLOWER]


def test_half_a_line_waits_for_its_other_half(tmp_path):
    path = tmp_path / "commands.jsonl"
    inbox = Commands(path, pytest.fail)
    commands.send(path, STOP)
    line = path.read_bytes()
    path.write_bytes(line[:10])
    assert inbox.take() == []
    path.write_bytes(line)
    assert inbox.take() == [STOP]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'{"plugin":"mlflow","action":{"type":"dance","reason":"joy"}}', id="a newer action"),
        pytest.param(
            b'{"plugin":"mlflow","action":{"type":"scale_learning_rate","reason":"-"}}', id="without a factor"
        ),
        pytest.param(b'{"plugin":"mlf{"plugin":"mlflow"}', id="two lines that became one"),
        pytest.param(b"\xff\0", id="garbage"),
    ],
)
def test_what_is_not_understood_is_said_and_takes_no_other_command_with_it(tmp_path, line):
    path = tmp_path / "commands.jsonl"
    said = []
    inbox = Commands(path, said.append)
    commands.send(path, STOP)
    with path.open("ab") as file:
        file.write(line + b"\n")
    commands.send(path, SLOWER)
    assert inbox.take() == [STOP, SLOWER]
    (sentence,) = said
    assert str(path) in sentence
    assert "is skipped" in sentence
    assert inbox.take() == []
    assert len(said) == 1


def test_a_command_with_a_field_of_a_newer_release_is_taken(tmp_path):
    path = tmp_path / "commands.jsonl"
    inbox = Commands(path, pytest.fail)
    path.write_bytes(b'{"plugin":"mlflow","urgent":true,"action":{"type":"stop","reason":"enough","mood":"calm"}}\n')
    assert inbox.take() == [STOP]


def test_what_a_tracker_asks_for_is_passed_on_once(record_run, make_plugin, until):
    plugin = make_plugin(
        """
        from tracking_hooks.events import Stop

        class Plugin:
            @hookimpl
            def poll(self, run):
                return Stop(reason=run.name)
        """
    )
    run = record_run(plugin, calls=[])
    run.append(recorded_run(run.save_dir)[:1])
    lock = Lock(run.folder.lock)  # the training runs
    assert lock.acquire()
    try:
        inbox = Commands(run.folder.commands, pytest.fail)
        relay = start_relay(run.folder, plugin, Settings())
        asked = until(inbox.take)
        end_process(relay)
    finally:
        lock.release()
    assert asked == [Command(plugin=plugin, action=Stop(reason="train"))]
