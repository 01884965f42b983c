"""The oldest Ultralytics that is supported: a training is tracked as with the newest, which all other tests have."""

import pytest

from tests.compat import environment, training
from tests.compat.cells import OLDEST
from tests.compat.environment import CannotBeHad
from tracking_hooks.cli.shapes import make_shapes

pytestmark = pytest.mark.e2e


def test_a_training_with_the_oldest_ultralytics_is_tracked_value_by_value(tmp_path):
    try:
        environment.prepare(OLDEST)
    except CannotBeHad as why:
        pytest.skip(f"{OLDEST.name} cannot be fetched: {why}")
    result = training.run(OLDEST, tmp_path / "home", make_shapes(tmp_path / "shapes"), untracked=False)
    assert not result.tracked, f"{result.tracked}; {result.said}"
    assert result.version == OLDEST.version
    assert min(result.values.values()) > 0
