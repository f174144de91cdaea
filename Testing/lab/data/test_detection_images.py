"""A prepared dataset's images and boxes as the detector's training takes them."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("cv2", reason="the lab's training packages are not installed")

from prepared_files import write_prepared

from automedsam_lab.data.prepared.dataset import PreparedDataset
from automedsam_lab.data.prepared.detection_images import DetectionImages, Movement, move


@pytest.fixture(scope="module")
def a_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared") / "drawn")


def test_items_are_the_dataset_s_images_and_boxes(a_dataset: Path) -> None:
    images = PreparedDataset.open(a_dataset).part("train")
    shown = DetectionImages(images, [1, 2], 32)
    for index, item in enumerate(images):
        pixels, targets = shown[index]
        assert pixels.shape == (3, 32, 32) and pixels.dtype == targets.dtype == np.float32
        assert np.array_equal(pixels[0], pixels[2]) and pixels.max() <= 1
        wanted = [
            (box.label - 1, (box.x + box.width / 2) / 2, (box.y + box.height / 2) / 2, box.width / 2, box.height / 2)
            for box in item.boxes
        ]
        assert targets == pytest.approx(np.array(wanted), abs=1e-4)


@pytest.mark.parametrize("flip", [False, True])
def test_boxes_move_with_the_picture(flip: bool) -> None:
    rng = np.random.default_rng(3)
    image = np.zeros((96, 96, 3), np.float32)
    image[30:60, 20:45] = 1
    boxes = np.array([[1, 20, 30, 45, 60]], np.float32)
    mirrored = 0
    for _ in range(20):
        moved, found = move(rng, image, boxes, Movement(0.15, 0.15, flip))
        rows, columns = np.nonzero(moved[..., 0] > 0.5)
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert found.shape == (1, 5) and found[0, 0] == 1
        assert np.abs(found[0, 1:] - edges).max() <= 0.51
        mirrored += bool(edges[0] + edges[2] > 96 + 2 * 0.15 * 96)
    assert flip or mirrored == 0


def test_box_that_mostly_left_the_picture_is_gone() -> None:
    boxes = np.array([[0, 60, 30, 64, 60]], np.float32)
    image = np.zeros((64, 64, 3), np.float32)
    kept = [len(move(np.random.default_rng(seed), image, boxes, Movement(0, 0.3))[1]) for seed in range(20)]
    assert 0 < sum(kept) < 20
