"""The images of a distillation: who is in which part, how pictures come to the frame, and where prompts may lie."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the FP32 backend is not installed")

from small_images import bright_discs, disc, small_pack

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.builtin_tasks import split
from automedsam_lab.data.sets.image_sets import (
    KVASIR_DUPLICATES,
    busi,
    deeplesion,
    deeplesion_patient,
    kvasir,
    lungs,
    sunnybrook,
    tbx11k,
)
from automedsam_lab.data.sets.images import LabeledImage, Part, draw_parts, labeled_images, part_of
from automedsam_lab.data.sets.volume_sets import glioma
from automedsam_lab.distillation.augmentation import Move, draw_move
from automedsam_lab.distillation.pack import Pack, unit_range, write_pack
from automedsam_lab.distillation.prompts import check_points, jitter_box


def written_split() -> dict[str, dict[str, list[str]]]:
    return json.loads(resources.files("automedsam_lab").joinpath("splits", "images.json").read_text("utf-8"))["sets"]


def test_no_patient_is_in_two_parts():
    named = [patient for parts in written_split().values() for patients in parts.values() for patient in patients]
    assert len(named) == len(set(named))


def test_at_least_ten_gliomas_are_tested_on_and_the_earlier_splits_hold():
    assert len(written_split()["glioma"]["test"]) >= 10
    assert part_of(split("glioma")["test"][0]) is Part.TEST
    assert part_of(split("hippocampus")["val"][0]) is Part.VALIDATION
    assert part_of("a patient whom no split names") is Part.TRAIN


def test_the_draw_is_the_same_every_time_and_leaves_tiny_sets_to_training():
    patients = {"acdc": [f"p{n}" for n in range(5)], "sam_med2d": ["a", "b", "c"]}
    assert draw_parts(patients, 1) == draw_parts(patients, 1)
    assert list(draw_parts(patients, 1)) == ["acdc"]
    assert all(draw_parts(patients, 1)["acdc"].values())


def test_kvasir_is_read_without_its_duplicates(tmp_path: Path):
    from PIL import Image

    folder = tmp_path / "kvasir_seg_352"
    names = ["one", KVASIR_DUPLICATES[0]]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
        for name in names:
            Image.fromarray((255 * disc((40, 50), (20, 25), 8)).astype(np.uint8)).save(folder / part / f"{name}.jpg")
    (folder / "train.txt").write_text("\n".join(names), encoding="utf-8")
    found = list(kvasir(tmp_path, lambda _patient: True))
    assert [image.name for image in found] == ["one"]
    assert abs(int(found[0].masks[0].sum()) - int(disc((40, 50), (20, 25), 8).sum())) < 12


@pytest.mark.parametrize(
    ("read", "images", "masks", "boxes"),
    [(busi, 15, 15, 0), (lungs, 4, 8, 0), (sunnybrook, 68, 68, 0), (tbx11k, 2, 0, None), (deeplesion, 22, 0, None)],
)
def test_real_sets_are_read_whole(shared_data: Path, read, images: int, masks: int, boxes: int | None):
    found = list(read(shared_data, lambda _patient: True))
    assert len(found) == images and sum(len(image.masks) for image in found) == masks
    assert all(mask.shape == image.pixels.shape[:2] for image in found for mask in image.masks)
    for image in found:
        height, width = image.pixels.shape[:2]
        assert bool(image.boxes) == (boxes is None)
        assert all(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height for x0, y0, x1, y1 in image.boxes)


def test_deeplesion_leaves_out_the_patients_of_the_lesion_stacks(shared_data: Path):
    stacks = {deeplesion_patient(path.stem) for path in (shared_data / "ct_lesion_npz").glob("*.npz")}
    assert len(stacks) == 4
    assert not stacks & {image.patient for image in deeplesion(shared_data, lambda _patient: True)}


def test_real_gliomas_are_slices_with_a_tumour(shared_data: Path):
    wanted = written_split()["glioma"]["val"][:1]
    found = list(glioma(shared_data, lambda patient: patient in wanted))
    assert {image.set for image in found} == {"glioma_flair", "glioma_t1c"} and len(found) == 10
    assert all(image.masks[0].sum() >= 150 and image.pixels.dtype == np.uint8 for image in found)


def test_a_folder_without_images_is_one_sentence(tmp_path: Path):
    with pytest.raises(AutoMedSAMError, match="No labelled images"):
        list(labeled_images(tmp_path))


def test_slices_of_one_patient_are_one_patient_in_both_lesion_sets():
    assert deeplesion_patient("CT_Lesion_000002_03_01_035-047") == deeplesion_patient("000002_02_01_052")


def test_a_pack_keeps_masks_at_native_size_and_boxes_in_the_frame(tmp_path: Path):
    pack = small_pack(tmp_path)
    (_, first), *_ = bright_discs()
    image = pack.images[0]
    assert np.array_equal(pack.native_masks(0)[0], first.masks[0])
    assert image.content == (192, 256)
    x0, y0, x1, y1 = image.boxes[0]
    rows, columns = np.nonzero(pack.masks(0)[0])
    assert np.allclose([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], [x0, y0, x1, y1], atol=1.5)
    assert [len(pack.of_part(part)) for part in Part] == [8, 2, 2]


def test_an_image_without_a_visible_object_is_left_out(tmp_path: Path):
    speck = LabeledImage("specks", "p", "n", np.zeros((600, 600), np.uint8), (disc((600, 600), (9, 9), 2),))
    with pytest.raises(AutoMedSAMError, match="nothing to train on"):
        write_pack([(Part.TRAIN, speck)], tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


def test_a_folder_that_is_no_pack_is_one_sentence(tmp_path: Path):
    with pytest.raises(AutoMedSAMError, match="holds no packed images"):
        Pack(tmp_path)


def test_the_picture_is_scaled_by_its_own_extremes_and_the_rest_is_zero():
    framed = np.zeros((256, 256, 3), np.uint8)
    framed[:100] = 40
    framed[0, 0] = 140
    scaled = unit_range(framed, (100, 256))
    assert scaled[:, 0, 0].tolist() == [1, 1, 1]
    assert scaled[:, 50].max() == 0 and scaled[:, 100:].max() == 0


def test_jittered_boxes_stay_on_the_picture():
    rng = np.random.default_rng(0)
    for _ in range(200):
        x0, y0, x1, y1 = jitter_box((1, 150, 30, 191), rng, (192, 256), 0.5)
        assert 0 <= x0 < x1 <= 256 and 0 <= y0 < y1 <= 192


@pytest.mark.parametrize("point", [(-1, 5), (256, 5), (5, 192), (np.nan, 5)])
def test_points_outside_the_image_are_one_sentence(point: tuple[float, float]):
    with pytest.raises(AutoMedSAMError, match="outside the image of 256 x 192"):
        check_points(np.array([[5, 5], point], np.float32), (192, 256))


def test_boxes_move_with_their_objects():
    import torch

    rng = np.random.default_rng(1)
    box = np.array([[60, 80, 140, 128]], np.float32)
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 80:128, 60:140] = 1
    for _ in range(20):
        move = draw_move(rng, (256, 256))
        moved = move.apply(mask)[0, 0].numpy() > 0.5
        rows, columns = np.nonzero(moved)
        assert np.allclose(
            [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], move.boxes(box)[0], atol=1.01
        )
    assert Move().is_identity
