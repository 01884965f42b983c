"""What ``docs/benchmarks.md`` shows, in which order, and in which words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import delivery, growth, loop, memory, profiles, recording, start_end, validation

INTRODUCTION = """\
# Benchmarks

What tracking costs a training, and how fast it delivers, beside what one would have without tracking-hooks. `make
bench` measures all of it and writes this page. The raw samples are in
[`benchmarks/results`](../benchmarks/results), one line for each figure; `python -m benchmarks.page` writes the page
again from them.

- A figure is the median of the rounds. In brackets are the lowest and the highest of them.
- Each round measures every variant, in an order of its own. Ratios and differences are taken within a round; their
  median is shown.
- **Bare** is a training without any tracker: `TRACKING_HOOKS` is unset, and all of Ultralytics' integrations are off.
  It runs twice in each round. A difference that is no larger than the one between these two is called **a tie**.
- **Ours** run with Ultralytics' integrations off, too. The exception is its `mlflow`, which is on by default: it is on
  wherever our plugin for MLflow takes its place.
- A training is one of `yolo26n.yaml` on generated images, in a process of its own. It computes with one thread less
  than there are cores. That leaves a core for the relays and for the server of MLflow, which is on the same machine.
- *100 ms away* means that a proxy adds that time to each request.
"""


@dataclass(frozen=True)
class Table:
    """Variants, one below the other, with what was measured of each."""

    what: str
    columns: Sequence[str]
    """Benchmarks."""
    rows: Sequence[str]
    """Variants; none: all that were measured, the largest first."""
    reference: str | Mapping[str, str] = ""
    """The variant that others are compared with, or that of each."""
    compared: str = ""
    again: str = ""
    """The reference, measured once more."""
    is_difference: bool = False

    def reference_of(self, row: str) -> str:
        """Return what a variant is compared with, if anything."""
        found = self.reference if isinstance(self.reference, str) else self.reference.get(row, "")
        return "" if found == row else found


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    groups: Sequence[str]
    """The groups of benchmarks whose samples are shown, one after the other."""
    text: str
    tables: Sequence[Table]


_LOOP = [variant.name for variant in loop.VARIANTS]
_START_END = [variant.name for variant in start_end.VARIANTS]


def _pairs(of: Mapping[str, str]) -> list[str]:
    """Return each variant with its reference below."""
    return [name for pair in of.items() for name in pair]


def _to_first(names: Iterable[str]) -> dict[str, str]:
    first, *others = names
    return dict.fromkeys(others, first)


SECTIONS = (
    Section(
        "The training loop",
        ("loop", "loop-gpu"),
        """\
From the start of the first epoch to the end of the last one. An epoch takes some 0.7 s here, so what is done once
in an epoch weighs more than in most trainings. *Blocked* is the time that the trainer spends in the callbacks of
trackers, measured by wrapping them from outside; for an epoch it is the sum over its callbacks. Plots and histograms of
weights are in rows of their own. The loop with plots is left out: drawing takes time without a tracker, too.""",
        (
            Table(
                "Loop", ("loop", "loop, CPU of the training process"), _LOOP, "bare", "times bare", again="bare, again"
            ),
            Table(
                "Blocked",
                (
                    "blocked, an epoch",
                    "blocked, p99 of the epochs",
                    "blocked, p99 of the calls",
                    "blocked, whole loop",
                ),
                _LOOP,
            ),
        ),
    ),
    Section(
        "Start and end",
        ("start_end",),
        """\
Trainings of about ten seconds, with plots: from the command to its first batch, and from the end of the last epoch to
the prompt. After the last epoch come the final validation and the plots, with bare as well; then each side delivers
what is left. The first training of an environment waits for its plugins to be imported and checked, so it is a row of
its own; in all other rows the result of an earlier check is
[remembered](design.md#what-is-remembered-of-a-plugin). *One after the other* is the longest series of requests of which
each began when the one before it was answered.""",
        (
            Table("Start", ("command to first batch",), _START_END, "bare", "more than bare", "bare, again", True),
            Table("End", ("last epoch to prompt",), _START_END, "bare", "more than bare", "bare, again", True),
            Table(
                "Requests to MLflow",
                ("requests", "requests behind the last epoch", "of these one after the other"),
                _START_END,
            ),
            Table(
                "Memory",
                ("peak memory of the training process",),
                _START_END,
                "bare",
                "more than bare",
                "bare, again",
                True,
            ),
            Table("While tracking is off", ("import",), start_end.UNSET),
        ),
    ),
    Section(
        "Validation",
        ("validation",),
        f"""\
What it costs to see [what the model sees](predictions.md): `TRACKING_HOOKS_PREDICTIONS=off` beside the default, which
shows 16 images of an epoch, and counts the mistakes in all images of the final validation. `yolo26n.yaml` validates at
`imgsz=64`, with JPEG files of {" by ".join(map(str, validation.SIDES))} pixels, {validation.DISTINCT} of which differ.
Its head is set so that it finds about twenty objects in each image, hardly any of which is there. A final validation
draws Ultralytics' plots, with either setting.

One percent is less than what two equal validations differ by. *Ours* is therefore timed from outside, by wrapping what
looks at predictions and hands over what was seen, on the thread of the training. The first validation also chooses the
images. The final one hands over the worst of them, the table and the list of mistakes. The pictures are made on another
thread, once in a training. CPU is that of the thread, or of the process; it tells more than the time by the clock where
the machine has other things to do.""",
        (
            Table(
                "Whole",
                ("a validation", "a validation, CPU of the training process"),
                _pairs(validation.PAIRS),
                validation.PAIRS,
                "times off",
            ),
            Table("Of it", ("ours", "ours, CPU", "ours, CPU, share of the validation"), validation.ROWS),
            Table("Pictures", (validation.PICTURES,), [*validation.SIZES]),
            Table(
                "Peak",
                (validation.MEMORY,),
                _pairs(validation.MEMORY_PAIRS),
                validation.MEMORY_PAIRS,
                "more than off",
                "",
                True,
            ),
        ),
    ),
    Section(
        "Recording",
        ("recording",),
        """\
What happens on the training's thread. An event is recorded and the same bytes are written by a bare `write()` in turn,
to files on the same disk; the figure of a round is the median of 2,000 events, or of 200 with 1,000 classes. Once,
before the first batch, the objects of the data set are counted, its digest is made, and the environment is described.
Git is asked on another thread meanwhile.""",
        (
            Table("Event", ("an event",), _pairs(recording.BARE), recording.BARE, "times a bare write()"),
            Table("Data set", ("data set",), recording.DATA),
            Table("Environment", recording.ENVIRONMENT, recording.GIT),
        ),
    ),
    Section(
        "Delivery",
        ("delivery",),
        f"""\
A relay delivers a backlog, beside a script that does nothing but write the same points with the tracker's client. Both
are processes of their own, of the same priority, and their start and imports count. The points come twenty an epoch:
{delivery.POINTS["mlflow"]:,} for MLflow, {delivery.POINTS["tensorboard"]:,} for TensorBoard,
{delivery.POINTS["wandb"]:,} for W&B. The lag is the time from the recording of an event until it is seen in the
tracker: in MLflow's database, in TensorBoard's file. The slow line to MLflow takes {delivery.RATE / 1e6:g} MB a second,
and adds 100 ms to each request. What arrives behind it is compared with the file.""",
        (
            Table("Backlog", ("backlog",), [*delivery.BACKLOG], delivery.BESIDE, "times by hand"),
            Table("Lag", ("lag, p50", "lag, p99"), delivery.LAG),
            Table(
                "Weights",
                (delivery.SLOW_LINE,),
                _pairs(delivery.WEIGHTS),
                delivery.WEIGHTS,
                "times by hand",
            ),
        ),
    ),
    Section(
        "Memory of a relay",
        ("memory",),
        """\
The most that a relay had while it delivered a run with so many batches, looked at a hundred times a second. The memory
of the training process is in the section [Start and end](#start-and-end).""",
        tuple(
            Table(
                f"Relay of {plugin}",
                (memory.BENCHMARK.format(plugin),),
                [*memory.SIZES],
                _to_first(memory.SIZES),
                "times 1,000",
            )
            for plugin in ("tensorboard", "mlflow")
        ),
    ),
    Section(
        "Growth",
        ("growth",),
        f"""\
A long journal, many runs of one user, and the delivery of {growth.SYNCED} small runs by one command. Each run has three
epochs, params and five files, plots among them. The script beside it writes twenty points an epoch, the params and the
same files (to TensorBoard: the plots), with no more calls than it needs.""",
        (
            Table(
                "Journal",
                ("appending an event", "opening it for a resume", "a relay that goes on at its cursor"),
                [*growth.JOURNALS],
                _to_first(growth.JOURNALS),
                "times 1,000",
            ),
            Table(
                "Beside",
                ("start of a recording",),
                [*growth.RUNS],
                _to_first(growth.RUNS),
                "more than beside none",
                "",
                True,
            ),
            Table("`tracking-hooks status`", ("status",), [*growth.RUNS]),
            Table(
                "`tracking-hooks sync`",
                (growth.SMALL_RUNS,),
                _pairs(growth.SYNC),
                growth.SYNC,
                "times the script",
            ),
        ),
    ),
    Section(
        "Where the time goes",
        ("profiles",),
        """\
What the recorder spends its time on while it records the epochs of a long training, and each relay while it delivers
them: [py-spy](https://github.com/benfred/py-spy) looks at the threads that are at work, and notes whose code that is.
What is written in C counts for the Python code that has called it. In a relay, a thread that waits for the tracker or
the disk is not at work.""",
        tuple(
            Table(of.capitalize(), (of,), ())
            for of in (profiles.RECORDER, *map(profiles.RELAY.format, profiles.EVENTS))
        ),
    ),
)
