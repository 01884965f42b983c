"""``tracking-hooks pack``."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from tracking_hooks.cli import paths as run_paths
from tracking_hooks.counts import counted
from tracking_hooks.run import receipt, state
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.pack import Parcel, leave_receipt, owes, pack
from tracking_hooks.run.packfile import PackError, in_bytes


@click.command("pack")
@run_paths.argument
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write. By default, a new one in the current folder.",
)
@click.option("--all", "everything", is_flag=True, help="Also pack what is delivered, or was packed before.")
@click.option("--forget", is_flag=True, help="Pack nothing; deliver from here after all what was packed.")
def command(paths: tuple[Path, ...], output: Path | None, *, everything: bool, forget: bool) -> None:
    """Pack runs into one file, to be delivered from another machine.

    For a machine without a network. Packed are the runs that some tracker has not received completely: their journals
    and the files that their events name, with secrets masked as they were recorded. Carry the file to a machine with a
    network, and call `tracking-hooks unpack` there. PATHS are training folders, run folders, or folders above them.
    Without PATHS, all runs of this user on this machine are considered.

    What is packed counts as delivered here. If the file is lost, pack again with --all, or deliver from here after
    `tracking-hooks pack --forget`. Pack a run that goes on again later: the new pack extends what was unpacked.
    """
    folders = run_paths.runs(paths)
    if forget:
        count = sum(map(_forget, folders))
        click.echo(f"{counted(count, 'run')} {run_paths.where(paths)} to be delivered from here after all.")
        return
    parcels = list(_collect(folders, everything=everything))
    if not parcels:
        click.echo(f"Nothing to pack: {counted(len(folders), 'run')} {run_paths.where(paths)}.")
        return
    path = output or Path(time.strftime("runs-%Y%m%d-%H%M%S.tracking.tar.gz"))
    if path.exists():
        raise click.ClickException(f"{path} is there already. Name another file.")
    try:
        manifest = pack(parcels, path)
    except PackError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error}") from None
    for parcel in parcels:
        _say(parcel)
        try:
            leave_receipt(parcel, path)
        except OSError as error:
            click.echo(f"{parcel.folder.uid}  stays to be delivered from here as well: {error}", err=True)
    click.echo(
        f"Packed {counted(len(parcels), 'run')}, {counted(len(manifest.files), 'file')}, "
        f"{in_bytes(path.stat().st_size)}. Carry it to where the network is, and there:"
    )
    click.echo(f"  tracking-hooks unpack {shlex.quote(str(path))}")


def _forget(folder: RunFolder) -> bool:
    try:
        return receipt.forget(folder)
    except OSError as error:
        click.echo(f"{folder.uid}  skipped: {error}", err=True)
        return False


def _collect(folders: Iterable[RunFolder], *, everything: bool) -> Iterator[Parcel]:
    for folder in folders:
        try:
            if owes(folder) or everything:
                yield Parcel.of(folder)
        except (JournalError, OSError) as error:
            click.echo(f"{folder.uid}  skipped: {error}", err=True)


def _say(parcel: Parcel) -> None:
    parts = [counted(parcel.events, "event")]
    if parcel.files:
        parts.append(counted(len(parcel.files), "file"))
    if state.is_running(parcel.folder):
        parts.append("is running: pack it again when it has ended")
    click.echo(f"{parcel.folder.uid}  {', '.join(parts)}")
    for reason in parcel.gone:
        click.echo(f"  without a file: {reason}")
