"""Slices are resized as torch resizes them, whatever their shape and number type."""

import numpy as np
import pytest

from automedsam.core.resize import resize_linear

SIZES = [((24, 20), (64, 64)), ((64, 48), (20, 31)), ((16, 16), (16, 16)), ((1, 5), (3, 2)), ((33, 8), (12, 24))]


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_values_are_those_of_torch(old: tuple[int, int], new: tuple[int, int], antialias: bool) -> None:
    torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
    images = np.random.default_rng(0).normal(size=(2, 3, *old)).astype(np.float32)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(images), new, mode="bilinear", align_corners=False, antialias=antialias
    )
    np.testing.assert_allclose(resize_linear(images, new, antialias=antialias), wanted.numpy(), atol=1e-4)


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int16, np.float64])
def test_any_number_type_becomes_float32(kind: type) -> None:
    image = (np.arange(48).reshape(6, 8) % 2).astype(kind)
    found = resize_linear(image, (6, 8))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, image.astype(np.float32))


def test_views_are_resized_like_copies() -> None:
    stack = np.random.default_rng(1).integers(0, 255, (9, 12, 3, 2)).astype(np.uint8).transpose(3, 2, 0, 1)
    found = resize_linear(stack, (20, 15))
    assert found.shape == (2, 3, 20, 15) and found.flags.c_contiguous
    np.testing.assert_array_equal(found, resize_linear(stack.copy(), (20, 15)))
    assert resize_linear(stack[:0], (20, 15)).shape == (0, 3, 20, 15)
