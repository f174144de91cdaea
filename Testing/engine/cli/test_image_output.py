"""`automedsam segment` on a single image: a mask of its size, and the image with what was found drawn on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import phantom_head

from automedsam.cli import image_output
from automedsam.cli.app import main
from automedsam.core.boxes import Box
from automedsam.core.intensity import to_uint8
from automedsam.core.segmentation import Segment
from automedsam.errors import AutoMedSAMError
from automedsam.visualization.overlay import draw

Command = Callable[..., tuple[int, str, str]]

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (60, 255, 120)
SEGMENTS = [Segment(1, "One", (1.0, 0.0, 0.0), ""), Segment(2, "Two", (0.0, 0.0, 1.0), "")]
REAL = [
    *(f"kvasir_seg/images/{name}.jpg" for name in (
        "cju0qkwl35piu0993l0dewei2", "cju0qoxqj9q6s0835b43399p4", "cju0qx73cjw570799j4n5cjze",
        "cju0roawvklrq0799vmjorwfv", "cju0rx1idathl0835detmsp84",
    )),
    *(f"cxr_lung_masks/{number}.jpg" for number in (1, 2, 3, 4)),
    "nih_cxr14/00000001_000.png",
    "nih_cxr14/00027426_000.png",
]  # fmt: skip


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """A function that runs `automedsam` with arguments; gives exit code, output, and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        output, error = capfd.readouterr()
        return int(left.value.code or 0), output, error

    return run


def pixels(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture
def a_slice(tmp_path: Path) -> Path:
    """One slice of the phantom head, in which a lesion is large, as a colour PNG."""
    head, _ = phantom_head()
    gray = to_uint8(head.to_frames(head.default_plane())[0])[38]
    path = tmp_path / "slice.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.repeat(gray[..., None], 3, -1), isVector=True), str(path))
    return path


def test_lesion_of_an_image_is_found_and_drawn(command: Command, a_slice: Path, tmp_path: Path) -> None:
    code, output, error = command("segment", a_slice, "-o", tmp_path / "mask.png", "--overlay", tmp_path / "over.png")
    assert code == 0, error
    reference = phantom_head()[1][38] > 0
    mask, overlay, image = (pixels(tmp_path / name) for name in ("mask.png", "over.png", "slice.png"))
    assert mask.shape == reference.shape and set(np.unique(mask)) == {0, 255}
    assert 2 * (reference & (mask > 0)).sum() / (reference.sum() + (mask > 0).sum()) > 0.7
    assert overlay.shape == image.shape
    changed = (overlay != image).any(-1)
    # What is drawn lies on the mask's edge or is a box; all else is the image.
    boxes = (overlay == GREEN).all(-1)
    assert boxes.any() and (changed & ~boxes).any()
    assert not (changed & ~boxes & (mask == 0)).any()
    assert "Area of Glioma" in output and "pixels" in output and " ml" not in output


@pytest.mark.parametrize("name", REAL)
def test_real_image_gives_a_mask_and_an_overlay_of_its_size(
    command: Command, shared_data: Path, name: str, tmp_path: Path
) -> None:
    source = shared_data / name
    code, _, error = command("segment", source, "-o", tmp_path / "mask.png", "--overlay", tmp_path / "over.png")
    assert code == 0, error
    assert "Traceback" not in error
    image = pixels(source)
    assert pixels(tmp_path / "mask.png").shape == image.shape[:2]
    overlay = pixels(tmp_path / "over.png")
    assert overlay.shape == (*image.shape[:2], 3)
    seen = image[..., :3] if image.ndim == 3 else np.repeat(image[..., None], 3, -1)
    assert (overlay == seen).all(-1).mean() > 0.5


def test_deep_image_is_drawn_as_the_network_saw_it(command: Command, tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 60000, (40, 50)).astype(np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "deep.png"))
    asked = ("-o", tmp_path / "mask.png", "--overlay", tmp_path / "over.png", "--threshold", "1")
    assert command("segment", tmp_path / "deep.png", *asked)[0] == 0
    np.testing.assert_array_equal(pixels(tmp_path / "over.png")[..., 0], to_uint8(array[None])[0])


@pytest.mark.parametrize("overlay", ["over.jpg", "over.mp4", "over"])
def test_overlay_of_an_image_that_is_no_png(command: Command, a_slice: Path, overlay: str, tmp_path: Path) -> None:
    refused(command("segment", a_slice, "-o", tmp_path / "mask.png", "--overlay", tmp_path / overlay), "end in .png")
    assert [path.name for path in tmp_path.iterdir()] == ["slice.png"]


@pytest.mark.parametrize(("overlay", "word"), [("mask.png", "the same name"), ("slice.png", "input")])
def test_overlay_in_anothers_place(command: Command, a_slice: Path, overlay: str, word: str, tmp_path: Path) -> None:
    before = a_slice.read_bytes()
    refused(command("segment", a_slice, "-o", tmp_path / "mask.png", "--overlay", tmp_path / overlay), word)
    assert [path.name for path in tmp_path.iterdir()] == ["slice.png"] and a_slice.read_bytes() == before


def test_overlay_of_a_volume_is_refused(command: Command, tmp_path: Path) -> None:
    array = np.random.default_rng(1).normal(size=(6, 32, 30)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "head.nii.gz"))
    asked = ("-o", tmp_path / "a.nii.gz", "--overlay", tmp_path / "over.png")
    refused(command("segment", tmp_path / "head.nii.gz", *asked), "single images and videos")
    assert [path.name for path in tmp_path.iterdir()] == ["head.nii.gz"]


def test_neither_is_written_where_one_cannot_be(
    command: Command, a_slice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        message = "mask.png cannot be written (No space left on device); free space there."
        raise AutoMedSAMError(message)

    monkeypatch.setattr(image_output, "write_segmentation", fail)
    asked = ("-o", tmp_path / "mask.png", "--overlay", tmp_path / "over.png")
    refused(command("segment", a_slice, *asked), "No space left")
    assert [path.name for path in tmp_path.iterdir()] == ["slice.png"]


def refused(answer: tuple[int, str, str], word: str) -> None:
    code, output, error = answer
    assert code == 2 and not output and error.count("\n") == 1 and word in error


def test_each_segment_is_outlined_inside_its_mask() -> None:
    picture = np.full((20, 30), 50, np.uint8)
    labels = np.zeros((20, 30), np.uint8)
    labels[2:8, 2:8], labels[10:20, 20:30] = 1, 2
    drawn = draw(picture, labels, SEGMENTS)
    red, blue = ((drawn == colour).all(-1) for colour in (RED, BLUE))
    assert red.sum() == 20 and red[2, 2:8].all() and red[2:8, 7].all()
    # At the picture's edge the outline is closed.
    assert blue.sum() == 36 and blue[19, 20:].all() and blue[10:, 29].all()
    assert (drawn[~red & ~blue] == 50).all() and (picture == 50).all()


def test_boxes_are_drawn_on_their_outermost_pixels_and_cut_at_the_edge() -> None:
    drawn = draw(np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), np.uint8), SEGMENTS, [Box(4, 5, 6, 7)])
    green = (drawn == GREEN).all(-1)
    assert green.sum() == 2 * 6 + 2 * 5 and green[5, 4:10].all() and green[11, 4:10].all() and green[5:12, 9].all()
    drawn = draw(
        np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8), [], [Box(-5, -5, 10, 10), Box(25, 15, 20, 20)]
    )
    assert (drawn == GREEN).all(-1).any() and drawn.shape == (20, 30, 3)


def test_lines_of_a_large_picture_are_wide_enough_to_be_seen() -> None:
    labels = np.zeros((900, 1200), np.uint8)
    labels[100:200, 100:200] = 1
    drawn = draw(np.zeros((900, 1200), np.uint8), labels, SEGMENTS)
    assert (drawn[100:103, 150] == RED).all() and (drawn[103, 150] == 0).all()
