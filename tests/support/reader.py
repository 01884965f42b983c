"""A reader of a document who follows it: a shell, a home, and an environment made of built wheels."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

from tests.support import forking, programs, small_trainings
from tests.support.blocks import DATA, SHELL, Block
from tests.support.home import Home
from tests.support.processes import PATIENCE, send_session
from tests.support.wheels import Environments, packages

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SHELL = """
PS4='$ '; set -exo pipefail
{commands}
{{ set +x; }} 2>/dev/null; env -0 > {kept}/env; pwd > {kept}/folder
"""
_READ_SETTINGS = (
    "from pathlib import Path; from tracking_hooks import projectfile, settings; "
    "print(settings.read_settings(project=projectfile.read(Path.cwd())))"
)
_READER = "READER_OF_A_DOCUMENT"


class Failed(AssertionError):
    """A block cannot be run as it is shown."""


class Reader:
    """Runs the blocks of one document in their order.

    ``export`` and ``cd`` last from block to block; at a new heading, the working directory is again that of the
    document.
    """

    def __init__(
        self, folder: Path, home: Home, environments: Environments, *, installed: bool, standins: Mapping[str, str]
    ) -> None:
        """Make a reader.

        :param home: where to work; what is in its environment is set
        :param installed: whether all of our packages are installed before the document begins
        :param standins: what a document names to what stands in for it
        """
        self._home = home
        self._folder = folder
        self._environment = environments.make(folder / "environment", installed=installed)
        self._standins = {"/home/ada": str(home.folder), **standins}
        self._kept = folder / "kept"
        self._kept.mkdir(parents=True)
        self._section, self._cwd = "", home.work
        self._programs = folder / "programs"
        _have_small_trainings(self._environment)
        programs.write(self._programs, self._environment)
        self.env = {
            **{name: value for name, value in home.env.items() if not name.startswith("PYTHON")},
            "PATH": os.pathsep.join(
                map(str, [self._programs, self._environment / "bin", "/usr/local/bin:/usr/bin:/bin"])
            ),
            "VIRTUAL_ENV": str(self._environment),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(environments.wheels),
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say yes
            "PIP_QUIET": "1",
            "BROWSER": "true",
            "PYTEST_DEBUG_TEMPROOT": str(home.folder),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **forking.servers_for(environments.empty / "bin/python"),
            _READER: str(folder),
        }

    @property
    def python(self) -> Path:
        return self._environment / "bin/python"

    def run(self, block: Block) -> str:
        """Run a block; return what it has printed.

        :raises Failed: with all of that, if it cannot be run
        """
        if block.section != self._section:
            self._section, self._cwd = block.section, self._home.work
        try:
            if block.code.startswith("#!"):
                (self._cwd / "job.sh").write_text(self._with_standins(block.code), encoding="utf-8")
                return self.shell("bash job.sh")
            if block.language in SHELL:
                return self.shell(block.commands)
            if block.language in DATA:
                if block.file:
                    (self._cwd / block.file).write_text(block.code, encoding="utf-8")
                return getattr(self, f"_load_{block.language}")(block.code)
            file = self._cwd / (block.file or f"block_{block.line}.py")
            file.write_text(self._with_standins(block.code), encoding="utf-8")
            return self.shell(f"python {file.name}")
        except Exception as error:
            raise Failed(f"{block.where} cannot be run:\n\n{block.code}\n{error}") from None

    def shell(self, commands: str) -> str:
        """Run commands in bash, each of which has to succeed; return what they have printed."""
        script = _SHELL.format(kept=self._kept, commands=self._with_standins(commands))
        output = self._kept / "output"
        with output.open("w+", encoding="utf-8") as file:
            process = subprocess.Popen(
                ["bash", "-c", script], cwd=self._cwd, env=self.env, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip
            try:
                code = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                code = f"nothing, after {PATIENCE:.0f} seconds"
                send_session(process, signal.SIGTERM)
        printed = output.read_text(encoding="utf-8", errors="replace")
        if code != 0:
            raise Failed(f"{printed}\nended with {code}")
        pairs = (self._kept / "env").read_text().split("\0")
        self.env = dict(pair.split("=", 1) for pair in pairs if pair and not pair.startswith(("_=", "SHLVL=")))
        self._cwd = Path((self._kept / "folder").read_text().rstrip("\n"))
        return printed

    def close(self) -> None:
        """End the servers that the document has started, and what else it has left running."""
        for known in self._home.folder.rglob("servers/*.json"):  # of `tracking-hooks open`
            with suppress(ProcessLookupError):
                os.killpg(json.loads(known.read_text())["pid"], signal.SIGKILL)
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(_READER) == str(self._folder):
                    process.terminate()

    def _with_standins(self, text: str) -> str:
        for name, standin in self._standins.items():
            text = text.replace(name, standin)
        return text

    # -- files -----------------------------------------------------------------------------------------------------

    def _load_toml(self, code: str) -> str:
        content = tomllib.loads(code)
        if "tracking-hooks" in content.get("tool", {}):
            (self._cwd / "pyproject.toml").write_text(code, encoding="utf-8")
            return self.shell(f"python -c {json.dumps(_READ_SETTINGS)}")
        groups = content["project"]["entry-points"]
        info = packages(self._environment) / "reader-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: reader\nVersion: 1.0\n")
        lines = [
            f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups.items()
        ]
        (info / "entry_points.txt").write_text("".join(lines))
        names = [(group, name) for group, points in groups.items() for name in points]
        load = f"from importlib.metadata import entry_points as e; [e(group=g)[n].load() for g, n in {names!r}]"
        return self.shell(f"PYTHONPATH=. python -c {json.dumps(load)}")

    def _load_json(self, code: str) -> str:
        return "".join(f"{json.loads(line)}\n" for line in code.splitlines())

    def _load_yaml(self, code: str) -> str:
        return str(yaml.safe_load(code))

    def _load_ini(self, code: str) -> str:
        configparser.ConfigParser().read_string(code)
        return ""


def _have_small_trainings(environment: Path) -> None:
    shutil.copy(small_trainings.__file__, packages(environment))
    (packages(environment) / "small_trainings.pth").write_text("import small_trainings; small_trainings.install()\n")
