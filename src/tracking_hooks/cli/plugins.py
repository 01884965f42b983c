"""``tracking-hooks plugins``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import click
from msgspec import Struct

from tracking_hooks import plugins
from tracking_hooks.cli import contract
from tracking_hooks.cli.output import aligned, indented, json_option, print_json, width
from tracking_hooks.control import rules
from tracking_hooks.settings import SELECTION, ConfigurationError, describe

_BROKEN = "cannot be used"


class _Part(Struct, frozen=True):
    """A plugin, or a further part of one, which stands below it."""

    name: str
    origin: str
    is_selected: bool
    is_further: bool

    def check(self) -> str:
        """Import it; return what is wrong with it."""
        try:
            plugins.load(self.name)
        except ConfigurationError as error:
            return str(error)
        return ""


@click.command("plugins")
@click.option("--check", "checked", metavar="NAME", help="Run the contract suite against this plugin instead.")
@click.option("--settings", "show_settings", is_flag=True, help="List all environment variables, too.")
@json_option
def command(*, checked: str | None, show_settings: bool, as_json: bool) -> None:
    """List plugins and rules, and check them.

    For each plugin: where it comes from, whether TRACKING_HOOKS selects it, and whether it can be used. Further parts
    of a plugin, each of which has a relay of its own, stand below it. The exit code is 1 if TRACKING_HOOKS cannot work
    as it is.
    """
    if checked:
        raise SystemExit(contract.run(checked))
    mistakes = []
    installed: Mapping[str, tuple[str, str]] = {}
    selected: list[str] = []
    try:
        installed = plugins.describe_installed()
        selected = plugins.select(os.environ.get(SELECTION, ""), installed)
    except ConfigurationError as error:
        mistakes.append(str(error))
    parts = list(_parts(installed, selected))
    checks = _check_all(parts, say_nothing=as_json)
    broken = {part.name: said for part, said in zip(parts, checks) if said and part.is_selected}
    try:
        available = rules.installed()
    except ConfigurationError as error:
        available = {}
        mistakes.append(str(error))
    if as_json:
        _print_as_data(parts, checks, available, mistakes)
    else:
        wrong = {plugins.first_part(part.name) for part, said in zip(parts, checks) if said}
        usable = [name for name in plugins.selectable(installed) if name not in wrong]
        if usable and not (selected or mistakes):
            click.echo(f"\nNo plugin is selected. To track trainings:\n{_suggestion(usable)}")
        _list_rules(available)
        if show_settings:
            _list_settings()
    if mistakes:
        raise click.ClickException(mistakes[0])
    if broken:
        raise click.ClickException(f"{SELECTION} selects what {_BROKEN}: {', '.join(broken)}.")


def _parts(installed: Mapping[str, tuple[str, str]], selected: list[str]) -> Iterator[_Part]:
    for name in dict.fromkeys([*map(plugins.first_part, installed), *selected]):
        for part in plugins.parts(name, installed):
            origin, _ = installed.get(part, ("", ""))
            yield _Part(part, origin, name in selected, part != name)


def _check_all(parts: list[_Part], *, say_nothing: bool) -> list[str]:
    """Check plugins one after the other, and print each as it comes: to import one may take seconds."""
    if say_nothing:
        return [part.check() for part in parts]
    if not parts:
        click.echo("No plugin is installed. For example: pip install tracking-hooks-mlflow")
        return []
    rows = [["plugin", "from", "selected"], *map(_cells, parts)]
    columns = width()
    is_narrow = columns is not None and max(map(len, aligned([*row, "check"] for row in rows))) > columns
    if is_narrow:  # where it comes from stands below it
        rows = [[name, selected] for name, _, selected in rows]
    head, *lines = aligned([*row, "|"] for row in rows)  # the mark keeps the width of the column before it
    click.echo(f"{head[:-1]}check")
    found = []
    for part, line in zip(parts, lines):
        click.echo(line[:-1], nl=False)
        said = part.check()
        found.append(said)
        fits = columns is None or len(line) + len(said) <= columns
        click.echo((said if columns else " ".join(said.split())) if said and fits else _BROKEN if said else "ok")
        if is_narrow and not part.is_further:
            click.echo(f"    {part.origin}")
        if not fits:
            click.echo(indented(said, 4))
    return found


def _cells(part: _Part) -> list[str]:
    if part.is_further:
        return [f"  {part.name}", "", ""]
    return [part.name, part.origin, "yes" if part.is_selected else "no"]


def _suggestion(usable: list[str]) -> str:
    """Return the command that selects them, or those of them that most people mean where the line has no room."""
    known = [name for name in plugins.COMMON if name in usable] or usable[:1]
    whole, short = (f"  export {SELECTION}={','.join(names)}" for names in (usable, known))
    columns = width()
    return short if columns is not None and len(whole) > columns else whole


def _list_rules(available: Mapping[str, str]) -> None:
    if available:
        click.echo("\nrule")
    for call, wrong in available.items():
        click.echo(indented(call, 0) if not wrong else f"{call}  {_BROKEN}\n{indented(wrong, 4)}")


def _list_settings() -> None:
    click.echo("")
    table = [("variable", "default", "meaning"), *describe()]
    columns = width()
    if columns is None or max(map(len, aligned(table))) <= columns:
        click.echo("\n".join(aligned(table)))
        return
    for variable, default, meaning in describe():
        click.echo(f"{variable}={default}")
        click.echo(indented(meaning, 4))


def _print_as_data(parts: list[_Part], checks: list[str], available: Mapping[str, str], mistakes: list[str]) -> None:
    print_json({
        "plugins": [
            {"name": part.name, "from": part.origin, "selected": part.is_selected, "error": said or None}
            for part, said in zip(parts, checks)
        ],
        "rules": [{"rule": call, "error": wrong or None} for call, wrong in available.items()],
        "errors": mistakes,
    })  # fmt: skip
