"""What ``tracking-hooks status --set-aside`` lists: what a tracker or the journal lacks, and why."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import click
from msgspec import Struct

from tracking_hooks.cli.output import indented, print_json, width, with_note
from tracking_hooks.counts import counted
from tracking_hooks.events import Missing, in_words
from tracking_hooks.run import index, journal, missing, state
from tracking_hooks.run.layout import RunFolder, SetAside


class _Lack(Struct, frozen=True):
    """What one tracker lacks of one run."""

    folder: RunFolder
    label: str
    aside: list[SetAside]
    lost: list[Missing]


def show(folders: Iterable[RunFolder], where: str) -> None:
    """Print each event that is set aside, with its reason and when it is tried again, and what the journal lacks."""
    count = lost = 0
    for lack in _found(folders):
        begin = f"{lack.folder.uid}  {lack.label}"
        for event in lack.aside:
            count += 1
            what = f"{event.hook} {event.name}".rstrip()
            click.echo(with_note(f"{begin}  event {event.seq}, {what}", event.reason, between=": "))
            click.echo(indented(_next_try(event), 4 if width() else 2))
        for line in in_words(lack.lost):
            lost += 1
            click.echo(with_note(begin, line, between="  "))
    if count:
        again = f"{counted(count, 'event')} set aside. To try all of them again:"
        between = "\n  " if width() else " "
        click.echo(f"\n{again}{between}tracking-hooks sync --retry")
    elif not lost:
        click.echo(f"Nothing is set aside {where}.")


def show_as_data(folders: Iterable[RunFolder]) -> None:
    """Print the same as JSON."""
    print_json([
        {
            "uid": lack.folder.uid,
            "run_folder": lack.folder.path,
            "label": lack.label,
            "set_aside": [
                {"event": one.seq, "hook": one.hook, "name": one.name, "reason": one.reason, "retry_at": one.retry_at}
                for one in lack.aside
            ],
            "lost": [{"first": one.first, "last": one.last, "reason": one.reason} for one in lack.lost],
        }
        for lack in _found(folders)
    ])  # fmt: skip


def _found(folders: Iterable[RunFolder]) -> Iterator[_Lack]:
    for folder in folders:
        if index.delivered(folder):
            continue
        try:
            labels = state.labels(folder)
            found = [_Lack(folder, one, folder.relay(one).read_aside(), missing.lost(folder, one)) for one in labels]
        except (journal.JournalError, OSError) as error:
            click.echo(f"{folder.uid}  {error}", err=True)
            continue
        yield from (lack for lack in found if lack.aside or lack.lost)


def _next_try(event: SetAside) -> str:
    if event.retry_at is None:
        return "not tried again by itself"
    if event.retry_at <= time.time():
        return "tried again with the next sync"
    return f"tried again after {time.strftime('%Y-%m-%d %H:%M', time.localtime(event.retry_at))}, or with the next sync"
