"""File systems of every kind, mounted for a test: a small one, one that cannot be written, one without hard links."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.support.processes import NeverCame, wait_for

ROOT = Path(__file__).parents[2]


@cache
def missing() -> str:
    """Return what keeps this machine from mounting anything; empty if nothing does."""
    with tempfile.TemporaryDirectory() as folder:
        said = _try("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder)
        if not said:
            _try("umount", folder)
    return said and f"nothing can be mounted here: {said}"


@cache
def missing_namespaces() -> str:
    """Return what keeps this machine from making process and network namespaces; empty if nothing does."""
    said = _try("unshare", "--pid", "--fork", "--mount-proc", "--net", "true")
    return said and f"no namespaces can be made here: {said}"


@contextmanager
def small(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system that holds so much; what is in the folder is hidden meanwhile."""
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)):
        yield folder


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Let nobody write to a folder, not even root."""
    with _mounted(folder, "--bind", str(folder), str(folder)):
        _run("mount", "-o", "remount,ro,bind", str(folder))
        yield folder


@contextmanager
def apart(folder: Path) -> Iterator[Path]:
    """Make a folder a mount of its own, so that no hard link leads into it."""
    with _mounted(folder, "--bind", str(folder), str(folder)):
        yield folder


@contextmanager
def linkless(folder: Path, content: Path) -> Iterator[Path]:
    """Mount a file system that knows no links and no types that we know, as those of clouds.

    :param content: an empty folder, where its content lies
    """
    command = [sys.executable, "-m", "tests.support.fuse", str(content), str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout.readline() != "mounted\n":
            raise RuntimeError(f"nothing is mounted at {folder}")
        try:
            yield folder
        finally:
            _unmount(folder)


@cache
def missing_fuse() -> str:
    """Return what keeps this machine from having a file system of a process; empty if nothing does."""
    return missing() or ("" if os.access("/dev/fuse", os.W_OK) else "there is no /dev/fuse to write to")


@contextmanager
def without_links(folder: Path, image: Path) -> Iterator[Path]:
    """Mount a file system that knows no hard links: that of memory cards and USB sticks.

    :param image: where its content lies meanwhile
    """
    with image.open("wb") as file:
        file.truncate(200 << 20)
    _run("mkfs.vfat", str(image))
    with _mounted(folder, "-o", "loop", str(image), str(folder)):
        yield folder


@cache
def missing_vfat() -> str:
    """Return what keeps this machine from having a file system without hard links; empty if nothing does."""
    if said := missing():
        return said
    if not shutil.which("mkfs.vfat"):
        return "mkfs.vfat is not installed (package dosfstools)"
    if "vfat" not in Path("/proc/filesystems").read_text():
        _try("modprobe", "vfat")
    return "" if "vfat" in Path("/proc/filesystems").read_text() else "the kernel knows no vfat"


def fill(folder: Path) -> Path:
    """Leave no room on a file system; return the file whose removal makes room again."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return ballast


@contextmanager
def _mounted(folder: Path, *arguments: str) -> Iterator[None]:
    _run("mount", *arguments)
    try:
        yield
    finally:
        _unmount(folder)


def _unmount(folder: Path) -> None:
    """Unmount a file system as soon as nobody uses it: relays go on behind a training for a moment."""
    try:
        wait_for(lambda: not _try("umount", str(folder)), f"the end of whoever uses {folder}", patience=60)
    except NeverCame:
        _try("umount", "--lazy", str(folder))
        raise


def _run(*command: str) -> None:
    if said := _try(*command):
        raise RuntimeError(f"{' '.join(command)}: {said}")


def _try(*command: str) -> str:
    """Run a command; return why it failed, or nothing."""
    env = {**os.environ, "PATH": f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/sbin"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"


def in_namespaces(command: Sequence[str], *kinds: str) -> list[str]:
    """Return a command that runs in namespaces of its own, as in a container.

    :param kinds: ``pid``, ``net``
    """
    own = ["--pid", "--fork", "--kill-child", "--mount-proc"] if "pid" in kinds else []
    return ["unshare", *own, *(["--net"] if "net" in kinds else []), *command]
