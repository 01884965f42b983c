import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from tracking_hooks_webhook.tracker import WebhookTracker

from tracking_hooks import Rejected, Unavailable
from tracking_hooks.testing import play, recorded_run, sample_run


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.server.status == 200:
                self.server.received += json.loads(body)
            self.send_response(self.server.status)
            self.end_headers()

        def log_message(self, *_): ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.received, server.status = [], 200
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def deliver(server, tmp_path):
    def deliver(calls, **options):
        destination = {"url": f"http://127.0.0.1:{server.server_port}"}
        return play(WebhookTracker(), calls, sample_run(tmp_path), destination=destination, **options)

    return deliver


def test_every_epoch_and_the_end_are_posted(deliver, server, tmp_path):
    deliver(recorded_run(tmp_path, epochs=3))
    assert [event.get("epoch") for event in server.received] == [1, 2, 3, None]
    assert (server.received[-1]["status"], server.received[-1]["epochs"]) == ("finished", 3)


def test_an_event_that_comes_again_has_the_same_id(deliver, server, tmp_path):
    calls = recorded_run(tmp_path)
    deliver(calls)
    deliver(calls)
    half = len(server.received) // 2
    assert server.received[:half] == server.received[half:]


def test_a_new_instance_goes_on_from_the_state(deliver, server, tmp_path):
    calls = recorded_run(tmp_path, epochs=2)
    state = deliver(calls[:-1])
    deliver(calls[-1:], state=state)
    assert server.received[-1]["epochs"] == 2


@pytest.mark.parametrize(("status", "meaning"), [(503, Unavailable), (403, Unavailable), (400, Rejected)])
def test_what_an_answer_means_to_the_relay(status, meaning, deliver, server, tmp_path):
    server.status = status
    with pytest.raises(meaning, match=str(status)):
        deliver(recorded_run(tmp_path))


def test_a_server_that_is_not_there_is_an_oserror(tmp_path):
    nowhere = {"url": "http://127.0.0.1:9"}
    with pytest.raises(OSError, match="refused"):
        play(WebhookTracker(), recorded_run(tmp_path), sample_run(tmp_path), destination=nowhere)
