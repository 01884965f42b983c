import io

import pytest
from PIL import Image

from tracking_hooks_tensorboard.values import image


def picture(kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (31, 17), "red").save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        picture("png"),
        picture("jpeg"),
        picture("jpeg", progressive=True),
        picture("jpeg", exif=b"Exif\0\0" + bytes(300), comment="x" * 999),
    ],
)
def test_a_picture_is_measured_and_kept_as_it_is(data):
    value = image("plots/x", data)
    assert (value.image.width, value.image.height) == (31, 17)
    assert value.image.encoded_image_string == data


@pytest.mark.parametrize("data", [b"", b"GIF89a", picture("png")[:20], picture("jpeg")[:30], b"\xff\xd8" + bytes(99)])
def test_anything_else_is_no_picture(data):
    with pytest.raises(ValueError, match="neither a PNG nor a JPEG picture"):
        image("plots/x", data)
