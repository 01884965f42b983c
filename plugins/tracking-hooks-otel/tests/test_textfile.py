import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tracking_hooks import Unavailable
from tracking_hooks.testing import (
    play,
    recorded,
    recorded_addendum,
    recorded_run,
    sample_addendum,
    sample_run,
    write_run,
)
from tracking_hooks_otel.textfile import Textfile


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "collector"
    path.mkdir()
    return path


def deliver(folder, run, calls, **options):
    return play(Textfile(), calls, run, destination={"otlp": False, "textfile": str(folder)}, **options)


def samples(folder):
    """All that Prometheus' own parser reads from the files that node_exporter takes."""
    texts = [path.read_bytes().decode() for path in sorted(folder.glob("*.prom"))]
    return [sample for text in texts for family in text_string_to_metric_families(text) for sample in family.samples]


def value(folder, name, **labels):
    (found,) = [one.value for one in samples(folder) if one.name == name and labels.items() <= one.labels.items()]
    return found


def test_a_run_is_a_file_of_gauges_that_prometheus_can_read(folder, tmp_path):
    odd = recorded("odd", tmp_path / "run")
    run = msgspec.structs.replace(odd.run, name='"a" \\ {b}\nc} 1\u2028\r')
    state = deliver(folder, run, odd.calls, batch=1)
    (path,) = folder.iterdir()
    assert state["url"] == path.as_uri()
    families = list(text_string_to_metric_families(path.read_bytes().decode()))
    assert {family.type for family in families} == {"gauge"}
    assert len({family.name for family in families}) == len(families)
    found = samples(folder)
    assert {one.labels["run"] for one in found} == {run.name}
    assert all(one.timestamp is None for one in found)  # node_exporter refuses a file that has one
    names = {name for call in odd.calls if call.hook == "on_epoch_end" for name in call.args["metrics"]}
    assert {one.labels["metric"] for one in found if one.name == "yolo_metric"} == names


def test_an_event_that_comes_late_does_not_replace_a_newer_value(folder, tmp_path):
    calls = list(recorded_run(tmp_path / "run", epochs=3))
    first, *_ = [call for call in calls if call.hook == "on_epoch_end"]
    deliver(folder, sample_run(tmp_path / "run"), calls)
    before = samples(folder)
    deliver(folder, sample_run(tmp_path / "run"), [first])
    assert value(folder, "yolo_epoch") == 3
    assert samples(folder) == before


def test_what_comes_after_the_end_of_a_run_joins_its_file_and_waits_for_it(folder, tmp_path):
    later = tmp_path / "run"
    with pytest.raises(Unavailable, match=r"is not in .*collector"):
        deliver(folder, sample_addendum(later), recorded_addendum(later))
    deliver(folder, sample_run(later), recorded_run(later))
    deliver(folder, sample_addendum(later), recorded_addendum(later))
    assert len(list(folder.iterdir())) == 1
    assert value(folder, "yolo_status", status="finished") == 1
    assert [one for one in samples(folder) if one.name == "yolo_evaluation_metric"]


def test_two_processes_that_write_to_one_run_keep_what_the_other_has_written(folder, tmp_path):
    calls = list(recorded_run(tmp_path / "run", epochs=2))
    log = next(call for call in recorded("everything", tmp_path / "all").calls if call.hook == "on_log")
    logs = [msgspec.structs.replace(log, args={"metrics": {f"mine/{n}": n}, "step": n}) for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for n in range(4):
            pool.submit(deliver, folder, sample_run(tmp_path / "run"), [calls[0], *logs[n::4]], batch=1)
    assert {one.value for one in samples(folder) if one.name == "yolo_logged_metric"} == set(range(40))


def test_a_receiver_that_is_down_does_not_hold_up_the_text_file(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run = sample_run(tmp_path / "run")
    parts = {part: {"otlp": True, "textfile": str(folder)} for part in ("otel", "otel.otlp")}
    recorded_in = write_run(run, recorded_run(tmp_path / "run", epochs=2), parts)
    command = [sys.executable, "-c", "from tracking_hooks.cli import main; main()", "sync", str(recorded_in)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Connection refused" in done.stdout + done.stderr
    assert value(folder, "yolo_status", status="finished") == 1


def test_on_windows_where_no_folder_can_be_locked_a_file_beside_the_text_file_is(folder, tmp_path, monkeypatch):
    locked = []
    system = SimpleNamespace(LK_LOCK=1, locking=lambda fd, mode, size: locked.append((mode, size)))
    monkeypatch.setitem(sys.modules, "msvcrt", system)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(sys, "platform", "win32")
    deliver(folder, sample_run(tmp_path / "run"), recorded_run(tmp_path / "run", epochs=1), batch=100)
    assert set(locked) == {(1, 1)}
    assert sorted(path.suffix for path in folder.iterdir()) == [".lock", ".prom"]
    assert value(folder, "yolo_status", status="finished") == 1
