"""What a script gives by hand, as files that are kept: files of its own, pictures, tables."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from tracking_hooks import redact
from tracking_hooks.events import Artifact
from tracking_hooks.predictions import LONG_SIDE, write_archive
from tracking_hooks.recording import naming
from tracking_hooks.recording.complaints import describe
from tracking_hooks.recording.naming import Unfit
from tracking_hooks.run import copies, files, portable
from tracking_hooks.run.copies import LARGE
from tracking_hooks.run.layout import RunFolder

MOST = 1_000_000_000
"""Bytes up to which a file is copied before the call returns."""

_PICTURES = (".png", ".jpg", ".jpeg")
_QUALITY = 85
"""Of a JPEG file, of 100."""


def artifacts(
    folder: RunFolder, path: object, called: object, *, large_texts: bool, complain: Callable[[str], None]
) -> list[Artifact]:
    """Keep a file, or each file of a folder, as it is now; of a folder, what cannot be kept is left out, and said.

    :param called: its name in the trackers; None: that of the file
    :raises Unfit, OSError: if it cannot be kept
    :raises files.TooLarge: if it is a text that is too large to be masked
    """
    source = _path(path)
    whole = naming.of_file(source.name if called is None else called)
    if not source.is_dir():
        return [_file(folder, source, whole, files.kind(source), large_texts=large_texts, complain=complain)]
    found = []
    for member in sorted(member for member in source.rglob("*") if member.is_file()):
        try:
            title = naming.of_file(f"{whole}/{member.relative_to(source).as_posix()}")
            found.append(_file(folder, member, title, files.kind(member), large_texts=large_texts, complain=complain))
        except files.TooLarge as error:
            complain(str(error))
        except Unfit as error:
            complain(f"{member} is not delivered: {error}")
        except OSError as error:
            complain(f"{member} is not delivered: {describe(error)}")
    return found


def _path(path: object) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise Unfit(f"path={path!r} is not the path of a file")
    source = Path(os.fsdecode(path)).absolute()
    if not source.exists():
        raise Unfit(f"path={str(path)!r} does not exist")
    return source


def _file(
    folder: RunFolder,
    path: Path,
    called: str,
    kind: Literal["plot", "table", "config", "file"],
    *,
    large_texts: bool,
    complain: Callable[[str], None],
) -> Artifact:
    source = files.source(folder, path, large_texts=large_texts)
    if source == path:
        size = path.stat().st_size
        if size > MOST:  # a link is made when it is recorded
            complain(f"{path} ({size / 1e9:.1f} GB) is linked, not copied: do not write to it before it is delivered")
        else:
            source = _copy(folder, path)
    size, sha = files.digest(source)
    return Artifact(path=source, kind=kind, name=called, size=size, digest=sha)


def _copy(folder: RunFolder, path: Path) -> Path:
    copy = copies.copy_now(folder, path)
    _, sha = files.digest(copy)
    target = folder.files / f"{sha}{path.suffix}"
    portable.replace(copy, target)
    return target


def _write(folder: RunFolder, content: bytes, suffix: str) -> tuple[Path, str]:
    folder.files.mkdir(mode=0o700, exist_ok=True)
    sha = hashlib.sha256(content).hexdigest()
    target = folder.files / f"{sha}{suffix}"
    draft = folder.files / f".{target.name}.{os.getpid()}.part"
    draft.touch(mode=0o600)
    draft.write_bytes(content)
    portable.replace(draft, target)
    return target, sha


# -- pictures -------------------------------------------------------------------------------------------------


def image(folder: RunFolder, called: object, picture: object) -> Artifact:
    """Keep a picture: a file, an image of Pillow, an array, a tensor, or a figure of Matplotlib.

    :raises Unfit, OSError: if it is none, or cannot be kept
    """
    title = naming.of_file(called)
    if isinstance(picture, (str, os.PathLike)):
        path = _path(picture)
        if path.suffix.lower() in _PICTURES:
            return _file(folder, path, title, "plot", large_texts=False, complain=lambda _: None)
        content = _from_file(path)
    else:
        content = _png(picture)
    target, sha = _write(folder, content, ".png")
    return Artifact(path=target, kind="plot", name=title, size=len(content), digest=sha)


def _from_file(path: Path) -> bytes:
    try:
        from PIL import Image

        with Image.open(path) as opened:
            return _saved(opened.convert("RGBA" if "A" in opened.getbands() else "RGB"), format="png")
    except (ImportError, OSError) as error:
        raise Unfit(f"image={str(path)!r} is no picture that can be read: {error}") from error


def small(picture: object) -> tuple[bytes, tuple[int, int]]:
    """Return a JPEG file of a picture, reduced as it is in an archive, and its own width and height.

    :param picture: as ``image`` takes it; a file is turned as it says itself
    :raises Unfit: if it is none
    """
    source = _path(picture) if isinstance(picture, (str, os.PathLike)) else io.BytesIO(_png(picture))
    try:
        from PIL import Image, ImageOps
    except ImportError:
        return _small_of_opencv(picture, source)
    try:
        with Image.open(source) as opened:
            whole = ImageOps.exif_transpose(opened)
            if whole.mode.startswith("I"):  # 16 bits
                whole = whole.convert("I").point(lambda value: value * (1 / 256)).convert("L")
            shown = whole.convert("RGB")
    except (ImportError, OSError) as error:  # a library of its own may be missing for a kind of picture
        raise Unfit(f"image={str(picture)!r} is no picture that can be read: {error}") from error
    shown.thumbnail((LONG_SIDE, LONG_SIDE))
    return _saved(shown, format="jpeg", quality=_QUALITY), whole.size


def _small_of_opencv(picture: object, source: Path | io.BytesIO) -> tuple[bytes, tuple[int, int]]:
    import cv2
    import numpy

    content = source.read_bytes() if isinstance(source, Path) else source.getvalue()
    shown = cv2.imdecode(numpy.frombuffer(content, numpy.uint8), cv2.IMREAD_COLOR) if content else None
    if shown is None:
        raise Unfit(f"image={str(picture)!r} is no picture that can be read")
    height, width = shown.shape[:2]
    if (by := LONG_SIDE / max(width, height)) < 1:
        smaller = max(round(width * by), 1), max(round(height * by), 1)
        shown = cv2.resize(shown, smaller, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(data), (width, height)


def _png(picture: Any) -> bytes:
    """Encode a picture; a library that the script has not imported is not the one it is made with."""
    pillow, torch, numpy = (sys.modules.get(module) for module in ("PIL.Image", "torch", "numpy"))
    if pillow and isinstance(picture, pillow.Image):
        whole = picture if picture.mode in ("1", "L", "LA", "RGB", "RGBA", "P", "I;16") else picture.convert("RGB")
        return _saved(whole, format="png")
    if callable(getattr(picture, "savefig", None)):
        return _saved(picture, "savefig", format="png")
    if torch and isinstance(picture, torch.Tensor):
        tensor = picture.detach().cpu()
        picture = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        if picture.ndim == 3:
            picture = picture.transpose(1, 2, 0)
    if not (numpy and isinstance(picture, numpy.ndarray)):
        kinds = "a path, an image of Pillow, an array (height, width, channels) or a tensor (channels, height, width)"
        raise Unfit(f"image={type(picture).__name__} is none of: {kinds}")
    return _encoded(_bytes(numpy, picture))


def _bytes(numpy: Any, array: Any) -> Any:
    """Return an array of bytes: floats are from 0 to 1."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or 0 in array.shape:
        raise Unfit(f"image: an array of shape {tuple(array.shape)} is not one picture (height, width, channels)")
    if array.dtype.kind == "f":
        array = (numpy.nan_to_num(array).clip(0.0, 1.0) * 255).round()
    elif array.dtype.kind == "b":
        array = array * numpy.uint8(255)
    elif array.dtype.kind not in "iu":
        raise Unfit(f"image: an array of {array.dtype} is no picture")
    return numpy.ascontiguousarray(array.clip(0, 255).astype("uint8"))


def _encoded(array: Any) -> bytes:
    try:
        from PIL import Image
    except ImportError:
        import cv2

        order = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[array.shape[2] if array.ndim > 2 else 2]
        _, data = cv2.imencode(".png", array if order is None else cv2.cvtColor(array, order))
        return bytes(data)
    return _saved(Image.fromarray(array), format="png")


def _saved(picture: Any, method: str = "save", **options: Any) -> bytes:
    buffer = io.BytesIO()
    getattr(picture, method)(buffer, **options)
    return buffer.getvalue()


def archive(folder: RunFolder, called: str, members: Mapping[str, bytes]) -> Artifact:
    """Keep pictures as one file, the same for the same pictures.

    :param members: as ``predictions.write_archive`` takes them
    :raises OSError: if they cannot be kept
    """
    content = write_archive(members)
    target, sha = _write(folder, content, ".zip")
    return Artifact(path=target, kind="file", name=called, size=len(content), digest=sha)


# -- tables ---------------------------------------------------------------------------------------------------


def table(folder: RunFolder, called: object, rows: object, *, large_texts: bool) -> Artifact:
    """Keep a table: a list of rows as dicts, a dict of columns, or a data frame of pandas or Polars.

    :raises Unfit, OSError: if it is none, or cannot be kept
    """
    title = naming.of_file(called)
    columns, data = _columns(rows)
    content = _table(columns, data)
    if len(content) <= LARGE:
        masked = [[redact.values(cell, column) for column, cell in zip(columns, row, strict=True)] for row in data]
        content = _table(columns, masked)
    elif not large_texts:
        raise Unfit(
            f"rows: a table of {len(content) / 1e6:.1f} MB is not delivered, since secrets are masked in texts of up "
            "to 1 MB only; with TRACKING_HOOKS_LARGE_TEXTS=on, larger ones are delivered as they are"
        )
    target, sha = _write(folder, content, ".json")
    return Artifact(path=target, kind="table", name=title, size=len(content), digest=sha)


def _table(columns: list[str], data: list[list[Any]]) -> bytes:
    return json.dumps({"columns": columns, "data": data}, ensure_ascii=False).encode(errors="replace")


def _columns(rows: Any) -> tuple[list[str], list[list[Any]]]:
    if callable(getattr(rows, "to_dict", None)):
        rows = rows.to_dict(as_series=False) if hasattr(rows, "to_dicts") else rows.to_dict("list")  # Polars, pandas
    if isinstance(rows, Mapping):
        values = [
            list(column) for column in rows.values() if not isinstance(column, str) and hasattr(column, "__iter__")
        ]
        if len(values) != len(rows) or len({len(column) for column in values}) > 1:
            raise Unfit("rows: the columns of a table are lists of the same length")
        return [str(column) for column in rows], [[_cell(cell) for cell in row] for row in zip(*values, strict=True)]
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, Mapping) for row in rows):
        raise Unfit(f"rows={type(rows).__name__} is no table: give a list of dicts, a dict of columns or a data frame")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [str(column) for column in columns], [[_cell(row.get(column)) for column in columns] for row in rows]


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    item = value.item() if callable(getattr(value, "item", None)) and getattr(value, "size", 1) == 1 else value
    if isinstance(item, int):
        return int(item)
    if isinstance(item, float):
        return float(item) if math.isfinite(item) else None
    return item if isinstance(item, (bool, str)) else str(item)


def csv(folder: RunFolder, called: str, content: bytes) -> Artifact:
    """Keep a CSV file of up to ``copies.LARGE`` bytes, with secrets masked.

    :raises OSError: if it cannot be kept
    """
    masked = redact.text(content.decode(errors="surrogateescape")).encode(errors="surrogateescape")
    target, sha = _write(folder, masked, ".csv")
    return Artifact(path=target, kind="table", name=called, size=len(masked), digest=sha)
