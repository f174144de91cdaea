"""The montage shows what was found, where it was found."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.core.boxes import Box
from automedsam.core.segmentation import Segment, Segmentation
from automedsam.core.volume import Plane, Volume
from automedsam.errors import AutoMedSAMError
from automedsam.visualization.montage import montage, write_png

RED, BOX = (255, 0, 0), (255, 214, 64)
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def a_result() -> Segmentation:
    """A block of tissue with a square lesion on slices 4 to 7 of 12, and a box around it."""
    array = np.zeros((12, 60, 50), dtype=np.int16)
    array[:, 10:50, 10:40] = np.random.default_rng(3).integers(300, 500, (12, 40, 30))
    labels = np.zeros(array.shape, dtype=np.uint8)
    labels[4:8, 20:32, 15:25] = 1
    volume = Volume(array, (1.0, 1.0, 3.0), (0.0, 0.0, 0.0), IDENTITY)
    boxes = {index: [Box(13, 18, 14, 16, 0.9), Box(30, 40, 5, 5, 0.1)] for index in range(4, 8)}
    return Segmentation(labels, volume, [Segment(1, "Lesion", (1.0, 0.0, 0.0), "")], boxes)


def pixels(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == colour).all(-1).sum())


def test_outline_is_in_the_segments_colour(a_result: Segmentation) -> None:
    picture = montage(a_result)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert pixels(picture, RED) > 400


def test_only_slices_with_something_found_are_shown(a_result: Segmentation) -> None:
    four = montage(a_result, columns=4, rows=2)
    assert four.shape == montage(a_result, columns=4, rows=1).shape


def test_boxes_are_drawn_from_the_given_score_up(a_result: Segmentation) -> None:
    every, sure = (montage(a_result, min_score=score) for score in (0.0, 0.5))
    assert pixels(every, BOX) > pixels(sure, BOX) > 0
    assert pixels(montage(a_result, min_score=0.95), BOX) == 0


def test_box_surrounds_the_outline(a_result: Segmentation) -> None:
    picture = montage(a_result, columns=1, rows=1, min_score=0.5)
    edges, outline = (np.argwhere((picture == colour).all(-1)) for colour in (BOX, RED))
    assert (edges.min(0) < outline.min(0)).all()
    assert (edges.max(0) > outline.max(0)).all()


def test_boxes_of_another_plane_are_left_out(a_result: Segmentation) -> None:
    assert pixels(montage(a_result, Plane.CORONAL), BOX) == 0


def test_tiles_keep_millimetres(a_result: Segmentation) -> None:
    across = montage(a_result, Plane.CORONAL, columns=1, rows=1, tile_width=200)
    tile_height, tile_width = across.shape[0] - 16, across.shape[1] - 16
    assert tile_height / tile_width == pytest.approx(12 * 3.0 / 40.0, rel=0.02)


def test_empty_segmentation_shows_the_volume(a_result: Segmentation) -> None:
    empty = Segmentation(np.zeros_like(a_result.labels), a_result.volume, a_result.segments)
    picture = montage(empty)
    assert picture.any() and pixels(picture, RED) == 0


def test_png_holds_the_picture(a_result: Segmentation, tmp_path: Path) -> None:
    picture = montage(a_result)
    write_png(picture, tmp_path / "Köpfe.png")
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "Köpfe.png")))
    assert np.array_equal(written, picture)
    assert [path.name for path in tmp_path.iterdir()] == ["Köpfe.png"]


def test_png_into_no_folder_is_one_sentence(a_result: Segmentation, tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match=r"missing does not exist; make it or choose another\.$"):
        write_png(montage(a_result), tmp_path / "missing" / "a.png")
