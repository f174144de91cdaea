import json

import numpy as np
import pytest

from automedsam.core.boxes import Box
from automedsam.core.letterbox import Letterbox
from automedsam.core.resize import resize_linear
from automedsam.errors import AutoMedSAMError

SIZE = (640, 640)
# The native sizes of the archives: BraTS, hippocampus, CT lesions, Kvasir (two), ChestX-ray14, a video, odd ones.
NATIVE = [(240, 240), (50, 35), (512, 512), (529, 622), (1072, 1920), (1024, 1024), (480, 854), (1, 3000), (641, 639)]
SMALL = [native for native in NATIVE if max(native) <= 640]
LARGE = [native for native in NATIVE if max(native) > 640]


def some_labels(shape: tuple[int, int]) -> np.ndarray:
    """Blobs down to a pixel's size, three labels."""
    return np.random.default_rng(5).integers(0, 4, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("native", NATIVE)
def test_the_picture_keeps_its_proportions_and_lies_in_the_middle(native):
    letterbox = Letterbox.fit(native, SIZE)
    height, width = letterbox.resized
    assert max(height / 640, width / 640) == 1
    # A side is a whole number of pixels, and never 0: no nearer to the native proportions than half a pixel.
    assert height == max(1, round(native[0] * letterbox.scale)) and width == max(1, round(native[1] * letterbox.scale))
    assert abs((640 - height - letterbox.top) - letterbox.top) <= 1
    assert abs((640 - width - letterbox.left) - letterbox.left) <= 1


@pytest.mark.parametrize("native", NATIVE)
def test_a_box_comes_back_to_where_it_was(native):
    letterbox = Letterbox.fit(native, SIZE)
    h, w = native
    for box in (Box(0, 0, w, h, 0.5, 3), Box(w / 3, h / 7, 1, 1), Box(w - 1, h - 1, 1, 1, label=2)):
        there = letterbox.box_to_input(box)
        back = letterbox.box_to_native(there)
        assert back.corners == pytest.approx(box.corners, abs=1e-9)
        assert (back.score, back.label) == (box.score, box.label)


@pytest.mark.parametrize("native", NATIVE)
def test_the_whole_picture_is_the_whole_of_its_place_in_the_input(native):
    letterbox = Letterbox.fit(native, SIZE)
    height, width = letterbox.resized
    there = letterbox.box_to_input(Box(0, 0, native[1], native[0]))
    wanted = (letterbox.left, letterbox.top, letterbox.left + width, letterbox.top + height)
    assert there.corners == pytest.approx(wanted, abs=1e-9)
    placed = letterbox.mask(np.ones(native, dtype=np.uint8))
    rows, columns = np.nonzero(placed)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == wanted


@pytest.mark.parametrize("native", SMALL)
def test_a_mask_that_did_not_shrink_comes_back_voxel_for_voxel(native):
    labels = some_labels(native)
    letterbox = Letterbox.fit(native, SIZE)
    np.testing.assert_array_equal(letterbox.restore_mask(letterbox.mask(labels)), labels)


@pytest.mark.parametrize("native", LARGE)
def test_a_mask_that_shrank_comes_back_to_half_an_input_pixel(native):
    letterbox = Letterbox.fit(native, SIZE)
    for axis, ratio in enumerate(letterbox.ratio):
        # Each pixel says which row (or column) it is; what comes back says which one it was taken from.
        index = np.arange(native[axis], dtype=np.float64)
        there = np.broadcast_to(index[:, None] if axis == 0 else index, native)
        came_from = letterbox.restore_mask(letterbox.mask(np.ascontiguousarray(there)))
        # The nearest point of that native pixel to this one's centre.
        apart = np.maximum(np.abs(came_from - there) - 0.5, 0)
        assert apart.max() * ratio <= 0.5


@pytest.mark.parametrize("native", NATIVE)
def test_the_box_of_a_mask_in_the_input_is_that_of_the_native_mask_to_half_a_pixel(native):
    letterbox = Letterbox.fit(native, SIZE)
    h, w = native
    box = Box(w // 4, h // 4, max(1, w // 3), max(1, h // 3))
    labels = np.zeros(native, dtype=np.uint8)
    labels[int(box.y) : int(box.y + box.height), int(box.x) : int(box.x + box.width)] = 1
    rows, columns = np.nonzero(letterbox.mask(labels))
    seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert seen == pytest.approx(letterbox.box_to_input(box).corners, abs=0.5)


def test_a_colour_picture_and_a_grey_one_are_resized_alike():
    gray = np.random.default_rng(0).integers(0, 256, (300, 500), dtype=np.uint8)
    letterbox = Letterbox.fit(gray.shape, SIZE)
    placed = letterbox.image(gray)
    assert placed.shape == SIZE and placed.dtype == np.uint8
    assert not placed[: letterbox.top].any() and not placed[letterbox.top + letterbox.resized[0] :].any()
    np.testing.assert_array_equal(letterbox.image(np.dstack([gray] * 3)), np.dstack([placed] * 3))


@pytest.mark.parametrize("native", [(300, 500), (50, 35), (900, 1200, 3), (1, 3000), (240, 240, 3)])
def test_a_picture_is_resized_as_the_engine_resizes_slices(native):
    picture = np.random.default_rng(2).integers(0, 256, native, dtype=np.uint8)
    letterbox = Letterbox.fit(picture.shape[:2], SIZE)
    planes = resize_linear(np.moveaxis(np.atleast_3d(picture), -1, 0), letterbox.resized)
    wanted = np.moveaxis(planes, 0, -1).reshape(letterbox.resized + picture.shape[2:])
    (height, width), placed = letterbox.resized, letterbox.image(picture)
    inside = placed[letterbox.top :, letterbox.left :][:height, :width]
    # Rounded to whole numbers, whatever the order of the sum.
    np.testing.assert_allclose(inside, wanted, rtol=0, atol=0.5 + 1e-3)


def test_a_picture_of_the_input_s_size_is_left_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Letterbox.fit(SIZE, SIZE).image(picture), picture)


def test_a_shrunken_picture_keeps_its_mean_so_no_pixel_was_skipped():
    picture = np.zeros((2560, 2560), dtype=np.uint8)
    picture[::4] = 200
    placed = Letterbox.fit(picture.shape, SIZE).image(picture)
    assert placed[100:-100].mean() == pytest.approx(50, abs=1) and placed[100:-100].max() < 80


def test_it_survives_json_to_the_last_bit():
    letterbox = Letterbox.fit((529, 622), SIZE)
    entry = {"file_name": "a.png"} | json.loads(json.dumps(letterbox.to_json()))
    assert Letterbox.from_json(entry) == letterbox


@pytest.mark.parametrize(
    ("key", "value"), [("native", {"width": 10}), ("letterbox", {"scale": "x", "left": 0, "top": 0}), ("width", 10)]
)
def test_an_entry_that_makes_no_sense_is_refused(key, value):
    entry = {"file_name": "a.png"} | Letterbox.fit((529, 622), SIZE).to_json() | {key: value}
    with pytest.raises(AutoMedSAMError):
        Letterbox.from_json(entry)


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(AutoMedSAMError, match="a side is 0"):
        Letterbox.fit((0, 12), SIZE)
