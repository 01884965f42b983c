import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.error import HTTPError

import pytest
from tracking_hooks_webhook import Webhook

from tracking_hooks import Rejected
from tracking_hooks.testing import play, recorded_run, sample_run


@pytest.fixture
def server(monkeypatch):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.server.status == 200:
                self.server.received.append(json.loads(body))
            self.send_response(self.server.status)
            self.end_headers()

        def log_message(self, *_): ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.received, server.status = [], 200
        monkeypatch.setenv("WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/a-secret")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_every_event_is_posted(server, tmp_path):
    calls = recorded_run(tmp_path)
    state = play(Webhook(), calls, sample_run(tmp_path))
    assert [event["hook"] for event in server.received] == [call.hook for call in calls]
    epochs = [event["args"] for event in server.received if event["hook"] == "on_epoch_end"]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    assert epochs[0]["metrics"]["val/box_loss"] == "NaN"
    assert server.received[-1]["args"] == {"status": "finished", "error": None}
    assert state == {}


def test_an_event_that_comes_again_has_the_same_id(server, tmp_path):
    calls = recorded_run(tmp_path)
    play(Webhook(), calls, sample_run(tmp_path))
    play(Webhook(), calls, sample_run(tmp_path))
    half = len(server.received) // 2
    assert server.received[:half] == server.received[half:]
    assert len({event["id"] for event in server.received}) == half


@pytest.mark.parametrize(
    ("status", "meaning"), [(503, HTTPError), (403, HTTPError), (404, HTTPError), (400, Rejected), (413, Rejected)]
)
def test_what_an_answer_means_to_the_relay(status, meaning, server, tmp_path):
    server.status = status
    with pytest.raises(meaning, match=str(status)) as caught:
        play(Webhook(), recorded_run(tmp_path), sample_run(tmp_path))
    assert "a-secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_an_oserror(monkeypatch, tmp_path):
    monkeypatch.setenv("WEBHOOK_URL", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="refused"):
        play(Webhook(), recorded_run(tmp_path), sample_run(tmp_path))
