"""``tracking-hooks plugins``."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click
from rich.console import Console
from rich.table import Table

from tracking_hooks import plugins
from tracking_hooks.control import rules
from tracking_hooks.settings import SELECTION, ConfigurationError, describe


@click.command("plugins")
@click.option("--settings", "show_settings", is_flag=True, help="List all environment variables, too.")
def command(*, show_settings: bool) -> None:
    """List plugins and rules, and check them.

    For each plugin: where it comes from, whether TRACKING_HOOKS selects it, and whether it can be used. Further parts
    of a plugin, each of which has a relay of its own, stand below it.
    """
    console = Console()
    selection = os.environ.get(SELECTION, "")
    mistake = ""
    installed: Mapping[str, tuple[str, str]] = {}
    selected: list[str] = []
    try:
        installed = plugins.describe_installed()
        selected = plugins.select(selection, installed)
    except ConfigurationError as error:
        mistake = str(error)
    table = Table("plugin", "from", "selected", "check", box=None, pad_edge=False)
    for name in dict.fromkeys([*map(plugins.first_part, installed), *selected]):
        plugin, *others = plugins.parts(name, installed)
        origin, _ = installed.get(plugin, ("", ""))
        table.add_row(plugin, origin, "yes" if plugin in selected else "no", _check(plugin))
        for part in others:
            table.add_row(f"  {part}", "", "", _check(part))
    console.print(
        table if table.row_count else "No plugin is installed. For example: pip install tracking-hooks-mlflow"
    )
    if not (selected or mistake) and installed:
        named = ",".join(plugins.selectable(installed))
        console.print(f"\nNo plugin is selected. To track trainings:\n  export {SELECTION}={named}")
    try:
        available = rules.installed()
    except ConfigurationError as error:
        available, mistake = [], mistake or str(error)
    if available:
        listed = Table("rule", box=None, pad_edge=False)
        for call in available:
            listed.add_row(call)
        console.print()
        console.print(listed)
    if show_settings:
        variables = Table("variable", "default", "meaning", box=None, pad_edge=False)
        for row in describe():
            variables.add_row(*row)
        console.print()
        console.print(variables)
    if mistake:
        raise click.ClickException(mistake)


def _check(name: str) -> str:
    try:
        plugins.load(name)
    except ConfigurationError as error:
        return str(error)
    return "ok"
