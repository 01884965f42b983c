"""The file in which W&B stores a run, its transaction log: a head, then records in the blocks of a LevelDB log.

A record is a protobuf. A record that does not fit into the rest of a block of 32 KiB is split.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

HEAD = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)

_BLOCK = 32 * 1024
_CHUNK = struct.Struct("<IHB")  # checksum, length, kind
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def read(path: Path, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Read records, up to the first incomplete one.

    :param offset: where to start: 0, or an end that an earlier call returned
    :returns: for each record its end in the file, and its bytes
    """
    with path.open("rb") as file:
        base = offset or len(HEAD)
        if file.read(len(HEAD)) != HEAD:
            return
        file.seek(base)
        data = file.read()
    at, parts = 0, bytearray()
    while True:
        left = _BLOCK - (base + at) % _BLOCK
        if left < _CHUNK.size:
            at += left
            continue
        if at + _CHUNK.size > len(data):
            return
        checksum, length, kind = _CHUNK.unpack_from(data, at)
        body = data[at + _CHUNK.size : at + _CHUNK.size + length]
        if len(body) < length or _checksum(kind, body) != checksum:
            return
        at += _CHUNK.size + length
        if kind in {_FULL, _FIRST}:
            parts.clear()
        parts += body
        if kind in {_FULL, _LAST}:
            yield base + at, bytes(parts)


def framed(record: bytes, offset: int) -> bytes:
    """Return the bytes of a record at this position of a file."""
    framed = bytearray()
    kind, rest = _FULL, record
    while True:
        left = _BLOCK - (offset + len(framed)) % _BLOCK
        if left < _CHUNK.size:
            framed += bytes(left)
            continue
        part, rest = rest[: left - _CHUNK.size], rest[left - _CHUNK.size :]
        begun = kind != _FULL
        kind = (_MIDDLE if begun else _FIRST) if rest else (_LAST if begun else _FULL)
        framed += _CHUNK.pack(_checksum(kind, part), len(part), kind) + part
        if not rest:
            return bytes(framed)


def _checksum(kind: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(bytes([kind])))
