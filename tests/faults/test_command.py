"""``make faults`` works: its own command, with a recorded training, and few sequences of the five hundred."""

from __future__ import annotations

import re

import pytest

from tests.makefile import make

pytestmark = [pytest.mark.faults, pytest.mark.e2e]


def test_a_few_sequences_lose_nothing_and_double_nothing(tmp_path):
    output = make("faults", f"ARGS=--model 20 --sequences 2 --jobs 1 --folder {tmp_path / 'work'}", home=tmp_path)
    summary = output.splitlines()[-1]
    assert summary.startswith("2 sequences (all, sqlite")
    assert int(re.search(r"(\d+) faults", summary)[1]) > 0
    assert int(re.search(r"(\d+) events delivered", summary)[1]) > 300, "a real training has some 150 events"
    assert summary.endswith("0 lost, 0 doubled, 0 never delivered, 0 sequences failed")
