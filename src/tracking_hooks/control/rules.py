"""The rules of ``TRACKING_HOOKS_CONTROL``: turns text into instances of classes with control hooks.

The text is a list of calls in Python's grammar, with literals only, separated by semicolons or line breaks::

    early_stop('metrics/mAP50-95(B)', patience=10); budget(hours=8); my_rules.StopWhenFlat()

A plain name is an entry point of the group ``tracking_hooks.rules``, a dotted name is a class of the user.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from textwrap import dedent
from typing import Any

import pluggy
from msgspec import Struct

from tracking_hooks import plugins
from tracking_hooks.markers import RULES_GROUP
from tracking_hooks.settings import ConfigurationError
from tracking_hooks.trainerspecs import TrainerSpecs

DISTRIBUTION = "tracking-hooks-control"
"""The package with this project's rules."""

_EXAMPLE = "early_stop('metrics/mAP50-95(B)', patience=10); budget(hours=8)"


class _Call(Struct, frozen=True):
    """One rule as written by the user."""

    text: str
    name: str
    values: list[Any]
    options: dict[str, Any]


def build(text: str) -> list[tuple[str, pluggy.PluginManager]]:
    """Create the rules that a text lists.

    :returns: each rule as written, with a manager that holds this rule alone
    :raises ConfigurationError: naming the rule, what was probably meant, and what to install
    """
    return [(call.text, _make(call)) for call in _parse(text)]


def installed() -> dict[str, str]:
    """Return how each installed rule is called, such as ``budget(hours=None, epochs=None)``, or why it cannot be.

    :returns: the sentence that is the reason, by name; empty for a rule that works, which is named as it is called
    """
    found = {}
    for name in sorted(plugins.installed(RULES_GROUP)):
        try:
            found[_usage(name, _find(name, is_named=False))] = ""
        except ConfigurationError as error:
            found[name] = str(error)
    return found


def _parse(text: str) -> Iterator[_Call]:
    try:
        statements = ast.parse(dedent(text).strip()).body
    except SyntaxError as error:
        where = (error.text or text).strip()
        raise ConfigurationError(f"rules: {error.msg}: {where!r}. Example: {_EXAMPLE}") from None
    for statement in statements:
        written = ast.unparse(statement)
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Tuple):
            raise ConfigurationError(f"rules: {written!r}: rules are separated by semicolons. Example: {_EXAMPLE}")
        if isinstance(call, (ast.Name, ast.Attribute)):
            raise ConfigurationError(f"rules: {written!r} lacks its parentheses: {written}()")
        if not isinstance(call, ast.Call) or not isinstance(call.func, (ast.Name, ast.Attribute)):
            raise ConfigurationError(f"rules: {written!r} is not a rule. Example: {_EXAMPLE}")
        yield _Call(
            text=written,
            name=ast.unparse(call.func),
            values=[_literal(value, written) for value in call.args],
            options={option.arg or "**": _literal(option.value, written) for option in call.keywords},
        )


def _literal(node: ast.expr, written: str) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ConfigurationError(
            f"rule {written}: {ast.unparse(node)!r} is not a plain value: write a number, or a text in quotes."
        ) from None


def _make(call: _Call) -> pluggy.PluginManager:
    rule = _find(call.name)
    signature = inspect.signature(rule)
    for option in call.options:
        if option not in signature.parameters:
            raise ConfigurationError(
                f"rule {call.text}: unknown option {option!r}.{plugins.did_you_mean(option, signature.parameters)} "
                f"Usage: {_usage(call.name, rule)}"
            )
    try:
        signature.bind(*call.values, **call.options)
    except TypeError as error:
        raise ConfigurationError(f"rule {call.text}: {error}. Usage: {_usage(call.name, rule)}") from None
    try:
        instance = rule(*call.values, **call.options)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"rule {call.text}: {error}") from error
    return plugins.check(call.text, instance, TrainerSpecs)


def _find(name: str, *, is_named: bool = True) -> Callable[..., object]:
    module, _, attribute = name.rpartition(".")
    if module:
        try:
            found = getattr(import_module(module), attribute)
        except Exception as error:
            raise ConfigurationError(
                f"rule {name} cannot be imported: {type(error).__name__}: {error}. Its folder must be on PYTHONPATH."
            ) from error
    else:
        points = plugins.installed(RULES_GROUP)
        if name not in points:
            raise ConfigurationError(_unknown(name))
        found = plugins.load_entry_point(points[name], is_named=is_named)
    if not _is_rule(found):
        raise ConfigurationError(f"{name} is not a rule: a rule is a class with a hook control_epoch or control_batch.")
    rule: Callable[..., object] = found
    return rule


def _is_rule(found: object) -> bool:
    hooks = plugins.hooks_of(found).values()
    return inspect.isclass(found) and any(hook.startswith("control_") for hook in hooks)


def _usage(name: str, rule: Callable[..., object]) -> str:
    options = inspect.signature(rule).parameters.values()
    return f"{name}({', '.join(str(option.replace(annotation=option.empty)) for option in options)})"


def _unknown(name: str) -> str:
    rules = sorted(plugins.installed(RULES_GROUP))
    lines = [f"no rule {name!r} is installed.{plugins.did_you_mean(name, rules)}"]
    lines.append(f"Installed: {', '.join(rules)}" if rules else f"To install some: pip install {DISTRIBUTION}")
    return "\n  ".join(lines)
