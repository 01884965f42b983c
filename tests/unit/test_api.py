"""The public API is what is written down: see tests/api.py."""

from __future__ import annotations

import pytest

from tests import api


def test_nothing_public_was_removed_or_changed_unnoticed():
    before, now = set(api.LIST.read_text().splitlines()), set(api.lines())
    if before != now:
        lost = [f"- {line}" for line in sorted(before - now)]
        new = [f"+ {line}" for line in sorted(now - before)]
        what = "It breaks plugins and scripts, and needs an entry in the changelog" if lost else "Something was added"
        pytest.fail("\n".join([f"{what}. To write it down: python -m tests.api", *lost, *new]), pytrace=False)


def test_the_list_has_hooks_data_and_functions_for_scripts():
    known = api.LIST.read_text()
    for name in ("hookspecs.LifecycleSpecs.open(", "events.Run.uid: str", "log(", "testing.contract.Contract.observe("):
        assert f"tracking_hooks.{name}" in known
