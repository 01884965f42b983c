"""Which errors of the operating system are about a single file: waiting does not help against them."""

from __future__ import annotations

import errno
import shutil

_ABOUT_ONE_FILE = {
    errno.EEXIST,  # the name is taken
    errno.ENOTEMPTY,  # by a folder with files in it
    errno.EISDIR,  # by a folder
    errno.ENOTDIR,  # what should be the folder is a file
    errno.ENAMETOOLONG,
    errno.ELOOP,  # a link that leads back to itself
    errno.EILSEQ,  # no name on this file system
    errno.EFBIG,  # larger than a file may be there
}

_NAMES_ON_WINDOWS = {123, 206}  # a name with characters that are not allowed; a name that is too long


def is_about_one_file(error: BaseException) -> bool:
    """Return whether an error says that one file cannot be made, by its name or its size.

    A disk that is full, a right that is missing and a network that is down concern every file. So does a path that is
    not there: it may be on a share that is not mounted.
    """
    if not isinstance(error, OSError):
        return False
    on_windows = getattr(error, "winerror", None)
    # Without a file, it is of a socket; and Windows tells by a number of its own what is of a name and what of a share.
    is_of_name = error.errno == errno.EINVAL and error.filename is not None and on_windows is None
    is_told = error.errno in _ABOUT_ONE_FILE or on_windows in _NAMES_ON_WINDOWS
    return is_told or is_of_name or isinstance(error, shutil.SameFileError)
