"""The client, and the folder of its own files."""

import importlib
import subprocess
import sys

import pytest
import wandb

from tracking_hooks_wandb import process


def test_two_processes_with_one_id_leave_each_others_files_alone(tmp_path):
    """As two trainings with one WANDB_RUN_ID have them."""
    ours = process.new_scratch("key")
    code = f"""
import tempfile
tempfile.tempdir = {str(tmp_path)!r}
from tracking_hooks_wandb import process
print(process.new_scratch("key"), flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        theirs = tmp_path / other.stdout.readline().strip()
        assert ours.is_dir()
        again = process.new_scratch("key")
        assert theirs.is_dir()
        other.kill()
    process.new_scratch("another key")
    assert theirs.is_dir()
    process.new_scratch("key")
    assert not theirs.exists(), "its process is dead"
    assert ours.is_dir()
    assert again.is_dir()


def test_a_client_that_ends_a_run_when_another_one_begins_is_refused(monkeypatch):
    """As those of 2024 do, which have other settings: the training says so before it starts."""
    monkeypatch.setattr(wandb, "Settings", type("Settings", (), {}))
    with pytest.raises(ImportError, match="cannot have several runs in a process"):
        importlib.reload(process)
