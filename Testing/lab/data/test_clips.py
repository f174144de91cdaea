"""Training clips: what the segmenter is shown is in range, and its object is where its box says."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from automedsam_lab.data.clips import (  # noqa: E402
    SMALLEST_OBJECT,
    LabeledVolume,
    jitter_box,
    normalize,
    sample_clip,
    tight_box,
)
from automedsam_lab.data.segmenter_clips import ClipSource  # noqa: E402
from automedsam_lab.data.synthetic_volumes import SHAPE, generate  # noqa: E402


@pytest.fixture(scope="module")
def a_generated_volume() -> LabeledVolume:
    return generate(np.random.default_rng(3))


@pytest.fixture
def a_bright_ball() -> LabeledVolume:
    """A ball of radius 10 in 48 x 48 x 48 voxels, white on black."""
    place = np.indices((48, 48, 48)) - 23.5
    ball = torch.from_numpy((place**2).sum(0) < 100)
    return LabeledVolume((ball * 255).to(torch.uint8), [ball], axis=0, max_step=1.0)


def test_generated_volumes_have_objects_of_their_own_shape(a_generated_volume: LabeledVolume) -> None:
    assert a_generated_volume.image.shape == SHAPE and a_generated_volume.image.dtype == torch.uint8
    assert 1 <= len(a_generated_volume.objects) <= 3
    assert all(mask.shape == SHAPE and mask.dtype == torch.bool and mask.any() for mask in a_generated_volume.objects)


@pytest.mark.parametrize(("frames", "size"), [(1, 64), (5, 96)])
def test_a_clip_starts_with_its_object(a_generated_volume: LabeledVolume, frames: int, size: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(8):
        clip = sample_clip(a_generated_volume, frames, size, rng)
        assert clip.frames.shape == clip.masks.shape == (frames, 1, size, size)
        assert clip.frames.min() >= 0 and clip.frames.max() <= 1
        assert set(clip.masks.unique().tolist()) <= {0.0, 1.0}
        assert clip.masks[0].sum() >= SMALLEST_OBJECT


def test_image_and_mask_of_a_clip_show_the_same_place(a_bright_ball: LabeledVolume) -> None:
    rng = np.random.default_rng(1)
    for _ in range(8):
        clip = sample_clip(a_bright_ball, 3, 64, rng)
        inside, outside = clip.frames[clip.masks > 0], clip.frames[clip.masks == 0]
        # The contrast may be inverted, never lost.
        assert abs(inside.mean() - outside.mean()) > 0.3


def test_a_clip_repeats_with_its_seed(a_generated_volume: LabeledVolume) -> None:
    first, second = (sample_clip(a_generated_volume, 3, 64, np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(first.frames, second.frames) and torch.equal(first.masks, second.masks)


def test_without_patients_clips_are_generated() -> None:
    clip = ClipSource([], np.random.default_rng(0)).clip(2, 64)
    assert clip.frames.shape == (2, 1, 64, 64)


def test_a_tight_box_is_half_open() -> None:
    mask = torch.zeros(20, 30)
    mask[4:9, 11:25] = 1
    assert tight_box(mask).tolist() == [11, 4, 25, 9]


def test_a_jittered_box_stays_near_and_within_the_frame() -> None:
    rng, box = np.random.default_rng(0), torch.tensor([0.0, 10.0, 40.0, 60.0])
    drawn = torch.stack([jitter_box(box, 64, rng) for _ in range(300)])
    assert drawn.min() >= 0 and drawn.max() <= 64
    assert 0.25 < (drawn == box).all(1).float().mean() < 0.45
    assert (drawn - box).abs().max() < 25 and (drawn.mean(0) - box).abs().max() < 2


def test_frames_are_normalised_as_sam_2_expects() -> None:
    shown = normalize(torch.full((2, 1, 4, 4), 0.456))
    assert shown.shape == (2, 3, 4, 4)
    assert shown[:, 1].abs().max() < 1e-6
