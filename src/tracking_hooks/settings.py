"""All environment variables of tracking-hooks, in one table.

They are read when a trainer is constructed, so that ``%env`` in a notebook works.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from tracking_hooks.metricrules import MetricRules

SELECTION = "TRACKING_HOOKS"
OFF = frozenset({"", "none", "off", "0"})

_BATCH_EVERY = re.compile(r"\d+(\.\d+)?s|[1-9]\d*|none|off|0")
_KEEP = re.compile(r"(\d+(?:\.\d+)?)(d|mb|gb|tb|)")
_BYTES = {"mb": 10**6, "gb": 10**9, "tb": 10**12}
_GROUP = re.compile(r"(?![. ])[^/\\\x00-\x1f]{1,100}")
_CHECKPOINTS = re.compile(r"best|last|all|none|every:[1-9]\d*")
_PER_CLASS = re.compile(r"\d{1,9}")
_IMAGES = re.compile(r"[1-9]\d?|100")


class ConfigurationError(Exception):
    """A mistake in the configuration, reported before the training starts. The message says what to do."""


class CheckpointRule(Struct, frozen=True, kw_only=True):
    """Which checkpoints are delivered. Those that actions saved always are."""

    kinds: frozenset[str] = frozenset({"best", "last"})
    every: int | None = None
    """Deliver the weights after each N epochs."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the user can set. Field ``x`` is the variable ``TRACKING_HOOKS_X``."""

    selection: Annotated[str, Meta(description="Trackers to use: names, `all`, `-name`, `package.module:Class`.")] = ""
    mode: Annotated[
        Literal["online", "offline"],
        Meta(description="`offline`: only record; deliver later with `tracking-hooks sync`."),
    ] = "online"
    batch_every: Annotated[
        str, Meta(description="How often batch metrics are recorded: `5s`, a number of batches, or `off`.")
    ] = "5s"
    system_every: Annotated[
        float, Meta(ge=0, description="Seconds between two records of system metrics; `0` records none.")
    ] = 10.0
    ready_wait: Annotated[
        float, Meta(ge=0, description="Longest wait for the check of the plugins before the first epoch, in seconds.")
    ] = 60.0
    exit_wait: Annotated[
        float,
        Meta(ge=0, description="Longest wait for delivery when the process ends, and for copies of files, in seconds."),
    ] = 60.0
    wait: Annotated[
        Literal["", "train", "exit"],
        Meta(description="`train`: it returns when the run is delivered; `exit`: at once. Unset: see Waiting times."),
    ] = ""
    linger: Annotated[
        float,
        Meta(ge=0, description="Seconds without progress after which a relay leaves the rest to `sync`."),
    ] = 300.0
    call_timeout: Annotated[float, Meta(gt=0, description="Seconds after which a plugin's call counts as hanging.")] = (
        300.0
    )
    tags: Annotated[str, Meta(description="Tags for the run: `team=vision,stage=2`.")] = ""
    group: Annotated[str, Meta(description="The group that the run is in, such as `5-fold`: folds, seeds, stages.")] = (
        ""
    )
    metrics: Annotated[
        str,
        Meta(description="Metrics to deliver: `-lr/*` drops, `val/*` keeps only matching metrics, `a/*=b/*` renames."),
    ] = ""
    thin: Annotated[
        Literal["on", "off"],
        Meta(description="Of a long run, deliver fewer batch and system metrics. The journal has them all."),
    ] = "on"
    per_class: Annotated[
        str, Meta(description="How many classes get curves, where there are more: a number, `all` or `none`.")
    ] = "20"
    predictions: Annotated[
        str,
        Meta(description="How many validation images are shown with labels and predictions, up to 100, or `off`."),
    ] = "16"
    checkpoints: Annotated[
        str,
        Meta(description="Weights to deliver: `best`, `last`, `every:N` epochs, `all` or `none`."),
    ] = "best,last"
    keep: Annotated[
        str,
        Meta(description="Which delivered run folders stay: those of `14d` (days), or the newest `20GB`. Unset: all."),
    ] = ""
    large_texts: Annotated[
        Literal["on", "off"],
        Meta(description="`on`: deliver text files of more than 1 MB, too, with secrets not masked."),
    ] = "off"
    control: Annotated[
        str,
        Meta(description="Rules that act on the training, such as `early_stop('fitness'); budget(hours=8)`, or `off`."),
    ] = ""
    console: Annotated[
        Literal["on", "off"], Meta(description="Whether to record the trainer's log and deliver it as `console.log`.")
    ] = "on"
    evaluations: Annotated[
        Literal["on", "off"],
        Meta(description="Whether validations, exports and benchmarks of a tracked checkpoint are added to its run."),
    ] = "on"
    histograms: Annotated[
        Literal["on", "off"],
        Meta(description="`on`: record histograms of the weights after each epoch, for TensorBoard."),
    ] = "off"
    graph: Annotated[
        Literal["on", "off"], Meta(description="`on`: record the layers and their connections, for TensorBoard.")
    ] = "off"

    def rules(self) -> str:
        """Return ``control``, or an empty text if it is switched off."""
        return "" if is_off(self.control) else self.control

    def tags_dict(self) -> dict[str, str]:
        """Return ``tags`` by name."""
        pairs = (item.partition("=") for item in _items(self.tags))
        return {name.strip(): value.strip() for name, _, value in pairs}

    def class_limit(self) -> int | None:
        """Return of how many classes the trackers get curves; None: of all."""
        text = self.per_class.strip().lower()
        return None if text == "all" else 0 if is_off(text) else int(text)

    def image_limit(self) -> int:
        """Return how many images are shown with labels and predictions; 0: none."""
        return 0 if is_off(self.predictions) else int(self.predictions)

    def checkpoint_rule(self) -> CheckpointRule:
        """Return which checkpoints are uploaded."""
        names = [item.lower() for item in _items(self.checkpoints)]
        every = next((int(name.removeprefix("every:")) for name in names if name.startswith("every:")), None)
        if "all" in names:
            return CheckpointRule(kinds=frozenset({"best", "last", "periodic"}), every=every)
        return CheckpointRule(kinds=frozenset(names) & {"best", "last"}, every=every)

    def batch_rule(self) -> tuple[int | None, float | None]:
        """Return (every so many batches, every so many seconds); both None: never."""
        text = self.batch_every.strip().lower()
        if text in OFF:
            return None, None
        if text.endswith("s"):
            return None, float(text[:-1])
        return int(text), None

    def keep_rule(self) -> tuple[float | None, float | None]:
        """Return (days, bytes) of delivered run folders that are kept; both None: all of them."""
        found = _KEEP.fullmatch(self.keep.strip().lower())
        if is_off(self.keep) or found is None:
            return None, None
        number, unit = float(found[1]), found[2]
        return (None, number * _BYTES[unit]) if unit in _BYTES else (number, None)


def variable(field: str) -> str:
    """Return the name of a field's environment variable."""
    return SELECTION if field == "selection" else f"{SELECTION}_{field.upper()}"


def read_settings(
    environ: Mapping[str, str] = os.environ, project: Mapping[str, str] = MappingProxyType({})
) -> Settings:
    """Read and check all variables.

    :param project: what the project's own file sets, by field; variables come first
    :raises ConfigurationError: naming the variable, its value and what is expected
    """
    fields = msgspec.structs.fields(Settings)
    given = dict(project) | {f.name: value for f in fields if (value := environ.get(variable(f.name), "").strip())}
    for field in fields:
        if field.name not in given:
            continue
        try:
            msgspec.convert({field.name: given[field.name]}, Settings, strict=False)
        except msgspec.ValidationError:
            raise ConfigurationError(
                f"{_origin(field.name, environ)}={given[field.name]!r} is not a valid value. {_help(field)}"
            ) from None
    settings = msgspec.convert(given, Settings, strict=False)
    for name, fault in _faults(settings):
        text = getattr(settings, name)
        raise ConfigurationError(f"{_origin(name, environ)}={text!r} {fault}. {_meaning(name)}")
    return settings


def _origin(field: str, environ: Mapping[str, str]) -> str:
    name = variable(field)
    return name if environ.get(name, "").strip() else f"pyproject.toml, [tool.tracking-hooks]: {field}"


def _faults(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the settings that have a grammar of their own."""
    per_class = settings.per_class.strip().lower()
    if not _BATCH_EVERY.fullmatch(settings.batch_every.strip().lower()):
        yield "batch_every", "is neither seconds nor a number of batches"
    if any(not item.partition("=")[0].strip() or "=" not in item for item in _items(settings.tags)):
        yield "tags", "is not of the form name=value,name=value"
    if settings.group and not is_group_name(settings.group):
        yield "group", NO_GROUP_NAME
    if not all(_CHECKPOINTS.fullmatch(item.lower()) for item in _items(settings.checkpoints)):
        yield "checkpoints", "is not a list of best, last, every:N, all and none"
    if not (per_class == "all" or is_off(per_class) or _PER_CLASS.fullmatch(per_class)):
        yield "per_class", "is neither a number nor all or none"
    if not (is_off(settings.predictions) or _IMAGES.fullmatch(settings.predictions.strip())):
        yield "predictions", "is neither a number up to 100 nor off"
    if not is_off(settings.keep) and not _KEEP.fullmatch(settings.keep.strip().lower()):
        yield "keep", "is neither a number of days nor a size in MB, GB or TB"
    try:
        MetricRules(settings.metrics)
    except ValueError as error:
        yield "metrics", f"cannot be read: {error}"


NO_GROUP_NAME = "is not a group's name: up to 100 characters, without slashes, and not with a dot or space at the front"


def is_group_name(text: str) -> bool:
    """Whether a text can name a group, and a folder."""
    return bool(_GROUP.fullmatch(text))


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def settable() -> list[str]:
    """Return the settings that a ``pyproject.toml`` may have: all except the selection of trackers."""
    return [field.name for field in msgspec.structs.fields(Settings) if field.name != "selection"]


def describe() -> list[tuple[str, str, str]]:
    """Return (variable, default, meaning) of each setting, for ``--help`` and the docs."""
    return [(variable(f.name), str(f.default), _help(f)) for f in msgspec.structs.fields(Settings)]


def _meaning(name: str) -> str:
    return _help(next(field for field in msgspec.structs.fields(Settings) if field.name == name))


def _help(field: msgspec.structs.FieldInfo) -> str:
    meta = field.type.__metadata__[0]
    return str(meta.description)


def is_off(selection: str | None) -> bool:
    """Whether a value of ``TRACKING_HOOKS``, or of another list, asks for nothing."""
    return (selection or "").strip().lower() in OFF
