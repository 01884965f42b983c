"""What the user is told of the service and their key, before a training."""

import json

import pytest

from tests.support.answering import answering
from tracking_hooks.events import Unavailable
from tracking_hooks.testing import sample_run
from tracking_hooks_wandb.trainer import capture, probe

ADA = json.dumps({"data": {"viewer": {"username": "ada", "entity": "ada"}}})
NOBODY = json.dumps({"data": {"viewer": None}})


def ask(service, **more):
    return probe({"mode": "online", "base_url": service, **more}, 5.0)


def test_who_the_service_takes_the_user_for(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with answering(200, ADA) as (service, _):
        assert ask(service) == f"{service} answers, as ada (API key of WANDB_API_KEY)"


@pytest.mark.parametrize(("status", "body"), [(401, "no"), (200, NOBODY)])
def test_a_key_that_is_not_accepted_is_no_missing_one(monkeypatch, status, body):
    monkeypatch.setenv("WANDB_API_KEY", "b" * 40)
    with answering(status, body) as (service, _), pytest.raises(Unavailable) as caught:
        ask(service)
    assert "does not accept the API key of WANDB_API_KEY" in str(caught.value)
    assert "b" * 40 not in str(caught.value)


def test_without_a_key_nobody_is_asked():
    with pytest.raises(Unavailable, match="there is no API key"):
        ask("http://127.0.0.1:9")


def test_the_key_of_wandb_login_is_found(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.netrc").write_text(f"machine 127.0.0.1 login user password {'c' * 40}\n")
    with answering(200, ADA) as (service, _):
        assert ask(service).endswith("as ada (API key of the file .netrc)")


def test_another_server_and_one_that_is_down(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with answering(404, "<html>") as (service, _), pytest.raises(Unavailable, match="HTTP 404"):
        ask(service)
    with pytest.raises(Unavailable, match="no connection"):
        ask(service)


def test_an_address_without_a_scheme_ends_the_training_with_the_right_one(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_BASE_URL", "wandb.lan:8080")
    with pytest.raises(ValueError, match="WANDB_BASE_URL=https://wandb"):
        capture(sample_run(tmp_path), None)


def test_a_carriage_return_of_windows_is_no_part_of_the_address(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.lan\r")
    assert capture(sample_run(tmp_path), None).destination["base_url"] == "https://wandb.lan"


def test_offline_and_switched_off_ask_nobody(tmp_path):
    assert ask("", mode="offline", folder=str(tmp_path / "wandb/run")) == f"offline: runs are kept in {tmp_path}/wandb"
    assert ask("", mode="disabled") == "switched off by WANDB_MODE"
