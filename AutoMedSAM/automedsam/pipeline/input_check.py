"""The input check: whether a volume looks like what the model was trained on, before anybody trusts the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automedsam.core.events import InputWarning
from automedsam.core.input_features import InputFeatures, histogram_distance, image_histogram, measure_input
from automedsam.core.modality_names import modalities_in, modalities_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from automedsam.bundle import Bundle
    from automedsam.core.expected_input import ExpectedInput, Range
    from automedsam.core.volume import Volume

SKULL, MODALITY, SPACING, EXTENT, INTENSITY = "skull", "modality", "spacing", "extent", "intensity"

# With these, even the model's certain results are not to be trusted: the confidence of every slice is capped.
UNTRUSTED = frozenset({SKULL, MODALITY, INTENSITY})
# Skull-stripped volumes have a rim of 0.39 or more, heads of 0.25 or less, with and without noise.
_MIN_STRIPPED_RIM = 0.3
_AXES = ("right-left", "front-back", "head-foot")


def check_input(volume: Volume, bundle: Bundle) -> tuple[InputWarning, ...]:
    """Compares a volume with the bundle's expected input; the volume is not changed, and nothing is refused.

    Args:
        volume: One channel for each of the bundle's modalities; `descriptions` give their names and DICOM tags.
        bundle: The model. What its manifest does not describe is not checked.

    Returns:
        The warnings, most serious first; empty if the volume looks like the training images.
    """
    found = list(_modality_warnings(volume, bundle))
    expected = bundle.expected_input
    if expected is not None and expected.single_image:
        found += _single_image_warnings(volume, expected, bundle)
    # Frames and single images have names, and neither a size in mm nor a distance between slices.
    elif expected is not None and not volume.is_video and min(volume.shape) > 1:
        features = measure_input(volume, bundle.plane, bundle.window)
        found += _skull_warning(features, expected, bundle)
        found += _size_warnings(features, expected, bundle)
        found += _intensity_warning(features.histogram, expected, bundle)
    order = (SKULL, MODALITY, EXTENT, SPACING, INTENSITY)
    return tuple(sorted(found, key=lambda warning: order.index(warning.code)))


def _modality_warnings(volume: Volume, bundle: Bundle) -> list[InputWarning]:
    found = []
    for role, description in zip(bundle.roles, volume.descriptions, strict=False):
        wanted = role.name
        roles, named = modalities_in(wanted), modalities_of(description)
        if roles and named and not roles & named and not role.fits(description):
            called = description.get("SeriesDescription") or description.get("name") or "the image"
            sentence = (
                f"{called} appears to be {' or '.join(sorted(named))}, and the model {bundle.name} was trained on "
                f"{wanted}: choose the {wanted} image."
            )
            found.append(InputWarning(MODALITY, " ".join(sentence.split())))
    return found


def _skull_warning(features: InputFeatures, expected: ExpectedInput, bundle: Bundle) -> list[InputWarning]:
    if expected.skull != "stripped" or features.rim is None or features.rim >= _MIN_STRIPPED_RIM:
        return []
    sentence = (
        f"The image shows more than the brain, and the model {bundle.name} was trained on skull-stripped images: "
        "remove the skull first, or expect false lesions."
    )
    return [InputWarning(SKULL, sentence)]


def _size_warnings(features: InputFeatures, expected: ExpectedInput, bundle: Bundle) -> list[InputWarning]:
    found = []
    if expected.extent_mm is not None:
        pairs = list(zip(features.extent, expected.extent_mm, strict=True))
        size = " x ".join(f"{value:.0f}" for value in features.extent)
        is_small = any(value < low for value, (low, _) in pairs)
        is_large = any(value > high for value, (_, high) in pairs)
        if is_small and is_large:
            todo = "check that it shows the region that the model was trained on, and that its spacing is right"
        elif is_small:
            todo = "use the whole image, not a part of it"
        elif is_large:
            todo = "crop it to the region that the model was trained on"
        else:
            todo = ""
        if todo:
            usual = " x ".join(f"{low:.0f} to {high:.0f}" for _, (low, high) in pairs)
            sentence = (
                f"The image covers {size} mm ({', '.join(_AXES)}), and those that the model {bundle.name} was trained "
                f"on {usual} mm: {todo}."
            )
            found.append(InputWarning(EXTENT, sentence))
    for what, value, allowed in (
        ("The slices are {} mm apart", features.slice_spacing, expected.slice_spacing_mm),
        ("The pixels are {} mm wide", features.pixel_spacing, expected.pixel_spacing_mm),
    ):
        if allowed is not None and not _within(value, allowed):
            sentence = (
                f"{what.format(f'{value:.2g}')}, and the model {bundle.name} was trained on {allowed[0]:.2g} to "
                f"{allowed[1]:.2g} mm: expect a less accurate result."
            )
            found.append(InputWarning(SPACING, sentence))
    return found


def _single_image_warnings(volume: Volume, expected: ExpectedInput, bundle: Bundle) -> list[InputWarning]:
    if min(volume.shape) == 1:
        return _intensity_warning(image_histogram(volume, bundle.window), expected, bundle)
    sentence = (
        f"This is {'a video' if volume.is_video else 'a volume'}, and the model {bundle.name} was trained on single "
        f"images ({bundle.modalities[0]}): choose such an image."
    )
    return [InputWarning(MODALITY, sentence)]


def _intensity_warning(histogram: NDArray[np.float64], expected: ExpectedInput, bundle: Bundle) -> list[InputWarning]:
    if expected.histogram is None:
        return []
    if histogram_distance(histogram, expected.histogram) <= expected.max_histogram_distance:
        return []
    sentence = (
        f"The intensities are distributed unlike those of the images that the model {bundle.name} was trained on: "
        "check that this is the right sequence, and that its background is empty."
    )
    return [InputWarning(INTENSITY, sentence)]


def _within(value: float, allowed: Range) -> bool:
    return allowed[0] <= value <= allowed[1]
