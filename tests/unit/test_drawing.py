"""Pictures of labels beside predictions: what is seen where."""

import io
import random
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest
from PIL import Image, ImageChops

from tests.support.blocks import blocks
from tracking_hooks.drawing import draw, lettering, names, objects
from tracking_hooks.predictions import Box, SeenImage, write_archive

CLASSES = {0: "square", 1: "circle"}
SQUARE, CIRCLE = lettering.Classes(CLASSES).colour("square"), lettering.Classes(CLASSES).colour("circle")
GROUND = (60, 120, 60)
WIDTH, TEXT = 600, 24
HEADING = round(1.4 * TEXT)


def picture(size=(300, 200), colour=GROUND, kind="PNG", mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def archive(tmp_path):
    def write(**members):
        path = tmp_path / "seen.zip"
        path.write_bytes(write_archive({"a.png": picture(), **members}))
        return path

    return write


def seen(labels=(), predictions=(), **more):
    return SeenImage(
        **{"path": "val/a.jpg", "width": 300, "height": 200, "picture": "a.png"} | more,
        labels=[*labels], predictions=[*predictions],
    )  # fmt: skip


def label(box, name="square", **more):
    return Box(label=name, box=box, **more)


def prediction(box, name="square", confidence=0.9, **more):
    return Box(label=name, box=box, confidence=confidence, **more)


def drawn(image, path, classes=None, **how):
    how = {"width": WIDTH, "text": TEXT, "kind": "PNG"} | how
    return Image.open(io.BytesIO(draw(image, path, CLASSES if classes is None else classes, **how))).convert("RGB")


def halves(shown):
    """The two halves, without the lines about them."""
    half = (WIDTH - 6) // 2
    bottom = HEADING + 197  # of a picture of 3:2
    return shown.crop((0, HEADING, half, bottom)), shown.crop((WIDTH - half, HEADING, WIDTH, bottom))


def has(part, colour):
    return colour in {found for _, found in part.getcolors(1 << 20)}


def place(part, colour):
    """Where a colour is, from the left and from the top."""
    mask = Image.new("L", part.size, 255)
    for band, value in zip(part.split(), colour):
        mask = ImageChops.darker(mask, band.point([255 * (other == value) for other in range(256)]))
    return mask.getbbox()


def test_labels_are_on_the_left_and_predictions_on_the_right(archive):
    image = seen([label((100, 80, 200, 150), match=0)], [prediction((100, 80, 200, 150), "circle", match=0)])
    left, right = halves(drawn(image, archive()))
    assert (has(left, SQUARE), has(left, CIRCLE)) == (True, False)
    assert (has(right, SQUARE), has(right, CIRCLE)) == (False, True)


def test_a_box_is_drawn_where_it_is_in_the_image(archive):
    box = prediction((100, 80, 200, 150), match=0)
    _, right = halves(drawn(seen([label((100, 80, 200, 150), match=0)], [box]), archive()))
    scale = 297 / 300
    left, _, end, bottom = place(right.crop((0, 90, *right.size)), SQUARE)  # below the text
    bottom += 90
    assert (left, end, bottom) == pytest.approx((100 * scale, 200 * scale, 150 * scale), abs=3)
    assert has(right.crop((110, 95, 190, 140)), GROUND)
    assert not has(right.crop((110, 95, 190, 140)), SQUARE), "it is not filled"


def test_what_is_missed_or_false_looks_different_from_what_is_right(archive):
    box = (100, 80, 200, 150)
    path = archive()
    right = drawn(seen([label(box, match=0)], [prediction(box, match=0)], score=0.0), path)
    missed = drawn(seen([label(box)], score=1.0), path)
    false = drawn(seen([], [prediction(box)], score=1.0), path)
    assert halves(missed)[0].tobytes() != halves(right)[0].tobytes()
    assert halves(false)[1].tobytes() != halves(right)[1].tobytes()
    for half in (halves(missed)[0], halves(false)[1]):
        row = [half.getpixel((x, 148)) for x in range(100, 197)]
        assert {SQUARE, lettering.INK} <= set(row), "dashed"
    row = [halves(right)[0].getpixel((x, 148)) for x in range(100, 197)]
    assert set(row) == {SQUARE}


@pytest.mark.parametrize(
    ("mine", "others", "said"),
    [
        ([label((0, 0, 9, 9))], [], " missed"),
        ([prediction((0, 0, 9, 9))], [], " false"),
        ([label((0, 0, 9, 9), match=0)], [prediction((0, 0, 9, 9), "circle", match=0)], ", seen as circle"),
        ([prediction((0, 0, 9, 9), match=0)], [label((0, 0, 9, 9), "circle", match=0)], ", not circle"),
    ],
)
def test_a_mistake_says_what_it_is(mine, others, said):
    (one,) = objects.objects(mine, others)
    assert one.is_mistake
    assert objects._said(one, lettering.Classes(CLASSES)) == said


def test_mistakes_come_first_then_what_is_most_confident():
    labels = [label((0, 0, 9, 9), match=1), label((0, 0, 9, 9), match=2)]
    predictions = [
        prediction((0, 0, 9, 9), confidence=0.3), prediction((0, 0, 9, 9), confidence=0.5, match=0),
        prediction((0, 0, 9, 9), confidence=0.8, match=1),
    ]  # fmt: skip
    assert [one.box.confidence for one in objects.objects(predictions, labels)] == [0.3, 0.8, 0.5]


def test_nothing_below_a_confidence_of_a_quarter_is_drawn(archive):
    _, right = halves(drawn(seen([], [prediction((100, 80, 200, 150), confidence=0.24)]), archive()))
    assert not has(right, SQUARE)


def test_an_oriented_box_is_its_polygon(archive):
    diamond = [(150.0, 50.0), (200.0, 100.0), (150.0, 150.0), (100.0, 100.0)]
    box = label((100, 50, 200, 150), match=0, polygon=diamond)
    left, _ = halves(drawn(seen([box], [prediction((100, 50, 200, 150), match=0)]), archive()))
    assert has(left.crop((96, 96, 103, 103)), SQUARE), "a corner"
    assert not has(left.crop((96, 140, 110, 155)), SQUARE), "no upright box"


def test_a_mask_is_an_outline_with_a_translucent_inside(archive):
    outline = [(100.0, 50.0), (150.0, 40.0), (200.0, 50.0), (200.0, 150.0), (100.0, 150.0)]
    box = label((100, 40, 200, 150), match=0, polygon=outline)
    left, _ = halves(drawn(seen([box], [prediction((100, 40, 200, 150), match=0)]), archive()))
    inside = left.getpixel((150, 120))
    assert inside not in (GROUND, SQUARE)
    assert all(min(a, b) <= value <= max(a, b) for a, b, value in zip(GROUND, SQUARE, inside))


def test_keypoints_are_drawn_but_those_that_nobody_sees(archive):
    points = [(50.0, 180.0, 2.0), (250.0, 180.0, 0.0)]
    left, _ = halves(drawn(seen([label((120, 80, 180, 120), match=0, keypoints=points)]), archive()))
    assert has(left.crop((45, 172, 55, 184)), SQUARE)
    assert not has(left.crop((240, 170, 255, 190)), SQUARE)


def test_texts_do_not_cover_each_other_nor_most_of_the_picture():
    taken, rng = objects._Taken(300, 200), random.Random(0)
    placed = []
    for _ in range(300):
        x, y = rng.uniform(-20, 320), rng.uniform(-20, 220)
        if found := taken.place((x, y, x + 30, y + 20), 80, 30):
            placed.append(found)
    assert 5 <= len(placed) <= 10
    assert all(abs(a[0] - b[0]) >= 80 or abs(a[1] - b[1]) >= 30 for a in placed for b in placed if a is not b)
    assert all(0 <= x <= 220 and 0 <= y <= 170 for x, y in placed), "none is cut off at a border"


def test_of_300_objects_20_have_a_thick_line(archive, monkeypatch):
    texts = []
    monkeypatch.setattr(objects._Tag, "draw", lambda *_: texts.append(1))
    rng = random.Random(1)
    boxes = []
    for _ in range(300):
        x, y = rng.uniform(0, 280), rng.uniform(0, 180)
        boxes.append(prediction((x, y, x + 15, y + 15), confidence=rng.uniform(0.25, 1)))
    drawn(seen([], boxes, score=1.0), archive())
    assert len(texts) == 20


@pytest.mark.parametrize("box", [(-50, -50, 400, 300), (299, 199, 300, 200), (0, 0, 0, 0), (200, 150, 100, 80)])
def test_boxes_at_and_behind_the_borders_are_drawn_as_far_as_they_are_seen(box, archive):
    polygon = [(float(box[0]), float(box[1])), (float(box[2]), float(box[3]))]
    for more in ({}, {"polygon": polygon}):
        left, right = halves(drawn(seen([label(box, **more)], [prediction(box, **more)], score=1.0), archive()))
        assert has(left, SQUARE)
        assert has(right, SQUARE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_box_that_is_nowhere_is_left_out(value, archive):
    left, _ = halves(drawn(seen([label((value, 0, 10, 10))]), archive()))
    assert not has(left, SQUARE)


@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (1000, 1), (640, 480)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16"])
def test_pictures_of_any_shape_and_mode_are_shown(size, mode, archive):
    image = seen([label((0, 0, *size))], width=size[0], height=size[1])
    shown = drawn(image, archive(**{"a.png": picture(size, 0, mode=mode)}))
    assert shown.width == WIDTH
    assert shown.height <= 0.45 * WIDTH + 4 * HEADING


def test_a_picture_that_is_missing_or_broken_is_a_grey_area_that_says_so(archive):
    image = seen([label((100, 80, 200, 150), match=0)], [prediction((100, 80, 200, 150), match=0)])
    whole = drawn(image, archive())
    for members in ({"b.png": picture()}, {"a.png": b"no picture"}, {"a.png": picture()[:60]}):
        path = archive(**members) if "a.png" in members else archive()
        shown = drawn(seen(image.labels, image.predictions, picture="c.png") if "b.png" in members else image, path)
        assert shown.size == whole.size
        assert has(halves(shown)[0], lettering.NOTHING)
        assert has(halves(shown)[0], SQUARE), "the boxes are there"


def test_an_archive_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        drawn(seen(), tmp_path / "none.zip")
    (tmp_path / "no.zip").write_bytes(b"no archive")
    with pytest.raises(zipfile.BadZipFile):
        drawn(seen(), tmp_path / "no.zip")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Fußgänger", "Fussganger"), ("歩行者", "class 7"), ("пешеход", "class 7"), ("what?", "what?"),
        ("a" * 300, "a" * 300), ("🐢", "class 7"), ("", ""),
    ],
)  # fmt: skip
def test_class_names_in_any_writing_are_told(name, text, archive):
    classes = {7: name}
    assert lettering.Classes(classes).text(name) == text
    image = seen([label((10, 10, 20, 20), name)], path=f"val/{name}.jpg", reason=name)
    left, _ = halves(drawn(image, archive(), classes, title=name))
    assert has(left, lettering.Classes(classes).colour_of(7))


def test_a_class_whose_name_is_a_book_costs_no_time(archive, monkeypatch):
    measured = []
    font = lettering.font(TEXT)
    monkeypatch.setattr(lettering, "font", lambda _: measured.append(1) or font)
    book = "word " * 400_000
    one, other = label((10, 10, 200, 150), book, match=0), prediction((10, 10, 200, 150), match=0)
    drawn(seen([one], [other], score=1.0, reason=f"1 {book} taken for square"), archive())
    assert len(measured) < 1000


def test_a_class_has_the_same_colour_whatever_else_is_in_the_picture(archive):
    other = label((220, 150, 290, 190), "circle", match=0)
    one = label((20, 80, 120, 150), match=0)
    alone, both = (halves(drawn(seen(boxes), archive()))[0] for boxes in ([one], [other, one]))
    assert has(alone, SQUARE)
    assert has(both, SQUARE)
    assert has(both, CIRCLE)


def test_neighbouring_classes_are_told_apart_and_their_texts_can_be_read():
    classes = lettering.Classes(dict(enumerate("abcdefghij")))
    colours = [classes.colour_of(index) for index in range(10)]
    assert len(set(colours)) == 10
    for colour in colours:
        bright, dark = sorted((_luminance(colour), _luminance(lettering.ink_on(colour))), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) > 4.5, f"{colour}: less contrast than WCAG asks for"


def _luminance(colour):
    parts = [part / 255 for part in colour]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# -- whole images and maps ----------------------------------------------------------------------------------------


def test_a_whole_image_has_its_class_and_a_bar_for_each_probable_one(archive):
    image = seen(label="circle", probabilities={"square": 0.75, "circle": 0.25})
    left, right = halves(drawn(image, archive()))
    assert has(left, CIRCLE)
    filled = [sum(right.getpixel((x, y)) != (240, 240, 240) for x in range(10, 290)) for y in (4, 52)]
    assert filled[0] == pytest.approx(0.75 * 297 - 10, abs=6)
    assert filled[1] == pytest.approx(0.25 * 297 - 10, abs=6)


def test_a_map_of_classes_has_their_colours_and_leaves_the_picture_where_none_is(archive):
    labels = Image.new("L", (300, 200), 255)
    labels.paste(0, (0, 0, 150, 200))
    buffer = io.BytesIO()
    labels.save(buffer, "PNG")
    path = archive(**{"l.png": buffer.getvalue(), "p.png": picture(colour=1, mode="L")})
    left, right = halves(drawn(seen(label_map="l.png", predicted_map="p.png"), path))
    blend = [pytest.approx(0.6 * c + 0.4 * g, abs=2) for c, g in zip(SQUARE, GROUND)]
    assert list(left.getpixel((70, 100))) == blend
    assert left.getpixel((220, 100)) == GROUND
    assert list(right.getpixel((220, 100))) == [pytest.approx(0.6 * c + 0.4 * g, abs=2) for c, g in zip(CIRCLE, GROUND)]


def test_depths_are_in_one_scale_and_grey_where_none_is_known(archive):
    path = archive(**{"l.png": picture(colour=100, mode="L"), "p.png": picture(colour=100, mode="L")})
    image = seen(label_map="l.png", predicted_map="p.png", depths=(0.5, 12.0))
    left, right = halves(drawn(image, path))
    assert left.getpixel((150, 100)) == right.getpixel((150, 100)) != GROUND
    none = archive(**{"l.png": picture(colour=0, mode="L"), "p.png": picture(colour=100, mode="L")})
    assert halves(drawn(image, none))[0].getpixel((150, 100)) == lettering.NOTHING


def test_a_map_that_is_missing_leaves_the_other_one(archive):
    path = archive(**{"p.png": picture(colour=1, mode="L")})
    left, right = halves(drawn(seen(predicted_map="p.png"), path))
    assert has(left, lettering.NOTHING)
    assert not has(right, lettering.NOTHING)


# -- files, names, epochs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_same_picture_is_the_same_file(kind, archive):
    image = seen([label((10, 10, 50, 50))])
    first, second = (draw(image, archive(), CLASSES, kind=kind) for _ in range(2))
    assert first == second
    assert Image.open(io.BytesIO(first)).format == kind


def test_a_square_one_has_its_content_in_the_upper_part(archive):
    plain, square = (
        Image.open(io.BytesIO(draw(seen(), archive(), CLASSES, kind="PNG", square=square))) for square in (False, True)
    )
    assert square.size == (plain.width, plain.width)
    assert square.crop((0, 0, *plain.size)).convert("RGB").tobytes() == plain.tobytes()
    assert square.getpixel((5, plain.width - 5))[3] == 0


def test_images_have_short_names_of_their_own():
    images = [seen(path=path) for path in ("val/one/a.jpg", "val/two/a.jpg", "val/b.jpg", f"val/{'x' * 90}1.jpg")]
    assert names(images) == ["one a.jpg", "two a.jpg", "b.jpg", f"{'x' * 19}..{'x' * 14}1.jpg"]
    assert names([seen(path="a"), seen(path="a")]) == ["a", "a 2"]
    assert names([seen(path="a"), seen(path="a"), seen(path="a 2")]) == ["a", "a 2", "a 2 2"]
    assert names([]) == []


def test_the_loop_in_the_reference_draws_each_image(archive):
    (loop,) = [block.code for block in blocks("docs/hooks.md") if "drawing.draw(" in block.code]
    scope = {"images": [seen()], "artifact": SimpleNamespace(path=archive()), "classes": CLASSES, "step": 3}
    exec(loop, scope)
    assert Image.open(io.BytesIO(scope["picture"])).format == "JPEG"


def test_pillow_is_imported_when_something_is_drawn():
    code = "import sys, tracking_hooks.drawing; assert not any(name.startswith('PIL') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
