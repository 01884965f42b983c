"""``tracking-hooks run``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import click

from tracking_hooks.delivery.sync import deliver
from tracking_hooks.recording import configuration
from tracking_hooks.run import index as run_index
from tracking_hooks.run import layout
from tracking_hooks.settings import SELECTION, ConfigurationError

_BOOTSTRAP = Path(__file__).parent.parent / "bootstrap"


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--trackers", "-t", metavar="NAMES", help=f"Set {SELECTION} for the command: mlflow,tensorboard.")
@click.argument("arguments", metavar="-- CMD [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(trackers: str | None, arguments: tuple[str, ...]) -> None:
    """Run a command with tracking, and wait for delivery.

    Needed with PyTorch before 2.5, which does not load tracking-hooks by itself, and useful as the entry point of a
    container: signals are passed on to the command, and its exit code is returned.
    """
    if trackers is not None:
        os.environ[SELECTION] = trackers
    try:
        settings = configuration.read_all_settings()
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    with tempfile.TemporaryDirectory(prefix="tracking-hooks-") as index:
        environment = dict(os.environ)
        environment[layout.LAUNCHER_INDEX] = index
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_BOOTSTRAP), os.environ.get("PYTHONPATH")]))
        code = _run(arguments, environment)
        for number in _heard("SIGINT", "SIGTERM", "SIGHUP"):
            signal.signal(number, signal.default_int_handler)  # from here on they end the wait
        with suppress(KeyboardInterrupt):
            for result in deliver(run_index.runs(Path(index)), settings, busy_wait=settings.exit_wait):
                if not result.done:
                    click.echo(
                        f"tracking-hooks: {result.label}: {result.note}; to deliver later: tracking-hooks sync",
                        err=True,
                    )
    sys.exit(code)


def _run(arguments: tuple[str, ...], environment: dict[str, str]) -> int:
    """Run a command and pass signals on; return its exit code, as a shell would."""
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    for number in _heard("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        signal.signal(number, pass_on)
    for number in _heard("SIGINT"):
        # A terminal sends Ctrl-C to the command as well; so does Windows, which knows no other way.
        is_sent = sys.platform == "win32" or (os.isatty(0) and os.getpid() != 1)
        signal.signal(number, _ignore if is_sent else pass_on)
    try:
        process = subprocess.Popen(arguments, env=environment)
    except OSError as error:
        click.echo(f"tracking-hooks: {arguments[0]}: {error.strerror}", err=True)
        return 127
    for number in early:
        process.send_signal(number)
    code = process.wait()
    return code if code >= 0 else 128 - code


def _heard(*names: str) -> Iterator[int]:
    """Yield the signals that this system has and that are not ignored, as by `nohup`: then the command ignores them."""
    for name in names:
        if (number := getattr(signal, name, None)) and signal.getsignal(number) != signal.SIG_IGN:
            yield number


def _ignore(_: int, __: FrameType | None) -> None:
    """Do nothing. SIG_IGN would be inherited by the command, which would then ignore Ctrl-C."""
