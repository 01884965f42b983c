"""What is told of a data set is what is in it."""

from types import SimpleNamespace

import numpy as np
import pytest

data = pytest.importorskip("tracking_hooks.hosts.ultralytics.data", reason="ultralytics is not installed")

CLASSES = {0: "square", 1: "circle", 2: "triangle"}


def boxes(*classes):
    return {"cls": np.array(classes, dtype=np.float32).reshape(-1, 1)}


@pytest.mark.parametrize(
    ("images", "instances"),
    [
        pytest.param(
            {"labels": [boxes(2, 0, 2), boxes(), boxes(2, 7)]}, {"square": 1, "triangle": 3, "7": 1}, id="boxes"
        ),
        pytest.param({"labels": [boxes(), boxes()]}, {}, id="background only"),
        pytest.param({"samples": [["a.png", 1, None], ["b.png", 1, None]]}, {"circle": 2}, id="classification"),
        pytest.param({}, {}, id="neither"),
    ],
)
def test_the_instances_of_each_class_are_counted_in_the_order_of_the_classes(images, instances):
    counted = data._count(SimpleNamespace(**images), CLASSES)
    assert list(counted.items()) == list(instances.items())
    assert all(type(count) is int for count in counted.values())
