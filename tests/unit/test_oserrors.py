"""Errors of the operating system: against some of them it helps to wait."""

import errno
import os
import shutil
import socket
import sqlite3
import urllib.error

import pytest

from tracking_hooks.events import is_about_one_file


def raised(call):
    with pytest.raises(OSError) as caught:  # noqa: PT011 what it says is told by the system
        call()
    return caught.value


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "file").write_text("content")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("content")
    (tmp_path / "other").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return tmp_path


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda folder: (folder / "file/below").write_text(""), id="a file where a folder should be"),
        pytest.param(lambda folder: (folder / "file").mkdir(), id="a name that is taken"),
        pytest.param(lambda folder: (folder / "full").write_text(""), id="a folder where a file should be"),
        pytest.param(lambda folder: (folder / "other").replace(folder / "full"), id="a folder with something in it"),
        pytest.param(lambda folder: (folder / ("x" * 300)).write_text(""), id="a name that is too long"),
        pytest.param(lambda folder: (folder / "loop").write_text(""), id="a link to itself"),
        pytest.param(lambda folder: shutil.copyfile(folder / "file", folder / "file"), id="a copy of a file to itself"),
    ],
)
def test_a_name_that_cannot_be_is_about_one_file(folder, call):
    assert is_about_one_file(raised(lambda: call(folder)))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EFBIG, "File too large"),
        OSError(errno.EINVAL, "Invalid argument", "a:b?"),
        OSError(errno.EILSEQ, "Illegal byte sequence", "a"),
    ],
)
def test_what_other_file_systems_refuse_is_about_one_file(error):
    assert is_about_one_file(error)


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(code, os.strerror(code), "a") for code in (
            errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOENT,
            errno.EXDEV, errno.EMFILE, errno.ETXTBSY,
        )),
        OSError(errno.EINVAL, "Invalid argument"), OSError("no answer"), ConnectionRefusedError(errno.ECONNREFUSED, ""),
        BrokenPipeError(errno.EPIPE, ""), TimeoutError("timed out"), socket.gaierror(socket.EAI_NONAME, "unknown host"),
        urllib.error.URLError(OSError(errno.ENETUNREACH, "")), sqlite3.OperationalError("disk I/O error"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_disk_a_right_a_network_and_a_share_are_about_every_file(error):
    assert not is_about_one_file(error)


@pytest.mark.parametrize(
    ("number", "code", "is_about_one"),
    [
        pytest.param(errno.EINVAL, 123, True, id="a name with characters that are not allowed"),
        pytest.param(errno.ENOENT, 206, True, id="a name that is too long"),
        pytest.param(errno.EINVAL, None, True, id="a name that open() refuses"),
        pytest.param(errno.EINVAL, 64, False, id="a share that was lost"),
        pytest.param(errno.EINVAL, 121, False, id="a share that does not answer"),
    ],
)
def test_windows_tells_names_from_lost_shares_by_a_number_of_its_own(number, code, is_about_one):
    class OfWindows(OSError):
        winerror = code  # elsewhere, errors have none

    assert is_about_one_file(OfWindows(number, "", "z:\\runs\\best.pt")) is is_about_one
