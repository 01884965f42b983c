"""The benchmarks work, in their short form, what they compare is within bounds that hold on a busy machine, and the
page of the repository shows what its samples say.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import statistics
import subprocess
import sys

import psutil
import pytest

from benchmarks import group, loop, page, samples
from benchmarks.__main__ import GROUPS
from benchmarks.line import longest_chain
from benchmarks.processes import peak_memory
from benchmarks.samples import Head, Sample
from tests.makefile import commands, run
from tests.support import without_polars
from tests.support.home import BIN
from tests.support.processes import wait_for

e2e = pytest.mark.e2e


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The folder of the samples of ``make bench``, in its short form."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def measured(results, tmp_path_factory):
    """A function that returns what a group has measured, by benchmark and variant."""

    @functools.cache
    def measured(group):
        (command,) = [
            shlex.split(line)[1:] for line in commands("bench", f"--quick --only {group} --results {results}")
        ]
        run([sys.executable, *command], home=tmp_path_factory.mktemp("home"))
        _, taken = samples.read(results / f"{group}.jsonl")
        return {(sample.benchmark, sample.variant): sample.value for sample in taken}

    return measured


def test_the_page_shows_what_the_samples_say():
    assert page.PAGE.read_text(encoding="utf-8") == page.render(samples.RESULTS), "python -m benchmarks.page writes it"


def test_the_figures_in_the_readme_are_those_of_the_samples():
    taken = page.Measured(samples.read(samples.RESULTS / "loop.jsonl")[1])
    variants = ("ours, mlflow, server 100 ms away", "Ultralytics' mlflow, server 100 ms away")
    blocked = [round(statistics.median(taken.values("blocked, an epoch", variant))) for variant in variants]
    readme = (page.PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(
        r"^\| Time that the training is held up in an epoch, MLflow server 100 ms away \|.*", readme, re.MULTILINE
    )
    assert [int(figure) for figure in re.findall(r"\[(\d+) ms\]", row)] == blocked


def test_what_predictions_are_said_to_cost_is_what_the_samples_say():
    taken = page.Measured(samples.read(samples.RESULTS / "validation.jsonl")[1])
    share = "ours, CPU, share of the validation"
    few = statistics.median(taken.values("ours, CPU", "50 images"))
    many, final = (
        statistics.median(taken.values(share, f"5,000 images{which}")) for which in ("", ", the final validation")
    )
    said = " ".join((page.PAGE.parent / "predictions.md").read_text(encoding="utf-8").split())
    assert f"{few:.0f} ms of a validation of 50 images, {many:.1f} % of one of 5,000 small images" in said
    assert f"at the end, {final:.0f} % of the last one" in said


def test_samples_name_no_machine_and_no_folder():
    for path in samples.RESULTS.glob("*.jsonl"):
        first, _ = samples.read(path)
        assert not re.search(r"[/\\]", f"{first.command} {first.system}"), path
        assert "--quick" not in first.command, f"{path} has figures that say nothing"


def test_a_gpu_is_measured_by_the_same_loop():
    (command,) = commands("gpu-bench")
    assert command.endswith("-m benchmarks --only loop --device 0 ")


def chosen(*words):
    """Return the variants that these words of a command let the loop measure, and the words for the same samples."""
    given = group.options(group.parser("python -m benchmarks.loop", "Loop.").parse_args(words))
    names = [variant.name for variant in group.Group(given, page.RESULTS).chosen(loop.VARIANTS, loop.QUICK)]
    return names, given.words


def test_variants_that_cannot_run_on_a_machine_are_left_out_by_naming_others():
    words = ["--rounds", "2", "--seconds", "8", "--device", "0", "--variant", "bare", "--variant", "tensorboard"]
    assert chosen(*words) == (["bare", "bare, again", "Ultralytics' tensorboard", "ours, tensorboard"], words)
    assert chosen()[0] == [variant.name for variant in loop.VARIANTS]
    assert chosen("--quick")[0] == list(loop.QUICK)


def test_a_variant_that_there_is_none_of_is_said_before_anything_is_measured():
    with pytest.raises(SystemExit, match="no variant has “tensorbord” in its name: bare; bare, again; "):
        chosen("--variant", "bare", "--variant", "tensorbord")


def test_what_is_cut_off_leaves_the_samples_of_its_whole_rounds_beside_those_of_the_last_time(monkeypatch, tmp_path):
    def measure(of):
        for number in of.rounds():
            of.add("loop", "bare", number, "s")
            if number == cut_off_in:
                raise KeyboardInterrupt

    monkeypatch.setattr(os, "environ", {**os.environ})  # a group is measured without the user's settings
    monkeypatch.setattr(sys, "argv", ["loop", "--rounds", "3", "--results", str(tmp_path)])
    cut_off_in = None
    group.main("loop", "Loop.", measure)
    before = (tmp_path / "loop.jsonl").read_bytes()
    assert [sample.value for sample in samples.read(tmp_path / "loop.jsonl")[1]] == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["loop.jsonl"]

    cut_off_in = 2
    with pytest.raises(KeyboardInterrupt):
        group.main("loop", "Loop.", measure)
    assert [sample.value for sample in samples.read(tmp_path / "loop.jsonl.part")[1]] == [0, 1]
    assert (tmp_path / "loop.jsonl").read_bytes() == before


def test_without_polars_a_training_reads_its_table_all_the_same(monkeypatch, tmp_path):
    (tmp_path / "results.csv").write_text("epoch,loss\n1,0.5\n2,0.25\n")
    trainer = type("Trainer", (), {"csv": tmp_path / "results.csv"})
    monkeypatch.setattr(without_polars, "find_spec", lambda _: None)
    without_polars.do_without_polars(trainer)
    assert trainer().read_results_csv() == {"epoch": [1.0, 2.0], "loss": [0.5, 0.25]}


@e2e
def test_an_event_of_an_epoch_costs_a_few_times_a_bare_write(measured):
    of = measured("recording")
    epoch = "an epoch, 20 metrics"
    assert of["an event", epoch] < 60 * of["an event", f"{epoch}: a bare write() of these bytes"]


@e2e
def test_what_is_added_to_an_import_while_tracking_is_off_is_measured(measured):
    ((_, milliseconds),) = [(key, value) for key, value in measured("start_end").items() if key[0] == "import"]
    assert milliseconds >= 0


@e2e
def test_a_server_that_stops_answering_does_not_slow_the_loop(measured):
    of = measured("loop")
    silent = of["loop", "ours, mlflow, server silent from epoch 3 on"]
    assert silent < 20 * of["loop", "bare"], "a client in the loop waits for minutes"


@e2e
def test_mlflow_behind_a_slow_line_is_asked_and_the_training_ends(measured):
    of = measured("start_end")
    for variant in ("ours, mlflow, server 100 ms away", "Ultralytics' mlflow, server 100 ms away"):
        assert 0 < of["of these one after the other", variant] <= of["requests behind the last epoch", variant]
        assert of["command to first batch", variant] > 0


@e2e
def test_what_is_seen_in_a_validation_takes_a_part_of_it(measured):
    of = measured("validation")
    for variant in ("50 images", "50 images, the first validation", "50 images, the final validation"):
        assert 0 < of["ours, CPU", variant] < 1000, "milliseconds"
        assert of["ours, CPU, share of the validation", variant] < 50
    assert of["pictures of the whole training, CPU of another thread", "50 images"] > 0
    assert {"50 images, pictures off", "50 images, pictures on"} <= {variant for _, variant in of}


@e2e
def test_a_backlog_is_delivered_at_about_the_rate_of_the_client(measured):
    of = measured("delivery")
    assert of["backlog", "mlflow, a relay"] > 0.01 * of["backlog", "mlflow: log_batch of 1,000 in 8 threads"]
    assert of["backlog", "tensorboard, a relay"] > 0.5 * of["backlog", "tensorboard: SummaryWriter of PyTorch"]


@e2e
def test_a_relay_needs_no_more_memory_for_a_long_run(measured):
    values = [value for (benchmark, _), value in measured("memory").items() if "tensorboard" in benchmark]
    assert max(values) < 1.5 * min(values)


@pytest.fixture(scope="module")
def _profiler():
    """Skip where processes may not be looked into, as in many containers."""
    command = ["py-spy", "dump", "--pid", str(os.getpid())]
    done = subprocess.run([BIN / command[0], *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(done.stderr.strip())


@e2e
@pytest.mark.usefixtures("_profiler")
def test_where_the_time_goes_is_measured(measured):
    of = measured("profiles")
    relays = [f"relay of {plugin}" for plugin in ("mlflow", "tensorboard", "wandb")]
    assert {benchmark for benchmark, _ in of} == {"recorder", *relays}
    assert sum(value for (benchmark, _), value in of.items() if benchmark == "recorder") > 50


@e2e
@pytest.mark.usefixtures("_profiler")
def test_each_table_is_filled(results, measured):
    assert all(measured(group) for group in GROUPS)
    text = (results / "benchmarks.md").read_text()
    tables = [(table.what, table.columns[0]) for section in page.SECTIONS for table in section.tables]
    missing = [column for what, column in tables if f"\n| {what} | {column}" not in text]
    assert missing == ["peak memory of the relay of mlflow"], "which takes too long for a test"
    assert "There are no samples" not in text


@e2e
def test_many_trainings_are_all_delivered(tmp_path):
    output = run([sys.executable, "-m", "benchmarks.many_trainings", "--quick"], home=tmp_path)
    assert re.search(r"3 trainings, \d+ events, \d+ points, files of all: all delivered", output), output
    assert "lag of an event: median" in output


# -- the page ---------------------------------------------------------------------------------------------------


@pytest.fixture
def render(tmp_path):
    """A function that renders the loop's times: for each variant, one of each round."""

    def render(**rounds):
        first = Head("loop", "python -m benchmarks.loop", "2026-01-01", 2, "A CPU", "Linux", "3.12", {"torch": "2.9"})
        taken = [
            Sample("loop", variant, "s", value, number)
            for variant, values in rounds.items()
            for number, value in enumerate(values)
        ]
        samples.write(tmp_path / "loop.jsonl", first, taken)
        return page.render(tmp_path)

    return render


OURS = "ours, tensorboard"


def row(text, variant):
    (line,) = re.findall(rf"^\| {re.escape(variant)} \| (.*) \|$", text, re.MULTILINE)
    return line


def test_a_figure_is_the_median_and_a_ratio_is_taken_within_a_round(render):
    text = render(**{"bare": [10, 20, 40], "bare, again": [10, 20, 40], OURS: [11, 20, 60]})
    assert row(text, "bare") == "20 (10 to 40) | "
    assert row(text, OURS) == "20 (11 to 60) | 1.100 (1.000 to 1.500)"
    assert statistics.median([1.1, 1.0, 1.5]) == 1.1


def test_what_differs_no_more_than_bare_from_itself_is_a_tie(render):
    text = render(**{"bare": [10, 10, 10], "bare, again": [10, 9, 10.5], OURS: [10.4, 10.2, 10.5]})
    assert row(text, OURS).endswith("1.040 (1.020 to 1.050), a tie")
    assert "tie" not in row(text, "bare, again")
    text = render(**{"bare": [10, 10, 10], "bare, again": [10, 9.9, 10.1], OURS: [10.4, 10.2, 10.5]})
    assert row(text, OURS).endswith("1.040 (1.020 to 1.050)")


def test_what_is_to_hold_is_compared_with_the_medians(render):
    all_three = "ours, all three, MLflow 100 ms away"
    text = render(bare=[10, 10, 10], **{all_three: [10.3, 10.1, 10.5]})
    assert row(text, "loop with all three trackers, times bare") == "at most 1.02 | 1.030 | **no**"
    text = render(bare=[10, 10, 10], **{all_three: [10, 10.1, 10.5]})
    assert row(text, "loop with all three trackers, times bare") == "at most 1.02 | 1.010 | yes"


def test_each_bound_is_of_something_that_is_measured():
    rows = {row for section in page.SECTIONS for table in section.tables for row in table.rows}
    columns = {column for section in page.SECTIONS for table in section.tables for column in table.columns}
    for bound in page.BOUNDS:
        assert bound.group.removesuffix("-gpu") in GROUPS
        assert {bound.variant, bound.to or "bare"} <= rows, bound
        assert bound.benchmark in columns, bound


def test_a_group_that_was_not_measured_says_how_it_is(render):
    assert "`python -m benchmarks.growth` takes them" in render(bare=[1.0])


def test_the_machine_is_described_below_the_figures(render):
    line = "`python -m benchmarks.loop` on 2026-01-01: 2 cores of A CPU, Linux; Python 3.12, torch 2.9."
    assert line in render(bare=[1.0])


def test_the_memory_of_a_process_is_its_own_and_not_that_of_who_has_started_it():
    own = psutil.Process().memory_info().rss
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    with peak_memory(child.pid) as peak:
        wait_for(lambda: len(peak) > 1)
        child.communicate(b"\n")
    assert 0 < max(peak) < own / 2


def test_requests_that_overlap_are_no_chain():
    assert longest_chain([[0, 1], [0.5, 1.5], [1, 2], [1.2, 2.2], [3, 4]]) == 3
    assert longest_chain([]) == 0
