"""What is told of a data set is what is in it."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

data = pytest.importorskip("tracking_hooks.hosts.ultralytics.data", reason="ultralytics is not installed")
labels = pytest.importorskip("tracking_hooks.hosts.ultralytics.labels", reason="ultralytics is not installed")

CLASSES = {0: "square", 1: "circle", 2: "triangle"}


def boxes(*classes):
    return {"cls": np.array(classes, dtype=np.float32).reshape(-1, 1)}


@pytest.mark.parametrize(
    ("images", "instances"),
    [
        pytest.param(
            {"labels": [boxes(2, 0, 2), boxes(), boxes(2, 7)]}, {"square": 1, "triangle": 3, "7": 1}, id="boxes"
        ),
        pytest.param({"labels": [boxes(), boxes()]}, {}, id="background only"),
        pytest.param({"samples": [["a.png", 1, None], ["b.png", 1, None]]}, {"circle": 2}, id="classification"),
        pytest.param(
            {"datasets": [SimpleNamespace(labels=[boxes(0)]), SimpleNamespace(labels=[boxes(0, 1)])]},
            {"square": 2, "circle": 1},
            id="joined",
        ),
        pytest.param(
            {"labels": [boxes(1), {**boxes(0, 1), "texts": [["a dog"], ["a cat"]]}]}, {"circle": 1}, id="phrases"
        ),
        pytest.param({}, {}, id="neither"),
    ],
)
def test_the_instances_of_each_class_are_counted_in_the_order_of_the_classes(images, instances):
    counted = labels.count(SimpleNamespace(**images), CLASSES)
    assert list(counted.items()) == list(instances.items())
    assert all(type(count) is int for count in counted.values())


# -- the digest, by what Ultralytics itself reads -----------------------------------------------------------------

DESCRIBED = {"names": CLASSES, "nc": 3, "channels": 3, "kpt_shape": [2, 3]}
OBJECTS = {
    "detect": ["0 0.5 0.5 0.2 0.2", "1 0.25 0.25 0.1 0.1"],
    "segment": ["0 0.1 0.1 0.4 0.1 0.4 0.4 0.2 0.3", "1 0.6 0.6 0.9 0.6 0.9 0.9 0.7 0.8"],
    "obb": ["0 0.1 0.1 0.4 0.1 0.4 0.4 0.1 0.4", "1 0.6 0.6 0.9 0.6 0.9 0.9 0.6 0.9"],
    "pose": ["0 0.5 0.5 0.2 0.2 0.45 0.45 2 0.55 0.55 2", "1 0.25 0.25 0.1 0.1 0.25 0.25 2 0.3 0.3 1"],
}
MOVED = {
    "detect": ("0.2 0.2", "0.2 0.21"),
    "segment": ("0.2 0.3", "0.21 0.3"),  # inside the box, which stays as it is
    "obb": ("0.1 0.4", "0.11 0.4"),
    "pose": ("0.45 0.45 2", "0.45 0.46 2"),
}
"""By task, what of the first object is changed."""


def written(folder, task):
    """Write a data set of two images."""
    for name in ("a", "b"):
        for kind in ("images", "labels", "masks", "depth", "square", "circle"):
            (folder / kind / "train").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (90, 20, 20)).save(folder / f"images/train/{name}.png")
        (folder / f"labels/train/{name}.txt").write_text("\n".join(OBJECTS.get(task, [])))
        Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32) % 3).save(folder / f"masks/train/{name}.png")
        np.save(folder / f"depth/train/{name}.npy", np.full((32, 32), 2.0, dtype=np.float32))
    return folder


def images_of(folder, task, **options):
    from ultralytics.cfg import TASKS, get_cfg
    from ultralytics.data import dataset

    for cache in folder.rglob("*.cache"):
        cache.unlink()
    kinds = {"semantic": "SemanticDataset", "depth": "DepthDataset"}
    if task not in TASKS:
        pytest.skip(f"this release of Ultralytics has no {task}")
    described = DESCRIBED | ({"masks_dir": "masks"} if task == "semantic" else {})
    return getattr(dataset, kinds.get(task, "YOLODataset"))(
        img_path=str(folder / "images/train"), data=described, task=task, imgsz=32, hyp=get_cfg(), augment=False,
        **options,
    )  # fmt: skip


def digest(folder, task, **options):
    return labels.digest(images_of(folder, task, **options), CLASSES)


@pytest.mark.parametrize("task", OBJECTS)
def test_the_same_images_and_labels_elsewhere_are_the_same_and_one_point_moved_is_another_set(tmp_path, task):
    here = written(tmp_path / "here", task)
    elsewhere = shutil.copytree(here, tmp_path / "deep/elsewhere")
    before = digest(here, task)
    assert digest(elsewhere, task) == before
    file = elsewhere / "labels/train/a.txt"
    file.write_text(file.read_text().replace(*MOVED[task], 1))
    assert digest(elsewhere, task) != before


@pytest.mark.parametrize("task", ["semantic", "depth"])
def test_a_mask_and_a_depth_belong_to_the_labels(tmp_path, task):
    here = written(tmp_path / "here", task)
    elsewhere = shutil.copytree(here, tmp_path / "deep/elsewhere")
    before = digest(here, task)
    assert digest(elsewhere, task) == before
    if task == "semantic":
        mask = np.array(Image.open(elsewhere / "masks/train/b.png"))
        mask[3, 3] = (mask[3, 3] + 1) % 3
        Image.fromarray(mask).save(elsewhere / "masks/train/b.png")
    else:
        np.save(elsewhere / "depth/train/b.npy", np.full((32, 32), 3.0, dtype=np.float32))
    assert digest(elsewhere, task) != before


def test_an_image_that_is_called_otherwise_or_is_missing_makes_another_set(tmp_path):
    before = digest(written(tmp_path, "detect"), "detect")
    for kind, suffix in (("images", "png"), ("labels", "txt")):
        (tmp_path / f"{kind}/train/b.{suffix}").rename(tmp_path / f"{kind}/train/c.{suffix}")
    renamed = digest(tmp_path, "detect")
    (tmp_path / "images/train/c.png").unlink()
    assert len({before, renamed, digest(tmp_path, "detect")}) == 3


def test_the_order_of_the_images_does_not_matter(tmp_path):
    written(tmp_path, "detect")
    Image.new("RGB", (32, 16)).save(tmp_path / "images/train/b.png")
    assert digest(tmp_path, "detect", rect=True, batch_size=2) == digest(tmp_path, "detect")


def classified(folder, **classes):
    for name, files in classes.items():
        (folder / name).mkdir(parents=True)
        for file in files:
            Image.new("RGB", (32, 32)).save(folder / name / file)
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import ClassificationDataset

    return labels.digest(ClassificationDataset(str(folder), get_cfg()), CLASSES)


def test_a_classification_set_elsewhere_is_the_same_and_an_image_of_another_class_makes_another(tmp_path):
    first = classified(tmp_path / "here/train", circle=["a.png"], square=["b.png", "c.png"])
    assert classified(tmp_path / "a/b/train", circle=["a.png"], square=["b.png", "c.png"]) == first
    assert classified(tmp_path / "other/train", circle=["a.png", "b.png"], square=["c.png"]) != first


# -- data sets of the user's own ----------------------------------------------------------------------------------


class Arrays:
    """A data set whose labels are arrays."""

    labels = (np.zeros((3, 5)), np.zeros((1, 5)))

    def __len__(self):
        return 2


def trainer(images, **described):
    loader = SimpleNamespace(dataset=images)
    args = SimpleNamespace(data=described.pop("data", "my/shapes.yaml"))
    return SimpleNamespace(data={"names": CLASSES, **described}, args=args, train_loader=loader, test_loader=loader)


@pytest.mark.parametrize(
    ("images", "size"), [(Arrays(), 2), (range(4), 4), (iter(()), 0), (SimpleNamespace(labels=None), 0)]
)
def test_of_a_class_of_the_users_own_only_what_is_unknown_is_left_out(images, size):
    told, again = data.dataset(trainer(images, train="t")), data.dataset(trainer(images, train="t"))
    assert (told.name, told.classes) == ("shapes", CLASSES)
    assert told.splits["train"].path == "t"
    assert told.splits["train"].images == size
    assert not told.splits["train"].instances
    assert len(told.digest) == 32
    assert told.digest != again.digest, "what is unknown is not said to be the same"


def test_more_images_to_train_on_leave_the_validation_data_the_same():
    def images(*names):
        return SimpleNamespace(labels=[{"im_file": f"/x/{name}", **boxes(0)} for name in names])

    small, large = (trainer(None), trainer(None))
    for of, names in ((small, ["a.png"]), (large, ["a.png", "b.png"])):
        of.train_loader = SimpleNamespace(dataset=images(*names))
        of.test_loader = SimpleNamespace(dataset=images("c.png"))
    before, after = data.dataset(small), data.dataset(large)
    assert after.splits["val"].digest == before.splits["val"].digest
    assert after.splits["train"].digest != before.splits["train"].digest
    assert after.digest != before.digest


def test_a_loader_without_a_data_set_is_no_split():
    of = trainer(Arrays())
    del of.test_loader
    of.train_loader = [1, 2]
    assert data.dataset(of).splits == {}


@pytest.mark.parametrize(
    ("described", "name"),
    [
        ({"data": {"train": {"yolo_data": ["a.yaml"]}}}, "data"),
        ({"data": {"path": "/sets/flowers"}, "path": "/sets/flowers"}, "flowers"),
        ({"data": "coco8.yaml"}, "coco8"),
        ({"data": "a.yaml", "yaml_file": "/x/b.yaml"}, "b"),
    ],
)
def test_a_data_set_that_is_given_as_a_dict_has_a_name(described, name):
    assert data.dataset(trainer(Arrays(), **described)).name == name


def test_several_folders_of_images_are_one_place():
    assert data.dataset(trainer(Arrays(), train=["/a", "/b"])).splits["train"].path == "/a, /b"


def test_other_names_for_the_classes_make_another_set():
    def told(names):
        return data.dataset(trainer(SimpleNamespace(labels=[{"im_file": "/x/a.png", **boxes(0)}]), names=names))

    before, after = told({0: "cat", 1: "dog"}), told({0: "dog", 1: "cat"})
    assert told({0: "cat", 1: "dog"}) == before
    assert before.digest != after.digest
    assert before.splits["val"].digest != after.splits["val"].digest


def test_other_phrases_for_the_same_boxes_make_another_set():
    def told(phrase):
        label = {"im_file": "/x/a.png", **boxes(0), "texts": [[phrase]]}
        return data.dataset(trainer(SimpleNamespace(labels=[label]))).digest

    assert told("a dog") == told("a dog") != told("a cat")


def test_classes_of_the_same_name_are_counted_apart():
    told = data.dataset(
        trainer(SimpleNamespace(labels=[{"im_file": "/x/a.png", **boxes(0, 2, 2)}]), names=["a", "b", "a"])
    )
    assert told.classes == {0: "a", 1: "b", 2: "a #2"}
    assert told.splits["train"].instances == {"a": 1, "a #2": 2}


@pytest.mark.parametrize("task", ["semantic", "depth"])
def test_pixels_have_no_instances(tmp_path, task):
    assert labels.count(images_of(written(tmp_path, task), task), CLASSES) == {}


def test_images_with_a_file_of_phrases_are_told_by_that():
    given = ["/sets/coco/train", {"img_path": "/sets/flickr", "json_file": "/sets/flickr.json"}]
    assert data.dataset(trainer(Arrays(), train=given)).splits["train"].path == "/sets/coco/train, /sets/flickr.json"
