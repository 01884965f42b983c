"""How many requests the end of a training takes, and how many of them one after the other, for a server far away."""

import re
import threading
import time

import pytest
from msgspec.structs import replace

from tests.support.gate import Gate
from tests.support.runs import append, write_run
from tracking_hooks.delivery import relay
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run

pytestmark = pytest.mark.e2e

PARTS = ("mlflow", "mlflow.files")
AWAY = 0.3
"""Seconds that a request takes, so that those which are sent at the same time overlap."""


@pytest.fixture
def gates(server):
    """One before the server for each part of the plugin: one part does not wait for the other."""
    with Gate(server, lambda _: True).open() as first, Gate(server, lambda _: True).open() as second:
        yield dict(zip(PARTS, (first, second)))


def deliver(folder):
    """Deliver what there is by a relay for each part, both at the same time."""
    threads = [
        threading.Thread(target=relay.Relay(folder, part, Settings(), drain=True).run, daemon=True) for part in PARTS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


def longest_chain(requests):
    """The most requests of which each one begins when the one before it is answered."""
    count, ended = 0, 0.0
    for request in sorted(requests, key=lambda request: request.ended):
        if request.began >= ended:
            count, ended = count + 1, request.ended
    return count


def told(requests):
    """The requests in the order in which they were sent."""
    first = min(request.began for request in requests)
    rows = [
        f"{request.began - first:5.2f} to {request.ended - first:5.2f} s  {re.sub('[0-9a-f]{32}', '…', request.what)}"
        for request in sorted(requests)
    ]
    return "\n".join([f"{len(rows)} requests, {longest_chain(requests)} of them one after the other:", *rows])


def end_of_a_training(gates, run, save_dir, register, number):
    """Deliver a training, and then what comes after its last epoch; return the requests of that, by part."""
    calls = recorded_run(save_dir)
    common = {
        "experiment": f"far away, {register}, {number}",
        "run_name": "train",
        **({"register": f"{number}-{register}"} if register else {}),
    }
    destinations = {part: {"tracking_uri": gate.address, **common} for part, gate in gates.items()}
    last = max(number for number, call in enumerate(calls) if call.hook == "on_epoch_end")
    folder = write_run(replace(run, uid=f"{run.uid}{number}"), calls[: last + 1], destinations)
    for gate in gates.values():
        gate.allows = lambda _: True
    deliver(folder)
    deliver(folder)  # what waited for the first part

    append(folder.journal, calls[last + 1 :])
    for gate in gates.values():
        gate.requests.clear()
        gate.allows = lambda _: time.sleep(AWAY) or True
    deliver(folder)
    assert all(folder.relay(part).read_cursor().ended for part in gates)
    return {part: list(gate.requests) for part, gate in gates.items()}


@pytest.mark.parametrize(("register", "most", "in_sequence"), [(None, 45, 10), ("shapes@champion", 55, 15)])
def test_the_end_of_a_training_takes_few_round_trips(gates, run, save_dir, monkeypatch, register, most, in_sequence):
    monkeypatch.setattr(relay, "_end_orphan", lambda _: False)  # the training goes on
    for number in range(3):  # a machine that is busy sends later what it could send at the same time
        sent = end_of_a_training(gates, run, save_dir, register, number)
        if all(longest_chain(requests) <= in_sequence for requests in sent.values()):
            break
    for requests in sent.values():
        assert longest_chain(requests) <= in_sequence, told(requests)
    everything = [request for requests in sent.values() for request in requests]
    assert len(everything) <= most, told(everything)
