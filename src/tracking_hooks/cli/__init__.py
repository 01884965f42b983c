"""The command ``tracking-hooks``."""

from __future__ import annotations

from importlib import import_module

import click

_COMMANDS = (
    "demo",
    "doctor",
    "group",
    "new",
    "open",
    "pack",
    "plugins",
    "prune",
    "run",
    "simulate",
    "status",
    "stop",
    "sync",
    "unpack",
    "worst",
)


class _LazyGroup(click.Group):
    """Imports a command only when it is called: `run` delays every training that it starts."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"{__name__}.{cmd_name}").command
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tracking-hooks")
def main() -> None:
    """Track YOLO trainings in MLflow, TensorBoard, W&B and others.

    To track a training, no command is needed: set TRACKING_HOOKS=mlflow,tensorboard and train as usual. These commands
    show, deliver and manage what was recorded.
    """
