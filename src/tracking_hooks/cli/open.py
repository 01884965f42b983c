"""``tracking-hooks open``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

from tracking_hooks import plugins
from tracking_hooks.cli import browsing, servers
from tracking_hooks.events import Unavailable
from tracking_hooks.pages import Page
from tracking_hooks.run import destinations, index, journal, layout, remedies
from tracking_hooks.run.journal import Head, JournalError
from tracking_hooks.run.layout import Health, RunFolder, read_json
from tracking_hooks.settings import ConfigurationError


@click.command("open")
@click.argument("run", required=False)
@click.option(
    "--tracker", metavar="NAME", help="Such as mlflow. Otherwise the first tracker of the run that has a page."
)
@click.option("--all", "overview", is_flag=True, help="Open the page of all runs beside it, where they are compared.")
@click.option("--stop", is_flag=True, help="End the servers that this command has started.")
def command(run: str | None, tracker: str | None, *, overview: bool, stop: bool) -> None:
    """Open a run in the browser, in the pages of its tracker.

    RUN is the training's folder (save_dir), its run folder, or its uid; without it, your latest run on this machine
    that is no trial, with --tracker the latest one there. If nobody serves the pages, a server is started, which only
    this machine can reach: MLflow's for a database or a folder, TensorBoard for a folder of event files. It goes on
    until --stop.
    """
    if stop:
        _stop()
        return
    folder, head = _find(run, tracker)
    try:
        label, page = _page(folder, head, tracker, overview=overview)
        if page.command:
            click.echo(f"{head.run.name} ({folder.uid}) in {label}, served from {page.store}")
            url = servers.serving(page).address + page.url
        else:
            click.echo(f"{head.run.name} ({folder.uid}) in {label}")
            url = page.url
    except (ConfigurationError, servers.ServerError, JournalError, OSError) as error:
        raise click.ClickException(str(error)) from None
    for line in browsing.show(url, is_local=bool(page.command)):
        click.echo(line)
    if page.command:
        click.echo("To end the server: tracking-hooks open --stop")


def _stop() -> None:
    running = servers.servers()
    for server in running:
        servers.stop(server)
        click.echo(f"stopped: {server.address} of {server.store}")
    if not running:
        click.echo("No server runs that this command has started.")


def _find(given: str | None, tracker: str | None) -> tuple[RunFolder, Head]:
    """Return the run that is meant.

    Of several, the latest that goes to the tracker; rather a tuning than the last one of its trials.
    """
    if given is None:
        folders = index.all_runs()
    elif Path(given).is_dir():
        folders = layout.find_runs(Path(given))
    else:
        known = index.find(given)
        folders = [known] if known else []
    found: list[tuple[RunFolder, Head]] = []
    for folder in sorted(folders, key=lambda folder: folder.uid, reverse=True):
        with suppress(JournalError, OSError):  # one that is just being made, or that was damaged
            head, _ = journal.read_head(folder.journal)
            if head.run.addendum is None:
                if not head.run.is_trial and _goes_to(folder, head, tracker):
                    return folder, head
                found.append((folder, head))
    if found:
        return min(found, key=lambda one: (not _goes_to(one[0], one[1], tracker), one[1].run.is_trial))
    if given is None:
        raise click.ClickException("no run of this user is on this machine.")
    raise click.ClickException(f"there is no run {given!r}: no folder with a run, and no uid of yours on this machine.")


def _goes_to(folder: RunFolder, head: Head, tracker: str | None) -> bool:
    targets = destinations.of(folder, head).items()
    return tracker is None or any(tracker in {label, target.plugin} for label, target in targets)


def _page(folder: RunFolder, head: Head, tracker: str | None, *, overview: bool) -> tuple[str, Page]:
    """Return the label of a tracker, and its page for the run."""
    labels = []
    for label, page in _pages(folder, head, tracker, overview=overview):
        if page is not None:
            return label, page
        labels.append(label)
    if tracker and not labels:
        known = ", ".join(plugins.selectable(head.plugins)) or "no tracker"
        raise click.ClickException(f"{folder.uid} does not go to {tracker!r}, but to: {known}.")
    what = f"{' and '.join(labels)} cannot show the run" if labels else "no tracker can show the run"
    down = (f"\n{label} waits: {health.error}" for label in labels if (health := _health(folder, label)))
    raise click.ClickException(
        f"{what}, or {'do' if labels[1:] else 'does'} not have it.{''.join(down)}\n"
        f"To see what is delivered: tracking-hooks status {remedies.name(folder)}"
    )


def _health(folder: RunFolder, label: str) -> Health | None:
    """Return what a relay has said of its tracker, if that is down."""
    health = read_json(folder.relay(label).health, Health)
    return health if health and health.state == "down" else None


def _pages(folder: RunFolder, head: Head, tracker: str | None, *, overview: bool) -> Iterator[tuple[str, Page | None]]:
    for label, target in destinations.of(folder, head).items():
        is_first = label == plugins.first_label(label, target.plugin)
        if is_first and tracker in {None, label, target.plugin}:
            run, _ = destinations.as_moved(folder, head, {})
            state = folder.relay(label).read_cursor().state
            side = plugins.load_trainer_sides([target.plugin])[target.plugin]
            if side is None or not side.hook.page.get_hookimpls():
                yield label, Page(url=str(state["url"])) if state.get("url") else None
                continue
            try:
                page = side.hook.page(run=run, state=state, destination=target.destination, overview=overview)
            except Unavailable as error:
                click.echo(f"{label}: {error}", err=True)
                page = None
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                raise ConfigurationError(f"plugin {target.plugin!r} failed in page: {what}") from error
            yield label, page
