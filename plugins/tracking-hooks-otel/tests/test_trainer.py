import pytest

from tracking_hooks_otel.trainer import capture


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "TRACKING_HOOKS_OTEL_TEXTFILE"):
        monkeypatch.delenv(name, raising=False)


def test_no_address_and_no_credential_is_recorded(monkeypatch, tmp_path):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://ada:secret@otlp.example.org:4318/a-key?token=b")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=c")
    monkeypatch.setenv("TRACKING_HOOKS_OTEL_TEXTFILE", str(tmp_path))
    told = capture()
    assert told.destination == {"otlp": True, "textfile": str(tmp_path)}
    assert told.place == "https://otlp.example.org:4318"
    assert told.summary == f"https://otlp.example.org:4318 and {tmp_path.as_uri()}"


def test_the_text_file_alone_is_enough(monkeypatch, tmp_path):
    monkeypatch.setenv("TRACKING_HOOKS_OTEL_TEXTFILE", str(tmp_path))
    assert capture().destination == {"otlp": False, "textfile": str(tmp_path)}
    assert capture().place == tmp_path.as_uri()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "", "set OTEL_EXPORTER_OTLP_ENDPOINT, TRACKING_HOOKS_OTEL_TEXTFILE or both"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "has to be an address"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://", "has to be an address"),
        ("TRACKING_HOOKS_OTEL_TEXTFILE", "nowhere/there", "is not a folder: /"),
    ],
)
def test_a_mistake_stops_the_training_with_a_sentence(monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=says):
        capture()
