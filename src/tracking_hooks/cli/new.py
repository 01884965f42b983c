"""``tracking-hooks new``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import click

from tracking_hooks import plugins
from tracking_hooks.markers import PROJECT, RULES_GROUP

_TEMPLATE = Path(__file__).parents[1] / "template"
_SUFFIX = ".jinja"


@click.command("new")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["tracker", "sink", "rule"]),
    default="tracker",
    show_default=True,
    help="A tracker keeps runs, a sink passes every event on, a rule stops a training or changes its learning rate.",
)
@click.option(
    "--into", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="The folder to make it in."
)
@click.option(
    "--in-repository", is_flag=True, help="For a repository that has tests of its own: no workflow and no .gitignore."
)
def command(name: str, kind: str, into: Path, *, in_repository: bool) -> None:
    """Make the project of a plugin: a package with tests that pass.

    NAME is what TRACKING_HOOKS will select. The project is a folder tracking-hooks-NAME.
    """
    name = name.removeprefix("tracking-hooks-")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise click.BadParameter(f"{name!r}: a name has lower-case letters, digits and hyphens", param_hint="NAME")
    if owner := _owner(name):
        raise click.ClickException(f"{name!r} is the name of a plugin in {owner}: choose another one.")
    folder = into / f"tracking-hooks-{name}"
    if folder.exists():
        raise click.ClickException(f"{folder} is there already: choose another name, or another folder by --into.")
    for path, text in _rendered(name, kind, in_repository=in_repository):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    lines = [f"{folder} is a plugin that works. To test and to use it:", f"  cd {folder}"]
    lines += ["  pip install --editable . pytest", "  pytest"]
    use = f'TRACKING_HOOKS_CONTROL="{name.replace("-", "_")}()"' if kind == "rule" else f"TRACKING_HOOKS={name}"
    click.echo("\n".join([*lines, f"  {use} yolo train …"]))


def _owner(name: str) -> str:
    """Return the distribution whose plugin or rule has a name; empty: none that is known or installed."""
    if name in (*plugins.KNOWN, "control"):
        return f"tracking-hooks-{name}"
    for group, taken in ((PROJECT, name), (RULES_GROUP, name.replace("-", "_"))):
        for point in entry_points(group=group, name=taken):
            return point.dist.name if point.dist else point.value
    return ""


def _rendered(name: str, kind: str, *, in_repository: bool) -> Iterator[tuple[str, str]]:
    """Render the template, which is in copier's format."""
    try:
        from jinja2 import Environment, StrictUndefined  # PyTorch brings it
    except ImportError:
        raise click.ClickException("The template needs Jinja: pip install jinja2") from None
    jinja = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701 no HTML
    answers = {
        "name": name,
        "kind": kind,
        "in_repository": in_repository,
        "module": name.replace("-", "_"),
        "class_name": name.replace("-", " ").title().replace(" ", ""),
    }
    for file in (path for path in sorted(_TEMPLATE.rglob("*")) if path.is_file()):
        path = [jinja.from_string(part).render(answers) for part in file.relative_to(_TEMPLATE).parts]
        path[-1] = path[-1].removesuffix(_SUFFIX)
        if all(path) and path != ["copier.yml"]:  # a part whose condition does not hold is empty
            text = file.read_text(encoding="utf-8")
            yield "/".join(path), jinja.from_string(text).render(answers) if file.suffix == _SUFFIX else text
