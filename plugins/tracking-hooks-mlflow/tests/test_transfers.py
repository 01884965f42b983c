"""Files are sent eight at a time: what that must not change."""

import os
import threading
from functools import partial

import pytest
from mlflow.environment_variables import MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD as IN_PARTS
from mlflow.exceptions import MlflowException

from tracking_hooks.events import Rejected, Unavailable
from tracking_hooks_mlflow import multipart
from tracking_hooks_mlflow.transfers import Transfers, at_once


def test_eight_files_are_on_their_way_at_the_same_time():
    transfers, together = Transfers(), threading.Barrier(8, timeout=20)
    for seq in range(8):
        transfers.add(seq, f"{seq}.png", together.wait)
    assert transfers.send() == {}


def test_a_later_file_of_a_name_is_sent_behind_the_earlier_one():
    transfers, sent, first_may_end = Transfers(), [], threading.Event()

    def send_old():
        assert first_may_end.wait(60)
        sent.append("old")

    transfers.add(1, "results.png", send_old)
    transfers.add(2, "results.png", partial(sent.append, "new"))
    transfers.add(3, "labels.jpg", first_may_end.set)
    transfers.send()
    assert sent == ["old", "new"]


def test_what_is_refused_is_told_by_its_number_and_the_others_are_sent():
    transfers, sent = Transfers(), []

    def refuse():
        raise Rejected("too large")

    for seq in range(20):
        transfers.add(seq, f"{seq}.png", refuse if seq in (3, 11) else partial(sent.append, seq))
    refused = transfers.send()
    assert {seq: str(error) for seq, error in refused.items()} == {3: "too large", 11: "too large"}
    assert sorted(sent) == [seq for seq in range(20) if seq not in refused]


def test_when_the_store_is_down_what_was_not_begun_is_left_for_later():
    transfers, begun, never = Transfers(), [], threading.Event()

    def time_out(seq):
        begun.append(seq)
        if seq:
            never.wait(1.0)  # those that are on their way take longer than the first one's failure
        raise Unavailable("no answer")

    for seq in range(1000):
        transfers.add(seq, f"{seq}.png", partial(time_out, seq))
    with pytest.raises(Unavailable, match="no answer"):
        transfers.send()
    assert len(begun) < 1000


def test_the_way_through_the_server_is_taken_when_no_transfer_is_on_its_way(monkeypatch):
    """MLflow reads that from the environment, which nothing may change while other threads read it."""
    monkeypatch.setenv(IN_PARTS.name, "true")
    sent, model_is_over, others_are_over = [], threading.Event(), threading.Event()
    give_up = multipart.give_up

    def give_up_when_idle():
        assert others_are_over.is_set()
        give_up()

    monkeypatch.setattr(multipart, "give_up", give_up_when_idle)

    def send(name):
        with multipart.allowed():
            if os.environ[IN_PARTS.name] == "true":
                raise MlflowException("Failed to upload at least one part of large.pt")
        sent.append(name)

    def send_model():
        try:
            at_once([partial(send, "weights of the model"), partial(send, "more of it")])
        finally:
            model_is_over.set()

    def send_plot():
        assert model_is_over.wait(60)
        sent.append("plot")
        others_are_over.set()

    at_once([partial(send, "best.pt"), send_plot, send_model])
    assert sorted(sent) == ["best.pt", "more of it", "plot", "weights of the model"]
