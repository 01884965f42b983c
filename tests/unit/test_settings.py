"""Every variable is read as documented; every mistake becomes one sentence."""

import math

import pytest

from tracking_hooks.settings import ConfigurationError, Settings, describe, is_off, read_settings, variable


def read(name, value):
    return read_settings({name: value})


def test_without_variables_the_defaults_count():
    assert read_settings({}) == Settings()


@pytest.mark.parametrize("name", [variable(field) for field in Settings.__struct_fields__])
@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_counts_as_unset(name, value):
    assert read(name, value) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("TRACKING_HOOKS", "mlflow,tensorboard", "selection", "mlflow,tensorboard"),
        ("TRACKING_HOOKS_BATCH_EVERY", "20", "batch_every", "20"),
        ("TRACKING_HOOKS_SYSTEM_EVERY", "2.5", "system_every", 2.5),
        ("TRACKING_HOOKS_SYSTEM_EVERY", "0", "system_every", 0.0),
        ("TRACKING_HOOKS_READY_WAIT", "30", "ready_wait", 30.0),
        ("TRACKING_HOOKS_EXIT_WAIT", "0", "exit_wait", 0.0),
        ("TRACKING_HOOKS_EXIT_WAIT", " 5 ", "exit_wait", 5.0),
        ("TRACKING_HOOKS_LINGER", "1e3", "linger", 1000.0),
        ("TRACKING_HOOKS_LINGER", "inf", "linger", math.inf),
        ("TRACKING_HOOKS_CALL_TIMEOUT", "10", "call_timeout", 10.0),
        ("TRACKING_HOOKS_TAGS", "team=vision", "tags", "team=vision"),
    ],
)
def test_each_variable_is_read(name, value, field, expected):
    assert getattr(read(name, value), field) == expected


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("5s", (None, 5.0)),
        ("0.5s", (None, 0.5)),
        (" 10S ", (None, 10.0)),
        ("1", (1, None)),
        ("500", (500, None)),
        ("off", (None, None)),
        ("None", (None, None)),
        ("0", (None, None)),
    ],
)
def test_batch_every_takes_seconds_or_batches_or_off(value, rule):
    assert read("TRACKING_HOOKS_BATCH_EVERY", value).batch_rule() == rule


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("14d", (14.0, None)),
        ("0.5", (0.5, None)),
        (" 20GB ", (None, 20e9)),
        ("500mb", (None, 500e6)),
        ("1.5TB", (None, 1.5e12)),
        ("off", (None, None)),
        ("0", (None, None)),
        ("", (None, None)),
    ],
)
def test_keep_takes_days_or_a_size_or_off(value, rule):
    assert read("TRACKING_HOOKS_KEEP", value).keep_rule() == rule


@pytest.mark.parametrize("value", ["two weeks", "14 days", "-1", "20G", "d", "1e3", "inf"])
def test_keep_that_is_neither_is_a_mistake_in_one_sentence(value):
    with pytest.raises(ConfigurationError) as raised:
        read("TRACKING_HOOKS_KEEP", value)
    said = f"TRACKING_HOOKS_KEEP={value!r} is neither a number of days nor a size in MB, GB or TB. "
    assert str(raised.value).startswith(said)


def test_keep_and_thin_can_stand_in_the_project_file():
    project = {"keep": "14", "thin": "off"}
    settings = read_settings({}, project)
    assert (settings.keep_rule(), settings.thin) == ((14.0, None), "off")
    with pytest.raises(ConfigurationError, match=r"pyproject.toml, \[tool.tracking-hooks\]: keep='soon' is neither"):
        read_settings({}, {"keep": "soon"})


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("team=vision, stage = 2 ,", {"team": "vision", "stage": "2"}),
        ("query=a=b", {"query": "a=b"}),
        ("empty=", {"empty": ""}),
    ],
)
def test_tags(value, tags):
    assert read("TRACKING_HOOKS_TAGS", value).tags_dict() == tags


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRACKING_HOOKS_BATCH_EVERY", "fast"),
        ("TRACKING_HOOKS_BATCH_EVERY", "-1"),
        ("TRACKING_HOOKS_BATCH_EVERY", "2.5"),
        ("TRACKING_HOOKS_BATCH_EVERY", "s"),
        ("TRACKING_HOOKS_BATCH_EVERY", "5 min"),
        ("TRACKING_HOOKS_SYSTEM_EVERY", "often"),
        ("TRACKING_HOOKS_SYSTEM_EVERY", "-1"),
        ("TRACKING_HOOKS_SYSTEM_EVERY", "10s"),
        ("TRACKING_HOOKS_READY_WAIT", "-1"),
        ("TRACKING_HOOKS_READY_WAIT", "nan"),
        ("TRACKING_HOOKS_EXIT_WAIT", "true"),
        ("TRACKING_HOOKS_LINGER", "5m"),
        ("TRACKING_HOOKS_CALL_TIMEOUT", "0"),
        ("TRACKING_HOOKS_TAGS", "vision"),
        ("TRACKING_HOOKS_TAGS", "=vision"),
    ],
)
def test_a_malformed_value_gives_one_sentence_with_the_variable_and_the_value(name, value):
    with pytest.raises(ConfigurationError) as caught:
        read(name, value)
    message = str(caught.value)
    assert f"{name}={value!r}" in message
    assert "\n" not in message
    assert message.endswith(".")
    assert "$" not in message


def test_every_variable_is_described():
    described = {name: meaning for name, _, meaning in describe()}
    assert list(described) == [variable(field) for field in Settings.__struct_fields__]
    assert all(described.values())


@pytest.mark.parametrize("value", [None, "", " ", "none", "None", "OFF", " off ", "0"])
def test_asks_for_nothing(value):
    assert is_off(value)


@pytest.mark.parametrize("value", ["mlflow", "all", "1", "none,mlflow"])
def test_asks_for_something(value):
    assert not is_off(value)


@pytest.mark.parametrize(
    ("text", "kinds", "every"),
    [
        ("", {"best", "last"}, None),
        ("best", {"best"}, None),
        ("none", set(), None),
        ("last, every:5", {"last"}, 5),
        ("all", {"best", "last", "periodic"}, None),
    ],
)
def test_checkpoints_are_chosen_by_a_list(text, kinds, every):
    rule = read_settings({"TRACKING_HOOKS_CHECKPOINTS": text}).checkpoint_rule()
    assert (rule.kinds, rule.every) == (kinds, every)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TRACKING_HOOKS_CHECKPOINTS", "bets"),
        ("TRACKING_HOOKS_CHECKPOINTS", "every:0"),
        ("TRACKING_HOOKS_METRICS", "a=b=c"),
        ("TRACKING_HOOKS_CONSOLE", "maybe"),
    ],
)
def test_a_rule_that_cannot_be_read_is_an_error_before_the_training(name, text):
    with pytest.raises(ConfigurationError, match=f"{name}='{text}'"):
        read_settings({name: text})
