import os
import subprocess
import sys
from pathlib import Path

import pytest

from tracking_hooks import Rejected, Unavailable
from tracking_hooks.testing import play, poll, recorded, write_run
from tracking_hooks_notify import sent, trainer
from tracking_hooks_notify.sink import Notify

TOLD = {"events": trainer._DEFAULT, "stalled": 1800.0}
TITLES = ["train: killed", "train: scale_learning_rate by plateau(patience=2)", "train: stop by budget(hours=1)"]
TITLES += ["train: finished"]


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sent._MARKS.clear()


@pytest.fixture
def run_folder(tmp_path):
    everything = recorded("everything", tmp_path / "runs/train")
    return write_run(everything.run, everything.calls, {"notify": TOLD})


def sync(*arguments):
    command = [Path(sys.executable).with_name("tracking-hooks"), "sync", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_mailbox_and_a_webhook_get_each_message(mailbox, webhook, monkeypatch, tmp_path):
    address, mails = mailbox
    monkeypatch.setenv("APPRISE_URLS", f"{webhook.url('a-token')}, {address}")
    failed = recorded("failed", tmp_path / "runs/train")
    play(Notify(), failed.calls, failed.run, destination=TOLD)
    error = failed.calls[-1].args["error"]
    assert webhook.titles("a-token") == [mail["subject"] for mail in mails] == ["train: failed"]
    assert webhook.messages["a-token"][0]["type"] == "failure"
    for body in (webhook.bodies("a-token")[0], mails[0].get_content()):
        assert error.type in body
        assert error.message in body
        assert body.rstrip().endswith(f"run {failed.run.uid}, event {failed.calls[-1].seq}")


def test_an_address_that_is_down_gets_its_messages_later_and_nobody_gets_one_twice(webhook, monkeypatch, run_folder):
    urls = f"{webhook.url('up-token')} {webhook.url('down-token')}"
    monkeypatch.setenv("APPRISE_URLS", urls)
    webhook.answers["down-token"] = 503
    said = sync(run_folder)
    assert webhook.titles("up-token") == TITLES
    assert "4 set aside" in said.stdout
    webhook.answers.clear()
    said = sync(run_folder)
    assert (said.returncode, webhook.titles("up-token"), sorted(webhook.titles("down-token"))) == (
        0,
        TITLES,
        sorted(TITLES),
    )


def test_while_all_are_down_the_messages_wait(webhook, monkeypatch, run_folder):
    monkeypatch.setenv("APPRISE_URLS", webhook.url("a-token"))
    webhook.answers["a-token"] = 503
    said = sync(run_folder)
    assert said.returncode == 1
    assert "address 1 in APPRISE_URLS (json) takes no message: HTTP 503" in said.stdout + said.stderr
    webhook.answers.clear()
    assert sync(run_folder).returncode == 0
    assert webhook.titles("a-token") == TITLES


def test_the_addresses_are_in_no_file_and_no_output(webhook, monkeypatch, run_folder, tmp_path):
    monkeypatch.setenv("APPRISE_URLS", f"{webhook.url('up-token')} {webhook.url('down-token')}")
    webhook.answers["down-token"] = 403
    said = sync(run_folder)
    webhook.server_is_gone()
    again = sync(run_folder)
    texts = [said.stdout, said.stderr, again.stdout, again.stderr, *webhook.bodies("up-token")]
    texts += [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert any("APPRISE_URLS (json)" in text for text in texts)
    for secret in ("up-token", "down-token", "a-password"):
        assert not [text for text in texts if secret in text]


@pytest.mark.parametrize(("answer", "meaning"), [(400, Rejected), (413, Rejected), (403, Unavailable)])
def test_what_an_answer_means_to_the_relay(answer, meaning, webhook, monkeypatch, tmp_path):
    monkeypatch.setenv("APPRISE_URLS", webhook.url("a-token"))
    webhook.answers["a-token"] = answer
    finished = recorded("finished", tmp_path / "runs/train")
    with pytest.raises(meaning, match=f"HTTP {answer}"):
        play(Notify(), finished.calls, finished.run, destination=TOLD)


def test_a_replay_on_the_same_machine_sends_nothing_again(webhook, monkeypatch, tmp_path):
    monkeypatch.setenv("APPRISE_URLS", webhook.url("a-token"))
    finished = recorded("finished", tmp_path / "runs/train")
    for _ in range(2):
        play(Notify(), finished.calls, finished.run, destination=TOLD)
        sent._MARKS.clear()
    assert webhook.titles("a-token") == ["train: finished"]


def test_where_the_home_folder_cannot_be_written_to_messages_are_sent(webhook, monkeypatch, tmp_path):
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a-file"))
    monkeypatch.setenv("APPRISE_URLS", webhook.url("a-token"))
    finished = recorded("finished", tmp_path / "runs/train")
    play(Notify(), finished.calls, finished.run, destination=TOLD)
    assert webhook.titles("a-token") == ["train: finished"]


def test_a_training_that_stalls_is_told_once_also_by_the_next_relay(webhook, monkeypatch, tmp_path):
    monkeypatch.setenv("APPRISE_URLS", webhook.url("a-token"))
    finished = recorded("finished", tmp_path / "runs/train")
    state = play(Notify(), finished.calls[:-1], finished.run, destination=TOLD)
    impatient = {**TOLD, "stalled": -1.0}
    poll(Notify(), finished.run, destination=TOLD, state=state)
    assert webhook.titles("a-token") == []
    for _ in range(2):
        poll(Notify(), finished.run, destination=impatient, state=state)
        sent._MARKS.clear()
    assert webhook.titles("a-token") == ["train: stalled"]


def test_neither_a_tuning_nor_a_run_that_is_over_stalls(webhook, monkeypatch, tmp_path):
    monkeypatch.setenv("APPRISE_URLS", webhook.url("a-token"))
    impatient = {**TOLD, "stalled": -1.0}
    for kind, end in (("tuning", -1), ("finished", None)):
        made = recorded(kind, tmp_path / kind / "runs/train")
        state = play(Notify(), made.calls[:end], made.run, destination={**TOLD, "events": ["stalled"]})
        poll(Notify(), made.run, destination=impatient, state=state)
    poll(Notify(), made.run, destination=impatient)
    assert webhook.titles("a-token") == []


def test_trials_are_told_only_if_that_is_asked_for(webhook, monkeypatch, tmp_path):
    monkeypatch.setenv("APPRISE_URLS", webhook.url("a-token"))
    trial = recorded("trial", tmp_path / "runs/train")
    play(Notify(), trial.calls, trial.run, destination=TOLD)
    assert webhook.titles("a-token") == []
    play(Notify(), trial.calls, trial.run, destination={**TOLD, "events": [*TOLD["events"], "trials"]})
    assert webhook.titles("a-token") == ["train: finished"]


def test_mistakes_stop_the_training_and_do_not_say_the_address(monkeypatch):
    monkeypatch.delenv("APPRISE_URLS", raising=False)
    with pytest.raises(ValueError, match="APPRISE_URLS must hold"):
        trainer.capture()
    monkeypatch.setenv("APPRISE_URLS", "json://localhost slakc://a-token")
    with pytest.raises(ValueError, match="address 2 in APPRISE_URLS") as caught:
        Notify()
    assert "a-token" not in str(caught.value)
    monkeypatch.setenv("TRACKING_HOOKS_NOTIFY_STALLED", "soon")
    with pytest.raises(ValueError, match="number of minutes"):
        trainer.capture()
    monkeypatch.delenv("TRACKING_HOOKS_NOTIFY_STALLED")
    monkeypatch.setenv("TRACKING_HOOKS_NOTIFY_EVENTS", "finished, crashed")
    with pytest.raises(ValueError, match="does not know 'crashed'"):
        trainer.capture()


def test_the_destination_holds_no_address(monkeypatch):
    monkeypatch.setenv("APPRISE_URLS", "slack://a/b/c,mailto://u:a-password@example.com?to=x@a.b,y@a.b")
    monkeypatch.setenv("TRACKING_HOOKS_NOTIFY_EVENTS", "failed,stalled")
    capture = trainer.capture()
    assert capture.destination == {"events": ["failed", "stalled"], "stalled": 1800.0}
    assert capture.summary == "slack, mailto"
    assert len(os.environ["APPRISE_URLS"].split(",")) > len(trainer.addresses())
