"""What builds images and runs containers: Docker, or podman and buildah behind docker-compose.

Where images cannot be pulled either, podman is given stand-ins under the names of the real ones: a base system by
debootstrap, and the programs from PyPI (``standins/``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker/compose.yaml"
STANDINS = Path(__file__).with_name("standins")

BASE = "docker.io/library/python:3.11-slim-bookworm"
OTHERS = {"postgres": "docker.io/library/postgres:18.6-bookworm", "seaweedfs": "docker.io/chrislusf/seaweedfs:4.48"}
TARGETS = {"mlflow": "MLFLOW_IMAGE", "tensorboard": "TENSORBOARD_IMAGE", "trainer": "TRAINER_IMAGE"}

STORAGE = """[storage]
driver = "overlay"
graphroot = "{folder}/store"
runroot = "{folder}/run"
"""
CONTAINERS = """[containers]
default_ulimits = ["nofile=8192:8192", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
PACKAGES = ("podman", "buildah", "runc", "netavark", "aardvark-dns", "iptables", "debootstrap", "docker-compose")


class Failed(Exception):
    """A command ended with an error; the message is its output."""


class Engine(ABC):
    """Runs the commands of Compose for one stack."""

    compose_command: tuple[str, ...]

    def __init__(self, project: str, settings: dict[str, str]) -> None:
        """Make an engine.

        :param project: the name under which Compose keeps these containers apart from others
        :param settings: the variables of the compose file
        """
        self.env = {**os.environ, **settings, "COMPOSE_PROJECT_NAME": project}

    @abstractmethod
    def build(self) -> None:
        """Make all images."""

    @abstractmethod
    def close(self) -> None:
        """End what was started here."""

    def compose(self, *arguments: str, check: bool = True, **settings: str) -> str:
        """Run a command of Compose and return its output.

        :raises Failed: if it ends with an error, and ``check`` is set
        """
        return self.run([*self.compose_command, "--file", str(COMPOSE_FILE), *arguments], check=check, **settings)

    def run(self, command: list[str], *, check: bool = True, **settings: str) -> str:
        """Run a command with the variables of this stack; see ``compose``."""
        done = subprocess.run(
            command, cwd=ROOT, env={**self.env, **settings}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if check and done.returncode:
            output = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{output}")
        return done.stdout

    def up(self, *services: str, **settings: str) -> None:
        """Start services, and what they depend on, without waiting for the health of the former."""
        self.compose("up", "--detach", "--no-build", *services, **settings)

    def container(self, service: str) -> str:
        """Return the id of a service's container, whether it runs or has ended."""
        return self.compose("ps", "--all", "--quiet", service).split()[-1]

    def inspect(self, service: str, field: str) -> str:
        """Return a field of a service's container, such as ``.State.ExitCode``."""
        return self.run([self.program, "inspect", "--format", f"{{{{{field}}}}}", self.container(service)]).strip()

    @property
    @abstractmethod
    def program(self) -> str:
        """The program that inspects containers."""


class Docker(Engine):
    """A Docker engine with its Compose plugin."""

    program = "docker"
    compose_command = ("docker", "compose")

    @staticmethod
    def missing() -> str:
        """Return the reason why it cannot be used here; empty if it can."""
        for command in (["docker", "info"], ["docker", "compose", "version"]):
            if shutil.which("docker") is None or subprocess.run(command, capture_output=True, check=False).returncode:
                return f"`{' '.join(command)}` fails"
        return ""

    def build(self) -> None:
        """Build with Compose; base images are pulled."""
        self.compose("--profile", "demo", "build")

    def close(self) -> None:
        """Do nothing: the engine was there before."""


class Podman(Engine):
    """Podman as root, with image storage of its own."""

    program = "podman"
    compose_command = ("docker-compose",)

    def __init__(self, project: str, settings: dict[str, str], folder: Path) -> None:
        """Start podman's service.

        :param folder: keeps the images from one time to the next; 20 GB
        """
        super().__init__(project, settings)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in {"storage.conf": STORAGE, "containers.conf": CONTAINERS}.items():
            (folder / name).write_text(text.format(folder=folder))
        self.env["CONTAINERS_STORAGE_CONF"] = str(folder / "storage.conf")
        self.env["CONTAINERS_CONF"] = str(folder / "containers.conf")
        self.env["DOCKER_HOST"] = f"unix://{folder}/podman.sock"
        self.env["COMPOSE"] = "docker-compose"
        for target, variable in TARGETS.items():
            self.env[variable] = f"localhost/tracking-hooks-{target}"
        with (folder / "service.log").open("w") as log:
            command = ["podman", "system", "service", "--time=0", f"unix://{folder}/podman.sock"]
            self._service = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)
        self._closing = threading.Event()
        self._watch = threading.Thread(target=self._check_health)
        self._watch.start()

    @staticmethod
    def missing() -> str:
        """Return the reason why it cannot be used here; empty if it can."""
        if os.getuid():
            return "it takes root"
        lacking = [name for name in PACKAGES if not _is_installed(name)]
        return f"not installed: {' '.join(lacking)}" if lacking else ""

    def build(self) -> None:
        """Build with buildah, on stand-ins where an image is not there; layers are kept for the next time."""
        if not self._has(BASE):
            self._import_base()
        for name, image in OTHERS.items():
            if not self._has(image):
                self._bud(STANDINS / name, image)
        for target, variable in TARGETS.items():
            # What PyPI has for this machine: the index of CPU builds is another registry.
            index = os.environ.get("TORCH_INDEX", "https://pypi.org/simple")
            options = ["--layers", "--target", target, "--file", "docker/Dockerfile"]
            options += ["--build-arg", f"TORCH_INDEX={index}"] if target == "trainer" else []
            self._bud(ROOT, self.env[variable], *options)

    def close(self) -> None:
        """End podman's service."""
        self._closing.set()
        self._watch.join()
        self._service.terminate()
        self._service.wait()

    def _has(self, image: str) -> bool:
        return not subprocess.run(["podman", "image", "exists", image], env=self.env, check=False).returncode

    def _import_base(self) -> None:
        system = self._folder / "base"
        if not (system / "usr/local/bin/python").exists():
            shutil.rmtree(system, ignore_errors=True)
            mirror = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
            include = "--include=ca-certificates,python3,python3-pip,python3-venv"
            self.run(["debootstrap", "--variant=minbase", include, "bookworm", str(system), mirror])
            (system / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink()
            (system / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        script = f"tar -C {system} --numeric-owner -c . | podman import --change 'CMD [\"python3\"]' - {BASE}"
        self.run(["bash", "-o", "pipefail", "-c", script])

    def _bud(self, context: Path, image: str, *options: str) -> None:
        # In Docker's format, since the other one knows no HEALTHCHECK.
        command = ["buildah", "bud", "--format", "docker", "--isolation", "chroot", "--pull-never", *options]
        for path in _pip_configuration():
            command += ["--volume", f"{path}:{path}:ro"]
        self.run([*command, "--tag", image, str(context)])

    def _check_health(self) -> None:
        """Do what podman leaves to systemd, which does not run in every container."""
        while not self._closing.wait(1):
            for container in self.run(["podman", "ps", "--quiet"], check=False).split():
                self.run(["podman", "healthcheck", "run", container], check=False)


def find(project: str, settings: dict[str, str], folder: Path) -> Engine:
    """Return an engine that works here.

    :raises Failed: with the reasons, if there is none
    """
    if not (no_docker := Docker.missing()):
        return Docker(project, settings)
    if not (no_podman := Podman.missing()):
        return Podman(project, settings, folder)
    raise Failed(f"no containers here: Docker: {no_docker}; podman: {no_podman}")


def _is_installed(package: str) -> bool:
    libraries = [Path("/usr/lib/podman"), Path("/usr/libexec/podman")]
    return bool(shutil.which(package)) or any((folder / package).exists() for folder in libraries)


def _pip_configuration() -> set[Path]:
    """Return the files and folders by which pip is told of certificates, limits and packages on this disk."""
    command = [sys.executable, "-m", "pip", "config"]
    debug = subprocess.run([*command, "debug"], capture_output=True, text=True, check=False).stdout
    values = subprocess.run([*command, "list"], capture_output=True, text=True, check=False).stdout
    found = {Path(line.partition(",")[0].strip()) for line in debug.splitlines() if line.endswith("exists: True")}
    for word in values.replace("'", " ").split():
        path = Path(word.removeprefix("file://"))
        if path.is_absolute() and path.exists():
            found.add(path.parent if word.startswith("file://") else path)  # an index links to files beside it
    return found
