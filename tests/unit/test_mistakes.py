"""How wrong predictions are, as a number and in words."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("ultralytics")

from tracking_hooks.mistakes import Mistakes, match, mistakes


def test_a_more_confident_prediction_comes_first_and_each_label_goes_to_one():
    overlaps = np.array([[0.6, 0.9, 0.0], [0.5, 0.8, 0.46]])
    assert match(overlaps) == {0: 0, 1: 1}
    assert match(np.array([[0.45, 0.44]])) == {}
    assert match(np.zeros((0, 3))) == match(np.zeros((3, 0))) == {}
    assert overlaps[0, 0] == 0.6


@pytest.mark.parametrize(
    ("true", "predicted", "matches", "score", "reason"),
    [
        ([], [], {}, 0.0, ""),
        (["a"], ["a"], {0: 0}, 0.0, ""),
        (["a"], [], {}, 1.0, "1 missed"),
        ([], ["a", "a"], {}, 1.0, "2 false positives"),
        (["circle"], ["square"], {0: 0}, 1.0, "1 circle taken for square"),
        (["a", "a"], ["a"], {0: 1}, 1 / 3, "1 missed"),
        (["O", "a", "b"], ["x", "b", "b"], {0: 0, 1: 2}, 2 / 3, "1 missed, 1 false positive, 1 O taken for x"),
    ],
)  # fmt: skip
def test_score_and_reason(true, predicted, matches, score, reason):
    found = mistakes(true, predicted, matches)
    assert found.score == pytest.approx(score)
    assert found.reason == reason


def test_of_many_confusions_the_most_frequent_are_named():
    pairs = Counter({("a", "b"): 1, ("b", "c"): 5, ("c", "d"): 3, ("d", "e"): 2, ("e", "f"): 1})
    assert Mistakes(confused=pairs).reason == "5 b taken for c, 3 c taken for d, 2 d taken for e, 2 taken for others"
