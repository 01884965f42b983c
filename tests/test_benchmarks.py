"""Each benchmark works, in its short form, and what it compares is within bounds that hold on a busy machine."""

from __future__ import annotations

import re
import shlex
import sys

import pytest

from tests.makefile import ROOT, commands, run

pytestmark = pytest.mark.e2e

MODULES = {name: ["-m", f"benchmarks.{name}"] for name in ("many_runs", "many_trainings", "mlflow_delivery", "week")}
"""Those that are called as a module, since they import from the tests."""


def quick(name, home):
    """Run a benchmark and return what it prints."""
    words = MODULES.get(name, [f"benchmarks/{name}.py"])
    return run([sys.executable, *words, "--quick"], home=home)


def number(pattern, output):
    """The number that a pattern finds in an output."""
    found = re.search(pattern, output)
    assert found, output
    return float(found[1])


def test_every_benchmark_of_make_bench_is_one_of_these():
    (*scripts,) = [shlex.split(command)[1:] for command in commands("bench", "--quick")]
    assert scripts
    names = {re.fullmatch(r"(?:benchmarks/(\w+)\.py|-m benchmarks\.(\w+)) --quick", " ".join(s)) for s in scripts}
    assert None not in names
    tests = set(re.findall(r'quick\("(\w+)"', (ROOT / "tests/test_benchmarks.py").read_text()))
    assert tests == {path.stem for path in (ROOT / "benchmarks").glob("*.py")}


def test_an_event_of_an_epoch_costs_a_few_times_a_bare_write(tmp_path):
    output = quick("overhead", tmp_path)
    assert number(r"recording an event .* ratio ([\d.]+) ", output) < 20, output
    assert number(r"variable unset: .* cost ([\d.]+) ms more", output) >= 0
    assert "imported: tracking_hooks, tracking_hooks.autoload\n" in output, "nothing else while it is off"


def test_a_server_that_never_answers_does_not_slow_the_loop(tmp_path):
    output = quick("hanging_server", tmp_path)
    assert number(r"never answers: ([\d.]+) of bare", output) < 20, "a client in the loop waits for minutes: " + output
    assert "epochs recorded by each: {5}" in output


def test_mlflow_behind_a_slow_line_does_not_slow_the_loop(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    output = quick("mlflow_delivery", tmp_path)
    assert number(r"the training loop, s +│ [\d.]+ +│ [\d.]+ \(([\d.]+)\)", output) < 10, output
    assert number(r"and a relay +│ [\d,]+ +│ [\d,]+ \(([\d.]+)\)", output) > 0.01, output


def test_many_trainings_are_all_delivered(tmp_path):
    output = quick("many_trainings", tmp_path)
    assert re.search(r"3 trainings, \d+ events, \d+ points, files of all: all delivered", output), output
    assert "lag of an event: median" in output


def test_a_sync_of_many_runs_costs_each_of_them_a_fraction_of_a_process(tmp_path):
    output = quick("many_runs", tmp_path)
    assert number(r"of CPU ([\d.]+)$", output.strip()) < 0.7, output


def test_a_long_training_is_delivered_with_fewer_points_than_it_has(tmp_path):
    output = quick("week", tmp_path)
    assert "18,708 points in a journal" in output
    for plugin in ("mlflow", "tensorboard"):
        assert f"{plugin}: 18,092 points, at most 10,616 of a metric, delivered in " in output, output


def test_a_scalar_of_tensorboard_costs_less_than_with_summary_writer(tmp_path):
    output = quick("tensorboard_writer", tmp_path)
    assert number(r"\nratio +([\d.]+) ", output) < 2, output
    assert number(r"import of the plugin: ([\d.]+) s", output) > 0
