import pytest
from wandb.sdk.artifacts._validators import validate_aliases, validate_artifact_name

from tracking_hooks_wandb import names

NASTY = ["", "a/b", "a:b", "größe 汽车", "a b", "x" * 300, "a'b\"c", "..", "%"]


@pytest.mark.parametrize("name", NASTY)
def test_wandb_takes_every_name(name):
    validate_artifact_name(names.artifact(name))
    validate_aliases([names.artifact(name)])
    assert names.artifact(name)
    assert not set(names.run_id(name)) & set(":;,#?/'")
    assert 0 < len(names.run_id(name)) <= 128
    assert not set(names.project(name)) & set("/\\#?%:")


def test_metrics_keep_their_names_unless_they_are_wandbs_own():
    assert names.metric("metrics/mAP50(B)") == "metrics/mAP50(B)"
    assert names.metric("_step") == "user_step"
    assert names.metric("")
