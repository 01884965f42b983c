"""``python -m tests.faults``: play random sequences of faults, and count what was lost or doubled.

A training is recorded for real first (``--made-up``: its like is written down instead) and replayed in each sequence.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from tests.faults import sink
from tests.faults.model import check_model
from tests.faults.reference import Reference, made_up, record_training
from tests.faults.sequences import REQUEST_TIMEOUT, Lab, Outcome, play
from tests.support import forking, postgres, users
from tracking_hooks_mlflow.store import connect

TRACKERS = {
    "mlflow": ["mlflow"],
    "tensorboard": ["tensorboard"],
    "sink": [sink.NAME],
    "all": ["tensorboard", "mlflow", sink.NAME],
}
ROOT = Path(__file__).parents[2]


def main() -> int:
    options = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers are stopped then, too
    for name in [name for name in os.environ if name.startswith(("TRACKING_HOOKS", "MLFLOW"))]:
        del os.environ[name]
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(REQUEST_TIMEOUT)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    if options.store == "postgresql" and (reason := postgres.missing()):
        print(reason, file=sys.stderr)
        return 2
    folder = Path(options.folder or tempfile.mkdtemp(prefix="tracking-hooks-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    if options.model and options.worker is None:
        print(f"playing {options.model} sequences against the model of the deliverer …", file=sys.stderr)
        check_model(options.model)
    if options.reference is None:
        print("recording the training that is replayed …", file=sys.stderr)
        reference = made_up(folder, epochs=20) if options.made_up else record_training(folder)
    else:
        reference = Reference(*map(Path, options.reference))
    began = time.monotonic()
    if options.worker is not None:
        for outcome in _play(options, reference, folder):
            print(msgspec.json.encode(outcome).decode(), flush=True)
        return 0
    total, faults, failed, sequences = Outcome(options.seed), Counter[str](), 0, 0
    for outcome in _gather(options, reference, folder):
        sequences += 1
        failed += outcome.failed
        faults.update(outcome.faults)
        for name in ("events", "lost", "doubled", "pending"):
            setattr(total, name, getattr(total, name) + getattr(outcome, name))
        if outcome.failed:
            _report(options, outcome, folder)
        elif sequences % 25 == 0:
            print(f"{sequences} sequences, {time.monotonic() - began:.0f} s", file=sys.stderr)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(faults.items()))
    print(
        f"{sequences} sequences ({options.tracker}, {options.store}, {time.monotonic() - began:.0f} s), "
        f"{sum(faults.values())} faults ({kinds}), {total.events} events delivered, {total.lost} lost, "
        f"{total.doubled} doubled, {total.pending} never delivered, {failed} sequences failed"
    )
    if failed or not sequences:
        return 1
    if options.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--model", type=int, default=0, help="play so many sequences against the model first")
    parser.add_argument("--seed", type=int, default=0, help="of the first sequence; the others count up from it")
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no sequence after so long")
    parser.add_argument("--tracker", choices=TRACKERS, default="all")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite", help="of the MLflow server")
    parser.add_argument("--jobs", type=int, default=1, help="sequences at a time, each with a server of its own")
    parser.add_argument(
        "--relays", choices=["forked", "started"], default="forked",
        help="forked from a process that has MLflow imported (faster), or started as in real life",
    )  # fmt: skip
    parser.add_argument("--made-up", action="store_true", help="replay an invented training instead of a real one")
    parser.add_argument("--folder", help="where to work; what failed is kept there")
    parser.add_argument("--reference", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _gather(options: argparse.Namespace, reference: Reference, folder: Path) -> Iterator[Outcome]:
    """Yield the outcomes of all jobs: processes of this same program, which deal the seeds out among them."""
    jobs = min(options.jobs, options.sequences)
    command = [sys.executable, "-m", "tests.faults", *sys.argv[1:], "--folder", str(folder)]
    command += ["--reference", str(reference.folder), str(reference.recorded_in)]
    command += ["--jobs", str(jobs)]
    if options.store == "sqlite" and not users.missing():  # else a server has a user of its own
        command = users.powerless(command)
    read, write = os.pipe()
    workers = [
        subprocess.Popen([*command, "--worker", str(number)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=write)
        for number in range(jobs)
    ]
    os.close(write)
    with os.fdopen(read) as lines:
        try:
            for line in lines:
                yield msgspec.json.decode(line, type=Outcome)
        except BaseException:
            for worker in workers:
                worker.terminate()
            raise
        finally:
            codes = [worker.wait() for worker in workers]
    if any(codes):
        raise RuntimeError(f"the exit codes of the workers are {codes}")


def _play(options: argparse.Namespace, reference: Reference, folder: Path) -> Iterator[Outcome]:
    """Play this worker's share of the sequences."""
    plugins = TRACKERS[options.tracker]
    folder = folder / f"worker-{options.worker}"
    folder.mkdir()
    deadline = time.monotonic() + options.seconds
    with ExitStack() as stack:
        lab = None
        if options.relays == "forked":
            stack.enter_context(forking.relays_are_forked())
        if "mlflow" in plugins:
            lab = stack.enter_context(_lab(stack, options.store, folder))
        for seed in range(options.seed + options.worker, options.seed + options.sequences, options.jobs):
            if time.monotonic() > deadline:
                return
            own = folder / str(seed)
            own.mkdir()
            yield play(seed, plugins, reference, own, lab)


def _lab(stack: ExitStack, store: str, folder: Path) -> Lab:
    empty = folder / "empty" / "mlflow.db"
    connect(f"sqlite:///{empty}")
    if store == "postgresql":
        database = postgres.Postgres()
        database.start()
        stack.callback(database.stop)
        return Lab(folder / "lab", database.uri, empty)
    (folder / "lab").mkdir()
    return Lab(folder / "lab", f"sqlite:///{shutil.copy(empty, folder / 'lab')}", empty)


def _report(options: argparse.Namespace, outcome: Outcome, folder: Path) -> None:
    print(f"seed {outcome.seed}: {outcome.faults}")
    for note in outcome.notes:
        print(f"  {note}")
    made = " --made-up" if options.made_up else ""
    print(
        f"  its files: {next(folder.glob(f'worker-*/{outcome.seed}'), folder)}\n"
        f"  replay it: python -m tests.faults --seed {outcome.seed} --tracker {options.tracker} "
        f"--store {options.store}{made}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
