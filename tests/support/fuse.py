"""``python -m tests.support.fuse FOLDER MOUNTPOINT``: show a folder as a file system that knows no links of any kind.

As memory cards, Google Drive and many network shares do. It speaks the kernel's protocol itself (``linux/fuse.h``), so
nothing has to be installed. It ends when it is unmounted.
"""

# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH116, PTH208
from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_MINOR = 31
_LARGEST = 128 << 10
"""Bytes of a write."""
_NO_ANSWER = (2, 36, 42)
"""FORGET, INTERRUPT, BATCH_FORGET."""
_MODE, _SIZE, _TIMES, _HANDLE, _ATIME_NOW, _MTIME_NOW = 1, 8, 16 | 32, 64, 128, 256


class Mirror:
    """Answers the kernel from a folder: a node's number stands for a path, that of an open file is a descriptor."""

    def __init__(self, folder: Path) -> None:
        self._paths: dict[int, str] = {1: str(folder)}
        self._nodes: dict[str, int] = {str(folder): 1}
        self._last = 1
        self._listings: dict[int, list[bytes]] = {}
        self._calls: dict[int, Callable[[int, bytes], bytes]] = {
            1: self.lookup, 3: self.getattr, 4: self.setattr, 8: self.mknod, 9: self.mkdir, 10: self.unlink,
            11: self.rmdir, 12: self.rename, 14: self.open, 15: self.read, 16: self.write, 17: self.statfs,
            18: self.release, 20: self.fsync, 26: self.init, 27: self.opendir, 28: self.readdir, 29: self.releasedir,
            35: self.create, 45: self.rename2,
        }  # fmt: skip

    def answer(self, operation: int, node: int, data: bytes) -> bytes:
        """Do what is asked; return what there is to say.

        :raises OSError: if it cannot be done; with EPERM for links, hard and symbolic ones
        """
        if operation in (6, 13):
            raise OSError(errno.EPERM, "no links here")
        if operation not in self._calls:
            raise OSError(errno.ENOSYS, f"operation {operation}")
        return self._calls[operation](node, data)

    def init(self, _: int, data: bytes) -> bytes:
        ahead = struct.unpack_from("<III", data)[2]
        return struct.pack("<IIIIHHIIHHI7I", 7, _MINOR, ahead, 0, 0, 0, _LARGEST, 1, 0, 0, 0, *[0] * 7)

    # -- names ----------------------------------------------------------------------------------------------------

    def _below(self, node: int, name: bytes) -> str:
        return f"{self._paths[node]}/{os.fsdecode(name.split(bytes(1))[0])}"

    def _entry(self, path: str) -> bytes:
        stat = os.lstat(path)
        if path not in self._nodes:
            self._last += 1
            self._nodes[path], self._paths[self._last] = self._last, path
        return struct.pack("<QQQQII", self._nodes[path], 0, 0, 0, 0, 0) + self._attributes(stat, self._nodes[path])

    @staticmethod
    def _attributes(stat: os.stat_result, node: int) -> bytes:
        times = (stat.st_atime_ns, stat.st_mtime_ns, stat.st_ctime_ns)
        seconds, rests = [time // 10**9 for time in times], [time % 10**9 for time in times]
        return _ATTRIBUTES.pack(
            node, stat.st_size, stat.st_blocks, *seconds, *rests, stat.st_mode, 1, stat.st_uid, stat.st_gid, 0, 4096, 0
        )

    def _forget(self, path: str) -> None:
        self._nodes.pop(path, None)  # the number stays with whoever has it open

    def lookup(self, node: int, data: bytes) -> bytes:
        return self._entry(self._below(node, data))

    def mknod(self, node: int, data: bytes) -> bytes:
        path = self._below(node, data[16:])
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, struct.unpack_from("<I", data)[0] & 0o7777))
        return self._entry(path)

    def mkdir(self, node: int, data: bytes) -> bytes:
        path = self._below(node, data[8:])
        os.mkdir(path, struct.unpack_from("<I", data)[0])
        return self._entry(path)

    def unlink(self, node: int, data: bytes) -> bytes:
        path = self._below(node, data)
        os.unlink(path)
        self._forget(path)
        return b""

    def rmdir(self, node: int, data: bytes) -> bytes:
        path = self._below(node, data)
        os.rmdir(path)
        self._forget(path)
        return b""

    def rename(self, node: int, data: bytes) -> bytes:
        return self._rename(node, struct.unpack_from("<Q", data)[0], data[8:])

    def rename2(self, node: int, data: bytes) -> bytes:
        target, flags = struct.unpack_from("<QI", data)
        if flags:
            raise OSError(errno.EINVAL, "only plain renaming")
        return self._rename(node, target, data[16:])

    def _rename(self, node: int, target: int, names: bytes) -> bytes:
        before, after = names.split(bytes(1))[:2]
        old, new = self._below(node, before), self._below(target, after)
        os.rename(old, new)
        self._forget(new)
        for path in [path for path in self._nodes if path == old or path.startswith(f"{old}/")]:
            moved = new + path[len(old) :]
            number = self._nodes.pop(path)
            self._nodes[moved], self._paths[number] = number, moved
        return b""

    # -- attributes -------------------------------------------------------------------------------------------------

    def getattr(self, node: int, data: bytes) -> bytes:
        flags, _, handle = struct.unpack_from("<IIQ", data)
        stat = os.fstat(handle) if flags & 1 else os.lstat(self._paths[node])
        return struct.pack("<QII", 0, 0, 0) + self._attributes(stat, node)

    def setattr(self, node: int, data: bytes) -> bytes:
        valid, _, handle, size, _, atime, mtime, _, *rest = struct.unpack_from("<IIQQQQQQIIIIIII", data)
        at: int | str = handle if valid & _HANDLE else self._paths[node]
        if valid & _SIZE:
            os.truncate(at, size)
        if valid & _MODE:
            os.chmod(at, rest[3] & 0o7777)
        if valid & (_ATIME_NOW | _MTIME_NOW):
            os.utime(at)
        elif valid & _TIMES:
            os.utime(at, ns=(atime * 10**9 + rest[0], mtime * 10**9 + rest[1]))
        stat = os.stat(at)
        return struct.pack("<QII", 0, 0, 0) + self._attributes(stat, node)

    def statfs(self, node: int, _: bytes) -> bytes:
        found = os.statvfs(self._paths[node])
        numbers = (found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree)
        return struct.pack("<5Q4I6I", *numbers, found.f_bsize, 255, found.f_frsize, 0, *[0] * 6)

    # -- files ----------------------------------------------------------------------------------------------------

    def open(self, node: int, data: bytes) -> bytes:
        mode = struct.unpack_from("<I", data)[0] & os.O_ACCMODE
        return struct.pack("<QII", os.open(self._paths[node], mode), 0, 0)

    def create(self, node: int, data: bytes) -> bytes:
        flags, mode = struct.unpack_from("<II", data)
        path = self._below(node, data[16:])
        handle = os.open(path, os.O_CREAT | os.O_RDWR | (flags & os.O_EXCL), mode & 0o7777)
        return self._entry(path) + struct.pack("<QII", handle, 0, 0)

    def read(self, _: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", data)
        return os.pread(handle, size, offset)

    def write(self, _: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", data)
        return struct.pack("<II", os.pwrite(handle, data[40 : 40 + size], offset), 0)

    def fsync(self, _: int, data: bytes) -> bytes:
        os.fsync(struct.unpack_from("<Q", data)[0])
        return b""

    def release(self, _: int, data: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", data)[0])
        return b""

    # -- folders --------------------------------------------------------------------------------------------------

    def opendir(self, node: int, _: bytes) -> bytes:
        self._last += 1
        self._listings[self._last] = list(_dirents(self._paths[node]))
        return struct.pack("<QII", self._last, 0, 0)

    def readdir(self, _: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", data)
        some = b""
        for entry in self._listings[handle][offset:]:
            if len(some) + len(entry) > size:
                break
            some += entry
        return some

    def releasedir(self, _: int, data: bytes) -> bytes:
        del self._listings[struct.unpack_from("<Q", data)[0]]
        return b""


def _dirents(path: str) -> Iterator[bytes]:
    for number, name in enumerate([b".", b"..", *map(os.fsencode, os.listdir(path))], 1):
        entry = struct.pack("<QQII", 1 << 32, number, len(name), 0) + name
        yield entry + bytes(-len(entry) % 8)


def main(folder: str, mountpoint: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"linkless", os.fsencode(mountpoint), b"fuse.linkless", 0, options.encode()):
        code = ctypes.get_errno()
        sys.exit(f"{mountpoint}: {os.strerror(code)}")
    print("mounted", flush=True)
    os.umask(0)  # the kernel has applied that of who asks
    mirror = Mirror(Path(folder))
    while True:
        try:
            asked = os.read(device, _LARGEST + 4096)
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                return
            continue
        length, operation, unique, node, *_ = _IN.unpack_from(asked)
        try:
            said, code = mirror.answer(operation, node, asked[_IN.size : length]), 0
        except (OSError, KeyError) as error:
            said, code = b"", getattr(error, "errno", errno.ENOENT) or errno.EIO
        if operation not in _NO_ANSWER:
            with suppress(OSError):  # who asked was killed
                os.write(device, _OUT.pack(_OUT.size + len(said), -code, unique) + said)


if __name__ == "__main__":
    main(*sys.argv[1:])
