"""Clips of single images, the sets of real images, and heads with another patient's brain."""

# ruff: noqa: E402

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import SimpleITK as sitk

from automedsam_lab.data.builtin_tasks import Case, LabelScheme
from automedsam_lab.data.clips import OBJECT_KINDS, LabeledVolume, sample_clip
from automedsam_lab.data.head_dataset import HeadDataset
from automedsam_lab.data.sets.clip_sets import UNIVERSAL_SHARES, clip_sets
from automedsam_lab.data.sets.images import Part
from automedsam_lab.data.sets.whole_heads import WholeHead, composite, whole_heads

POLYP = OBJECT_KINDS.index("polyp")


def disk(side: int, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    return rows**2 + columns**2 < radius**2


def test_clip_of_a_single_image_shows_it_in_every_frame() -> None:
    mask = disk(60, 14)
    image = torch.from_numpy(np.where(mask, 200, 40).astype(np.uint8))[None]
    volume = LabeledVolume(image, [torch.from_numpy(mask)[None]], 0, 1.0, (POLYP,), together=False)
    for seed in range(6):
        clip = sample_clip(volume, 3, 64, np.random.default_rng(seed))
        assert clip.frames.shape == clip.masks.shape == (3, 1, 64, 64) and clip.kind == POLYP
        for frame, seen in zip(clip.frames[:, 0], clip.masks[:, 0] > 0, strict=True):
            assert 0.05 < seen.float().mean() < 0.8
            inside, outside = frame[seen].mean(), frame[~seen].mean()
            assert abs(float(inside - outside)) > 0.2  # some clips are inverted


def test_shares_of_the_universal_segmenter_leave_room_for_generated_volumes() -> None:
    assert 0.8 < sum(UNIVERSAL_SHARES.values()) < 1


def test_parts_of_the_real_sets_do_not_share_patients(shared_data: Path) -> None:
    shares = dict.fromkeys(("busi", "ct_lesion", "msd_lung"), 0.1)
    parts = [clip_sets(shared_data, part, shares) for part in (Part.TRAIN, Part.VALIDATION, Part.TEST)]
    assert {one.name for one in parts[0]} == set(shares)
    images = [{volume.image.numpy().tobytes() for one in part for volume in one.volumes} for part in parts]
    assert all(images[0]) and not images[0] & images[1] and not images[0] & images[2]


@pytest.fixture
def a_case(tmp_path: Path) -> Case:
    """A brain of 20 slices of 1 mm with a bright tumour off its middle."""
    brain = np.zeros((20, 64, 64), np.float32)
    brain[2:18, disk(64, 24)] = 90
    labels = np.zeros(brain.shape, np.uint8)
    labels[6:12, 20:30, 24:36] = 2
    brain[labels > 0] = 180
    paths = [tmp_path / name for name in ("flair.nii.gz", "seg.nii.gz")]
    for array, path in zip((brain, labels), paths, strict=True):
        image = sitk.GetImageFromArray(array)
        image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))
        sitk.WriteImage(image, str(path))
    return Case("patient", (paths[0],), paths[1], LabelScheme.BRATS_2017_2021, "FLAIR")


def test_composite_keeps_the_skull_and_carries_the_tumour(a_case: Case) -> None:
    frames = np.zeros((10, 96, 96), np.uint8)
    frames[:, disk(96, 46)] = 220  # scalp
    brain = np.zeros(frames.shape, bool)
    brain[1:9, disk(96, 36)] = True
    frames[brain] = 60
    made = composite(WholeHead("head", frames, brain, (2.0, 1.0, 1.0)), a_case)
    assert not made.tumor[~brain].any()
    outside = made.frames[~brain].astype(int)
    assert np.ptp(outside[frames[~brain] == 220]) == 0  # one grey level, though scaled with the rest
    assert made.frames[made.tumor].mean() > 1.5 * made.frames[brain & ~made.tumor].mean()
    # 6 x 10 x 12 of a brain of 16 x 48 x 48, in one of 8 x 72 x 72.
    share = 6 * 10 * 12 / (16 * 48 * 48)
    assert made.tumor.sum() / (8 * 72 * 72) == pytest.approx(share, rel=0.35)


def test_real_heads_have_their_brains_inside(shared_data: Path) -> None:
    (head,) = whole_heads(shared_data, Part.VALIDATION)
    assert head.frames.shape == head.brain.shape and 0.05 < head.brain.mean() < 0.4
    assert head.spacing[0] == pytest.approx(4.4, abs=0.01)


def test_heads_are_a_dataset_of_gliomas_and_of_none(shared_data: Path) -> None:
    dataset = HeadDataset(shared_data)
    parts = [set(dataset.patients[part]) for part in ("train", "val", "test")]
    assert all(parts) and not parts[0] & parts[2] and not parts[1] & parts[2] and not parts[0] & parts[1]
    cases = {case.name: case for case in dataset.cases("val")}
    volume, reference = cases["isbi2015_training04"].load_with_masks()
    assert not reference.any() and volume.spacing[2] == pytest.approx(4.4, abs=0.01)
    name = next(name for name in cases if "_in_" in name)
    volume, reference = cases[name].load_with_masks()
    assert 1 < reference.sum() * volume.voxel_volume_ml < 300
