import math

import pytest

from tracking_hooks import Rejected, Unavailable
from tracking_hooks.events import Missing
from tracking_hooks.testing import play, recorded, recorded_run, sample_run
from tracking_hooks_otel.otlp import Otlp

HERE = {"otlp": True, "textfile": ""}


def deliver(folder, calls=None, **options):
    calls = recorded_run(folder, epochs=2) if calls is None else calls
    return play(Otlp(), calls, sample_run(folder), destination=HERE, **options)


def test_the_metrics_of_a_run_arrive_with_its_name_project_task_and_uid(receiver, tmp_path):
    calls = list(recorded_run(tmp_path, epochs=2))
    deliver(tmp_path, calls)
    run = sample_run(tmp_path)
    last = [call for call in calls if call.hook == "on_epoch_end"][-1]
    shown = receiver.latest("yolo_metric", "metric")
    assert {name: shown[name] for name in last.args["metrics"]} == pytest.approx(last.args["metrics"])
    labels = [dict(labels) for name, labels, *_ in receiver.points if name == "yolo_epoch"]
    assert labels == [{"run": run.name, "project": run.project, "task": run.task, "uid": run.uid}] * 2
    assert receiver.latest("yolo_status", "status") == {
        "running": 0, "finished": 1, "failed": 0, "interrupted": 0, "killed": 0
    }  # fmt: skip


def test_a_point_has_the_time_of_its_event_however_late_it_is_delivered(receiver, tmp_path):
    calls = list(recorded_run(tmp_path, epochs=3))
    deliver(tmp_path, calls)
    times = [time for name, _, time, *_ in sorted(receiver.points) if name == "yolo_epoch"]
    assert times == [int(call.time * 1e9) for call in calls if call.hook == "on_epoch_end"]


def test_nan_and_infinity_are_values(receiver, tmp_path):
    odd = recorded("odd", tmp_path)
    play(Otlp(), odd.calls, odd.run, destination=HERE)
    assert math.isnan(receiver.latest("yolo_logged_metric", "metric")["mine"])
    assert -math.inf in receiver.latest("yolo_metric", "metric").values()


def test_headers_path_compression_and_resource_are_those_of_the_standard_variables(receiver, tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20a-token")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{receiver.url}/otlp/v1/metrics")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=lab")
    deliver(tmp_path)
    path, headers = receiver.requests[-1]
    assert path == "/otlp/v1/metrics"
    assert headers["authorization"] == "Bearer a-token"
    about = {"service.name": "tracking-hooks", "service.instance.id": sample_run(tmp_path).uid}
    assert receiver.resources[-1] == {**about, "deployment.environment": "lab"}
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shapes")
    deliver(tmp_path)
    assert receiver.resources[-1]["service.name"] == "shapes"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (413, Rejected),
        (302, Unavailable),
        (401, Unavailable),
        (404, Unavailable),
        (429, Unavailable),
        (503, Unavailable),
    ],
)
def test_an_answer_is_about_the_points_or_about_the_receiver(receiver, tmp_path, status, kind):
    receiver.status = status
    with pytest.raises(kind, match=f"answered {status}"):
        deliver(tmp_path)
    assert len(receiver.requests) == 1  # the relay repeats it, the exporter does not


def test_points_that_a_receiver_refuses_in_part_are_set_aside_with_its_reason(receiver, tmp_path):
    receiver.rejects = 3
    with pytest.raises(Rejected, match="3 points were refused: out of order"):
        deliver(tmp_path)


def test_a_receiver_that_is_not_there_is_waited_for_and_its_address_is_not_told(tmp_path, monkeypatch):
    for port, why in {"9": "Connection refused", "port": "Error$"}.items():
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:secret@127.0.0.1:{port}/key")
        with pytest.raises(Unavailable, match=why) as caught:
            deliver(tmp_path)
        assert "key" not in str(caught.value)
        assert "secret" not in str(caught.value)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    with pytest.raises(Unavailable, match="OTEL_EXPORTER_OTLP_ENDPOINT is not set"):
        deliver(tmp_path)


def test_a_backlog_is_sent_in_requests_of_a_size_that_receivers_take(receiver, tmp_path):
    calls = list(recorded_run(tmp_path, epochs=900))
    deliver(tmp_path, calls)
    assert len(receiver.requests) > 1
    assert receiver.latest("yolo_epoch") == {None: 900}


def test_what_is_missing_is_counted_until_it_has_been_delivered(receiver, tmp_path):
    calls = list(recorded_run(tmp_path, epochs=2))
    missing = [
        Missing(hook="on_epoch_end", name="", reason="too old", first=7, last=7),
        Missing(hook="", name="", reason="a full disk", first=9, last=12),
    ]
    deliver(tmp_path, calls, missing=missing)
    assert receiver.latest("yolo_missing_events") == {None: 5}
    deliver(tmp_path, calls, missing=[])
    assert receiver.latest("yolo_missing_events") == {None: 0}
