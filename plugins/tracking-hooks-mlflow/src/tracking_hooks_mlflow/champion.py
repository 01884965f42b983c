"""Which version has the alias: the newest, or on a condition the best of those validated on the same data.

A registry changes an alias whatever it was before, so of two trainings that end together both may have beaten the same
champion. Each says by a tag that it contends; then it compares, and sets the alias; then it looks for better ones that
contend or have got the alias since, and gives it to them. So whoever sets the alias last has seen all others.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from mlflow import MlflowClient

from tracking_hooks.direction import lower_is_better
from tracking_hooks_mlflow import names
from tracking_hooks_mlflow.errors import despite_others
from tracking_hooks_mlflow.registration import Registration
from tracking_hooks_mlflow.registry import recent, tag_name
from tracking_hooks_mlflow.run import MLflowRun

ALIAS = "tracking_hooks_alias"
"""The tag of a version that has received its alias: a replay does not take it from a newer version."""

COMPARED = "tracking_hooks_compared"
"""The tag with a sentence: what a version was compared with, and what came of it. No version is compared twice."""

CONTENDS = "tracking_hooks_contends"
"""The tag of a version while it is compared: the numbers of those that had received the alias before."""

DATA = "tracking_hooks_validation_data"
"""The tag with the digest of the split that a version was validated on, as MLflow shows it under "Datasets used"."""

_MAX_TAG = 1000
"""Characters of a tag that Unity Catalog takes."""

logger = logging.getLogger(__name__)


def give_alias(run: MLflowRun, version: Any, wish: Registration) -> None:
    """Give a version its alias, once, if there is no condition or it meets it."""
    client = run.client
    if wish.metric is not None:
        metric = re.sub("^best[/_]", "", wish.metric)
        _Contest(run, client, wish, metric, tag_name(names.spelled(f"best/{metric}"))).enter(version)
    elif version.tags.get(ALIAS) != wish.alias:
        _set(client, wish, version)
        client.set_model_version_tag(wish.name, version.version, ALIAS, wish.alias)


class _Contest(NamedTuple):
    """The comparison of versions by one metric, for one alias.

    ``key`` is the metric as the tags of the versions call it.
    """

    run: MLflowRun
    client: MlflowClient
    wish: Registration
    metric: str
    key: str

    def enter(self, version: Any) -> None:
        last: list[Callable[[], object]] = []
        if COMPARED not in version.tags:
            before = self._contend(version)
            said = self._compete(version, before)
            if not version.description:
                self.client.update_model_version(self.wish.name, version.version, description=said)
            last.append(partial(self._tag, version, COMPARED, said[:_MAX_TAG]))
            logger.info("version %s of %s: %s", version.version, self.wish.name, said)
        if CONTENDS in version.tags:
            delete = self.client.delete_model_version_tag
            last.append(partial(delete, self.wish.name, version.version, CONTENDS))
        self.run.at_once(*last)

    def _contend(self, version: Any) -> set[str]:
        if CONTENDS not in version.tags:
            before = [str(other.version) for other in recent(self.client, self.wish.name) if self._had_alias(other)]
            self._tag(version, CONTENDS, json.dumps(before))
        return set(json.loads(version.tags[CONTENDS]))

    def _compete(self, version: Any, before: set[str]) -> str:
        """Let a version have the alias if it is better than the one that has it; say why, or why not."""
        alias, champion = self.wish.alias, self._champion()
        if champion is not None and str(champion.version) == str(version.version):
            said = f"{alias} points to this version already."
        else:
            is_better, why = self._judge(version, champion)
            if not is_better:
                where = "is not set" if champion is None else f"stays at version {champion.version}"
                return f"{alias} {where}: {why}"
            _set(self.client, self.wish, version)
            moves = "" if champion is None else f" from version {champion.version}"
            said = f"{alias} moves to this version{moves}: {why}"
        holder = version
        while rival := self._rival(holder, before):
            _set(self.client, self.wish, rival)
            holder = rival
        if holder is not version:
            _, why = self._judge(version, holder)
            return f"{alias} goes to version {holder.version}, of a training that ended at the same time: {why}"
        self._tag(version, ALIAS, alias)
        return said

    def _champion(self) -> Any:
        number = self.client.get_registered_model(self.wish.name).aliases.get(self.wish.alias)
        return None if number is None else self.client.get_model_version(self.wish.name, number)

    def _rival(self, holder: Any, before: set[str]) -> Any:
        """Return the best version that contends, or has got the alias meanwhile, and is better than the holder."""
        best = holder
        for other in recent(self.client, self.wish.name):
            contends = CONTENDS in other.tags and COMPARED not in other.tags
            is_new = self._had_alias(other) and str(other.version) not in before
            if (contends or is_new) and self._judge(other, best)[0]:
                best = other
        return None if best is holder else best

    def _judge(self, version: Any, champion: Any) -> tuple[bool, str]:
        """Whether a version is to have the alias of another one, and why."""
        value = self._value(version)
        if value is None:
            known = [key for key in sorted(version.tags) if key.startswith("best_")]
            has = f"it has {', '.join(known)}" if known else "it has no numbers at all"
            return False, f"the final validation of this version has no number {self.metric}; {has}."
        if champion is None:
            return True, f"no version had it. {self.metric} is {value:.6g}."
        reached, here, there = self._value(champion), version.tags.get(DATA), champion.tags.get(DATA)
        if reached is None or there is None:
            return False, self._unrecorded(champion)
        if here != there:
            which = f"this version was validated on other data ({here or 'unknown'}) than that one ({there})"
            return False, f"{which}, so they cannot be compared."
        numbers = _different(value, reached)
        said = f"{self.metric} is {numbers[0]} here and {numbers[1]} there, on the same validation data ({here})."
        return (value < reached if lower_is_better(self.metric) else value > reached), said

    def _unrecorded(self, champion: Any) -> str:
        def example(key: str, value: str) -> str:
            return f"MlflowClient().set_model_version_tag({self.wish.name!r}, '{champion.version}', {key!r}, {value!r})"

        missing = {
            **({self.key: "<number>"} if self._value(champion) is None else {}),
            **({DATA: "<digest>"} if DATA not in champion.tags else {}),
        }
        how = " and ".join(example(key, value) for key, value in missing.items())
        return f"that one has no tag {' and no tag '.join(missing)}. For the next training, set it by {how}."

    def _value(self, version: Any) -> float | None:
        try:
            value = float(version.tags[self.key])
        except (KeyError, ValueError):
            return None
        return value if math.isfinite(value) else None

    def _had_alias(self, version: Any) -> bool:
        return bool(version.tags.get(ALIAS) == self.wish.alias)

    def _tag(self, version: Any, key: str, value: str | None) -> None:
        self.client.set_model_version_tag(self.wish.name, version.version, key, value)
        version.tags[key] = value


def _set(client: MlflowClient, wish: Registration, version: Any) -> None:
    # The server makes the alias where it finds none: somebody else may have made it meanwhile.
    despite_others(lambda: client.set_registered_model_alias(wish.name, wish.alias, version.version))


def _different(one: float, other: float) -> tuple[str, str]:
    """Return two numbers in short, and in full where they would look the same without being so."""
    short = f"{one:.6g}", f"{other:.6g}"
    return short if short[0] != short[1] or one == other else (repr(one), repr(other))
