import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tracking_hooks.cli.shapes import CLASSES, make_shapes


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_arguments_give_the_same_files(tmp_path):
    data = make_shapes(tmp_path, train=3, val=2)
    before = files(tmp_path)
    assert len(before) == 2 * (3 + 2) + 1
    make_shapes(tmp_path, train=3, val=2)
    assert files(tmp_path) == before
    make_shapes(tmp_path, train=3, val=2, seed=1)
    assert [name for name, content in files(tmp_path).items() if content == before[name]] == [data.name]


def test_labels_are_shapes_within_the_image(tmp_path):
    make_shapes(tmp_path, train=40, val=1, size=48)
    seen = set()
    for path in (tmp_path / "labels/train").iterdir():
        lines = path.read_text().splitlines()
        assert 1 <= len(lines) <= 3
        for line in lines:
            kind, *box = line.split()
            x, y, width, height = map(float, box)
            assert width == height
            assert 0.29 < width < 0.57
            assert width / 2 - 1e-4 <= min(x, y) <= max(x, y) <= 1 - width / 2 + 1e-4
            seen.add(int(kind))
        with Image.open(tmp_path / "images/train" / f"{path.stem}.png") as picture:
            assert (picture.size, picture.mode) == ((48, 48), "RGB")
    assert seen == set(range(len(CLASSES)))


def test_the_yaml_names_folders_and_classes(tmp_path):
    folder = tmp_path / "Läufe: #1 'x'"
    data = make_shapes(folder, train=1, val=1)
    content = yaml.safe_load(data.read_text(encoding="utf-8"))
    assert content == {
        "path": str(folder),
        "train": "images/train",
        "val": "images/val",
        "names": ["square", "circle", "triangle"],
    }


def test_without_pillow_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install numpy pillow"):
        make_shapes(tmp_path)
