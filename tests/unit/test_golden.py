"""A run that an earlier release has recorded means today what it meant then.

The folders of ``tests/data`` were written by ``tests/data/record.py`` as it was then, and are never written again.
"""

import math
import shutil
from pathlib import Path

import pytest
import yaml

from tests.data.record import plain
from tracking_hooks.delivery.relay import Relay
from tracking_hooks.delivery.spawn import DELIVERED
from tracking_hooks.run import journal, layout
from tracking_hooks.run.commands import Commands
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings

RUNS = sorted(Path(__file__).parents[1].glob("data/journal-*"))


def read_meaning(recorded):
    return yaml.safe_load((recorded / "meaning.yaml").read_text(encoding="utf-8"))


class Recorded:
    """A recorded run, put into a project's folder as it lay on the machine that recorded it."""

    def __init__(self, recorded, project):
        self.meaning = read_meaning(recorded)
        self.save_dir = project / "train"
        self.folder = RunFolder.beside(self.save_dir, self.meaning["head"]["run"]["uid"])
        self.notes = project / "notes"
        shutil.copytree(recorded / "train", self.save_dir)
        shutil.copytree(recorded / "run", self.folder.path)

    def deliver(self):
        """Run a relay in this process; return its exit code."""
        return Relay(self.folder, "notes", Settings()).run()


@pytest.fixture(params=RUNS, ids=lambda path: path.name)
def recorded(request, tmp_path):
    return Recorded(request.param, tmp_path / "project")


def says(found, told):
    """Whether what is read has everything that was told; a release may add more."""
    if isinstance(told, dict):
        return isinstance(found, dict) and all(name in found and says(found[name], told[name]) for name in told)
    if isinstance(told, list):
        return isinstance(found, (list, tuple)) and len(found) == len(told) and all(map(says, found, told))
    if isinstance(told, float) and math.isnan(told):
        return isinstance(found, float) and math.isnan(found)
    return type(found) is type(told) and found == told


def test_there_is_a_recorded_run_with_every_hook():
    """A hook that is added gets a recorded run more: see tests/data/record.py."""
    told = {call["hook"] for run in RUNS for call in read_meaning(run)["calls"]}
    assert told == journal.EVENTS


def test_its_journal_means_what_it_meant(recorded):
    head, offset = journal.read_head(recorded.folder.journal)
    assert says(plain(head), recorded.meaning["head"])
    entries = list(journal.read(recorded.folder.journal, offset))
    calls = [entry.call for entry in entries if entry.call]
    assert [call.seq for call in calls] == [told["seq"] for told in recorded.meaning["calls"]]
    for call, told in zip(calls, recorded.meaning["calls"]):
        assert says(plain(call), told)
    assert sum(entry.call is None for entry in entries) == recorded.meaning["damaged"]


def test_a_relay_delivers_all_of_it(recorded, installed):
    shutil.rmtree(recorded.folder.relay("notes").path)
    assert recorded.deliver() == DELIVERED
    noted = [line.split() for line in recorded.notes.read_text().splitlines()]
    assert noted == [[str(told["seq"]), told["hook"]] for told in recorded.meaning["calls"]]
    cursor = recorded.folder.relay("notes").read_cursor()
    assert (cursor.damaged, cursor.ended) == (recorded.meaning["damaged"], True)


def test_a_relay_goes_on_where_an_earlier_release_has_stopped(recorded, installed):
    told = recorded.meaning["cursor"]
    assert says(plain(recorded.folder.relay("notes").read_cursor()), told)
    assert recorded.deliver() == DELIVERED
    noted = [int(line.split()[0]) for line in recorded.notes.read_text().splitlines()]
    assert noted == [call["seq"] for call in recorded.meaning["calls"] if call["seq"] > told["seq"]]
    cursor = recorded.folder.relay("notes").read_cursor()
    assert cursor.state == told["state"]
    assert cursor.delivered == told["delivered"] + len(noted)


def test_what_was_asked_of_the_training_is_understood(recorded):
    content = recorded.folder.commands.read_bytes()
    recorded.folder.commands.unlink()
    inbox = Commands(recorded.folder.commands, pytest.fail)
    recorded.folder.commands.write_bytes(content)
    assert says(plain(inbox.take()), recorded.meaning["commands"])


def test_the_pointer_in_save_dir_leads_to_it(recorded):
    assert [folder.path for folder in layout.find_runs(recorded.save_dir)] == [recorded.folder.path]
