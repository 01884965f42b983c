"""The file in which runs are carried to where the network is.

A tar, compressed with gzip: the manifest, then what the manifest lists, in that order, and nothing else. A journal is
named by its run and a file by its content, so no name in it leads anywhere, and each content is there once.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec
from msgspec import Meta, Struct

from tracking_hooks.run import portable
from tracking_hooks.run.layout import Replay

FORMAT = 1

_MANIFEST = "manifest.json"
_MANIFEST_LIMIT = 64 << 20
_CHUNK = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
_END = 2 * tarfile.RECORDSIZE
"""Bytes of zeros that may stand behind the last member."""

Sha = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Size = Annotated[int, Meta(ge=0)]
Uid = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}\Z")]
FileName = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}(\.[^/\\\x00]{1,150}|/(?!\.{1,2}\Z)[^/\\\x00]{1,150})?\Z")]
"""Among a run's own copies: the digest of the content, and the suffix or, in a folder of that name, the file's name."""


class PackError(Exception):
    """A pack that cannot be written or read; the message is a sentence that names it."""


class Content(Struct, frozen=True, kw_only=True):
    """What a member of the tar holds."""

    sha256: Sha
    size: Size


class PackedRun(Struct, frozen=True, kw_only=True):
    """A run in a pack."""

    uid: Uid
    journal: Content
    events: Size
    files: list[FileName] = []
    """The files that its events name."""
    replays: list[Replay] = []
    """Destinations that were added to it."""
    redirects: list[Replay] = []
    """Destinations that stand in the place of recorded ones."""
    forgotten: list[str] = []
    """Recorded plugins that it is not delivered to any more."""


class Manifest(Struct, frozen=True, kw_only=True):
    """The first member."""

    format: int
    created: float
    runs: list[PackedRun]
    files: list[Content]

    def members(self) -> Iterator[tuple[str, Content]]:
        """Return the name of each further member, and what it holds, in order."""
        for run in self.runs:
            yield journal_name(run.uid), run.journal
        for content in self.files:
            yield file_name(content.sha256), content

    @property
    def size(self) -> int:
        """How many bytes it takes on disk."""
        return sum(content.size for _, content in self.members())

    def contradiction(self) -> str:
        """Say what is wrong with it, if something is."""
        uids = [run.uid.casefold() for run in self.runs]
        digests = {content.sha256 for content in self.files}
        if len(uids) != len(set(uids)) or len(digests) != len(self.files):
            return "it lists something twice"
        if any(name[:64] not in digests for run in self.runs for name in run.files):
            return "it lacks a file of one of its runs"
        return ""


def journal_name(uid: str) -> str:
    """Return the member that holds a run's journal."""
    return f"journals/{uid}.jsonl"


def file_name(sha256: str) -> str:
    """Return the member that holds a file."""
    return f"files/{sha256}"


def write(path: Path, manifest: Manifest, sources: Mapping[str, Path]) -> None:
    """Write a pack in one step, readable by its owner only.

    :param sources: member to where its content is; of a file that has grown, the beginning
    :raises PackError: if a file is another one by now
    :raises OSError: if it cannot be written, or a file cannot be read
    """
    try:
        msgspec.convert(msgspec.to_builtins(manifest), Manifest)
    except msgspec.ValidationError as error:
        raise PackError(f"{path} would hold what nobody could unpack: {error}") from error
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.touch(mode=0o600)
        with draft.open("wb") as file:
            with (
                gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
                tarfile.open(mode="w|", fileobj=packed, format=tarfile.GNU_FORMAT) as tar,
            ):
                # Not by msgspec: the standard library also writes a suffix that is no UTF-8.
                data = json.dumps(msgspec.to_builtins(manifest), indent=1).encode()
                _add(tar, _MANIFEST, len(data), BytesIO(data))
                for name, content in manifest.members():
                    with sources[name].open("rb") as source:
                        measured = _Measured(source)
                        _add(tar, name, content.size, measured)
                    if measured.sha.hexdigest() != content.sha256:
                        raise PackError(f"{sources[name]} was changed while it was packed: try again")
            file.flush()
            os.fsync(file.fileno())  # what it holds counts as delivered
        portable.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


class _Measured:
    """A file whose digest is taken while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.sha.update(data)
        return data


def _add(tar: tarfile.TarFile, name: str, size: int, source: Any) -> None:
    member = tarfile.TarInfo(name)  # without times, owners and names of this machine
    member.size, member.mode = size, 0o600
    tar.addfile(member, source)


def unfold(path: Path, into: Path) -> Manifest:
    """Write the members of a pack to a folder, each under its name, once it is clear that there is room for them.

    :raises PackError: if it is not what was packed, in whatever way; then some members may be there
    :raises OSError: if it cannot be opened, or a member cannot be written
    """
    with path.open("rb") as file, gzip.GzipFile(fileobj=file) as packed:
        try:
            return _unfold(packed, into)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise PackError(f"{path} is damaged or incomplete: {str(error) or 'it ends too early'}") from error
        except (tarfile.TarError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise PackError(f"{path} is damaged, or no pack of tracking-hooks: {error}") from error
        except PackError as error:
            raise PackError(f"{path}: {error}") from error


def _unfold(packed: BufferedIOBase, into: Path) -> Manifest:
    manifest = _manifest(packed)
    if wrong := manifest.contradiction():
        raise PackError(f"it was changed: {wrong}")
    free = shutil.disk_usage(into).free
    if manifest.size > free:
        raise PackError(f"it holds {in_bytes(manifest.size)}, and {in_bytes(free)} are free in {into.parent}")
    for name, content in manifest.members():
        size = _next(packed, name)
        if size != content.size:
            raise PackError(f"it was changed: {name} is not as large as its manifest says")
        target = into / name
        target.parent.mkdir(mode=0o700, exist_ok=True)
        if _copy(packed, target, size) != content.sha256:
            raise PackError(f"it was changed or damaged: {name} is not what its manifest says")
    rest = packed.read(_END + 1)
    if len(rest) > _END or rest.strip(b"\0"):
        raise PackError("it was changed: more is in it than its manifest says")
    return manifest


def _manifest(packed: BufferedIOBase) -> Manifest:
    size = _next(packed, _MANIFEST)
    if size > _MANIFEST_LIMIT:
        raise PackError("its manifest is too large")
    data = json.loads(_exactly(packed, size))
    _exactly(packed, -size % _BLOCK)
    if isinstance(data, dict) and isinstance(data.get("format"), int) and data["format"] > FORMAT:
        raise PackError("it was written by a newer tracking-hooks: upgrade it to unpack this")
    return msgspec.convert(data, Manifest)


def _next(packed: BufferedIOBase, name: str) -> int:
    """Read the header of the member that has to come now; return how large it is.

    Not by ``TarFile``: that follows headers of extensions, which may be of any size, and takes what comes.
    """
    header = _exactly(packed, _BLOCK)
    if not header.strip(b"\0"):
        raise PackError(f"it was changed: {name} is missing")
    member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    if member.name != name or member.type != tarfile.REGTYPE or member.size < 0:
        raise PackError(f"it was changed: {member.name!r} is where {name} should be")
    return member.size


def _copy(packed: BufferedIOBase, target: Path, size: int) -> str:
    sha = hashlib.sha256()
    target.touch(mode=0o600)
    with target.open("wb") as file:
        left = size
        while left:
            chunk = _exactly(packed, min(left, _CHUNK))
            sha.update(chunk)
            file.write(chunk)
            left -= len(chunk)
    _exactly(packed, -size % _BLOCK)
    return sha.hexdigest()


def _exactly(packed: BufferedIOBase, size: int) -> bytes:
    data = packed.read(size)
    if len(data) != size:
        raise EOFError("it ends too early")
    return data


def in_bytes(size: float) -> str:
    """Say a size for a person."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
