import pytest
from mlflow.utils.validation import _validate_metric_name

from tracking_hooks_mlflow.names import Names, flattened, spelled

NASTY = [
    "metrics/mAP50(B)", "/leading", "trailing/", "a//b", "a/../b", "../a", "..a", ".", "..", "", "()", "a/./b",
    "50 %", "a,b", "a@b=c+d", "a\\b", "a\nb", "cls/汽车", "a:b", "x" * 300, "a/" * 200, "'quoted'", "/",
]  # fmt: skip


@pytest.mark.parametrize("name", NASTY)
def test_mlflow_takes_every_key(name):
    for key in (spelled(name), Names({spelled(name): "somebody else"}).key(name)):
        _validate_metric_name(key)
        assert 0 < len(key) <= 250


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("metrics/mAP50-95(B)", "metrics/mAP50-95B"),
        ("train/box_loss", "train/box_loss"),
        ("cls/汽车", "cls/汽车"),
        ("lr/pg0", "lr/pg0"),
        ("top 1 %", "top 1 _"),
    ],
)
def test_keys_are_spelled_as_ultralytics_does(name, key):
    assert spelled(name) == key


@pytest.mark.parametrize("names", [["a,b", "a%b", "a_b"], ["a_b", "a,b"], ["m(B)", "mB"], ["x" * 300, "x" * 301]])
def test_names_that_would_be_spelled_alike_are_kept_apart(names):
    keys = Names({})
    assert len({keys.key(name, beside=names) for name in names}) == len(names)


def test_a_name_keeps_its_key_after_a_restart_and_in_other_company():
    owners = {}
    first = {name: Names(owners).key(name, beside=["a,b", "a_b"]) for name in ("a,b", "a_b")}
    assert first["a_b"] == "a_b"
    assert {name: Names(owners).key(name, beside=[name]) for name in ("a_b", "a,b")} == {
        "a_b": first["a_b"],
        "a,b": first["a,b"],
    }


def test_nested_params_get_dots():
    assert flattened({"a": {"b": {"c": 1}, "d": None}, "e": {}, "f": [1, 2]}) == {
        "a.b.c": "1",
        "a.d": "None",
        "e": "{}",
        "f": "[1, 2]",
    }
