"""What has to be known of the file system that a folder is on: whether other machines see it, and its clock."""

from __future__ import annotations

import functools
import os
import secrets
import time
from pathlib import Path

import psutil

from tracking_hooks.run import portable

_LOCAL = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs", "overlay", "aufs"}
    | {"tmpfs", "ramfs", "rootfs", "vfat", "msdos", "exfat", "fuseblk", "ntfs", "ntfs3"}
    | {"apfs", "hfs", "hfsplus", "ufs"}
)
"""Types that one machine alone mounts. One that is not known is taken for a shared one."""


@functools.cache
def is_local(folder: Path) -> bool:
    """Whether no other machine sees a folder, as far as the type of its file system tells."""
    place = folder.resolve()
    try:
        mounts = reversed(psutil.disk_partitions(all=True))  # of two at one place, the later one is seen
    except OSError:
        return False
    above = [mount for mount in mounts if place.is_relative_to(mount.mountpoint)]
    nearest = max(above, key=lambda mount: len(mount.mountpoint), default=None)
    return nearest is not None and nearest.fstype.lower() in _LOCAL and "remote" not in nearest.opts.split(",")


def touch(path: Path) -> None:
    """Give a file the time of its file system's clock; make it, for its owner only, if it is not there.

    :raises OSError: if that cannot be done
    """
    try:
        os.utime(path)
    except FileNotFoundError:
        os.close(portable.open_file(path, os.O_WRONLY | os.O_CREAT))


def last_change(path: Path) -> float:
    """Return the time of a file, by the clock of its file system.

    :raises OSError: if it cannot be opened
    """
    fd = os.open(path, os.O_RDONLY)  # opened, since NFS answers for a path from memory
    try:
        return os.fstat(fd).st_mtime
    finally:
        os.close(fd)


def age(path: Path) -> float:
    """Return the seconds since a file was changed, by one clock: a file is made beside it, and its time looked at.

    :raises OSError: if it cannot be opened
    """
    changed = last_change(path)
    probe = path.with_name(f".clock-{secrets.token_hex(8)}")
    try:
        touch(probe)
        return last_change(probe) - changed
    except OSError:
        return time.time() - changed  # nothing can be written there
    finally:
        probe.unlink(missing_ok=True)
