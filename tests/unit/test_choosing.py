"""Which images are shown: by chance, the same ones in each training, half of them with objects."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace

import pytest

pytest.importorskip("ultralytics")

from tracking_hooks.hosts.ultralytics import choosing

NAMES = {f"val/{number:04}.jpg": number % 10 == 0 for number in range(1000)}


def test_half_of_them_have_objects_and_come_first():
    chosen = choosing.choose(NAMES, 16, "coco")
    assert len(set(chosen)) == 16
    assert all(NAMES[name] for name in chosen[:8])
    assert sum(NAMES[name] for name in chosen[8:]) < 8
    assert chosen == choosing.choose(dict(reversed(NAMES.items())), 16, "coco")
    assert chosen != choosing.choose(NAMES, 16, "another data set")


def test_where_few_have_objects_or_there_are_few_images_the_others_are_taken():
    assert len(choosing.choose(dict.fromkeys(NAMES, False), 16, "")) == 16
    assert sorted(choosing.choose({"a": True, "b": False}, 16, "")) == ["a", "b"]
    assert choosing.choose({}, 16, "") == []


def test_they_are_spread_over_the_whole_set_and_one_more_image_changes_one_at_most():
    chosen = choosing.choose(NAMES, 16, "coco")
    assert max(chosen) > "val/0700.jpg"
    assert min(chosen) < "val/0300.jpg"
    for more in range(50):
        now = choosing.choose({**NAMES, f"val/more-{more}.jpg": False}, 16, "coco")
        assert len(set(now) - set(chosen)) <= 1


def test_names_are_below_the_root_with_forward_slashes_on_each_system():
    windows = [PureWindowsPath(r"C:\data\images\val\a\1.jpg"), PureWindowsPath(r"C:\data\images\val\b\1.jpg")]
    posix = [PurePosixPath("/data/images/val/a/1.jpg"), PurePosixPath("/data/images/val/b/1.jpg")]
    expected = ["images/val/a/1.jpg", "images/val/b/1.jpg"]
    assert choosing.names(windows, [PureWindowsPath(r"C:\data")]) == expected
    assert choosing.names(posix, [PurePosixPath("/data")]) == expected


def test_without_a_root_that_holds_them_all_names_begin_below_what_they_have_in_common():
    files = [Path("/a/x/1.jpg"), Path("/a/y/1.jpg")]
    assert choosing.names(files, [Path("/b")]) == ["x/1.jpg", "y/1.jpg"]
    assert choosing.names([Path("/a/x/1.jpg")], []) == ["1.jpg"]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links")
def test_a_root_that_is_a_link_is_the_folder_that_it_leads_to(tmp_path):
    (tmp_path / "real/images").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    file = tmp_path / "real/images/1.jpg"  # as Ultralytics resolves it
    dataset = SimpleNamespace(im_files=[str(file)], labels=[{"cls": [0]}])
    images = choosing.Images(dataset, {"path": tmp_path / "link"})
    assert images.names == {file: "images/1.jpg"}
    assert images.choose(16, "") == {file: "images/1.jpg"}


def test_equal_names_in_two_folders_are_two_images_and_those_of_a_classifier_are_found_as_well():
    detector = SimpleNamespace(im_files=["/d/a/1.jpg", "/d/b/1.jpg"], labels=[{"cls": []}, {"cls": [1]}])
    classifier = SimpleNamespace(samples=[("/d/a/1.jpg", 0), ("/d/b/1.jpg", 1)])
    for dataset in (detector, classifier, SimpleNamespace(datasets=[detector])):
        chosen = choosing.Images(dataset, {"path": "/d"}).choose(16, "")
        assert sorted(chosen.values()) == ["a/1.jpg", "b/1.jpg"]
    assert list(choosing.Images(detector, {"path": "/d"}).choose(1, "").values()) == ["b/1.jpg"]
