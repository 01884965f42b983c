"""The model of the deliverer, for some seconds; ``make faults`` plays 10,000 sequences."""

from __future__ import annotations

import pytest

from tests.faults.model import check_model

pytestmark = pytest.mark.faults


def test_whatever_fails_everything_arrives_or_is_set_aside_with_a_reason():
    check_model(examples=500, derandomize=True)
