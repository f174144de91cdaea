"""The cases of a prepared dataset at their native resolution, as an evaluation takes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box
from automedsam.errors import AutoMedSAMError
from automedsam.io.image_reader import IMAGE_SUFFIXES
from automedsam.io.volume_reader import read_volume
from automedsam_lab.evaluation.cases import EvaluationCase, LoadedCase

if TYPE_CHECKING:
    from automedsam.core.volume import Volume
    from automedsam_lab.data.prepared.dataset import PreparedCase, PreparedDataset, PreparedImage


def prepared_subjects(dataset: PreparedDataset, part: str) -> list[EvaluationCase]:
    """The native cases of a part of a prepared dataset.

    Masks are the archive's own, at native resolution; boxes, where there are no masks, are the prepared ones put back
    to native pixels.

    Args:
        dataset: what was prepared.
        part: "train", "val" or "test".

    Raises:
        AutoMedSAMError: if there is no such part, it is empty, or its native files are gone.
    """
    images: dict[Path, list[PreparedImage]] = {}
    for image in dataset.part(part):
        images.setdefault(dataset.root / image.source, []).append(image)
    return [
        EvaluationCase(
            case.name,
            case.patient,
            "" if case.modality == "any" else case.modality,
            _loader(dataset, case, images.get(case.images[0], [])),
        )
        for case in dataset.cases(part)
    ]


def _loader(dataset: PreparedDataset, case: PreparedCase, images: Sequence[PreparedImage]) -> Callable[[], LoadedCase]:
    return lambda: _load(dataset, case, images)


def _load(dataset: PreparedDataset, case: PreparedCase, images: Sequence[PreparedImage]) -> LoadedCase:
    if any(image.mask_path is None for image in images):
        volume = _image(dataset, case)
        return LoadedCase(volume, boxes=_native_boxes(case, volume, images))
    path = case.images[0]
    if path.suffix.lower() == ".npz":
        from automedsam_lab.data.readers.npz import read_npz
        from automedsam_lab.data.readers.volumes import translate

        volume, stored = read_npz(path)
        return LoadedCase(volume, translate(stored, dict(case.values), path))
    volume = _image(dataset, case)
    return LoadedCase(volume, _picture_truth(case, volume) if _is_picture(path) else _volume_truth(case, volume))


def _image(dataset: PreparedDataset, case: PreparedCase) -> Volume:
    volume = read_volume(list(case.images))
    if volume.array.ndim == 4 and len(case.images) == 1:
        return replace(volume, array=volume.array[_channel(dataset, case)])
    return volume


def _channel(dataset: PreparedDataset, case: PreparedCase) -> int:
    """Which channel of a Decathlon file of several was prepared, as its `dataset.json` calls them."""
    path = dataset.root / "dataset.json"
    try:
        named = json.loads(path.read_text(encoding="utf-8"))["modality"]
        return [str(name).lower() for _, name in sorted(named.items())].index(case.modality.lower())
    except (OSError, ValueError, KeyError, AttributeError) as error:
        message = f"{case.images[0]} has several channels, and {path} does not tell which is {case.modality}."
        raise AutoMedSAMError(message) from error


def _volume_truth(case: PreparedCase, volume: Volume) -> NDArray[np.uint8]:
    from automedsam_lab.data.readers.volumes import translate

    if case.label is None:
        return np.zeros(volume.shape, np.uint8)
    stored = read_volume(case.label, check_voxels=False)
    if stored.array.ndim == 4 or not volume.same_grid(stored):
        message = f"The label {case.label} does not lie on the grid of {case.images[0]}; use matching files."
        raise AutoMedSAMError(message)
    return translate(stored.array, dict(case.values), case.label)


def _picture_truth(case: PreparedCase, volume: Volume) -> NDArray[np.uint8]:
    from automedsam_lab.data.readers.images import read_mask

    masks = dict(case.masks)
    if case.label is not None:
        # One mask file, bright where the object is; of several values the brightest says what it is.
        masks[case.label] = case.values[max(case.values)] if case.values else 1
    truth = np.zeros(volume.shape, np.uint8)
    for path, value in masks.items():
        truth[0][read_mask(path, volume.shape[1:])] = value
    return truth


def _native_boxes(case: PreparedCase, volume: Volume, images: Sequence[PreparedImage]) -> dict[int, list[Box]]:
    plane = volume.default_plane()
    shape = volume.to_frames(plane).shape[1:]
    boxes = {}
    for image in images:
        index = image.slice or 0
        if index >= shape[0] or image.letterbox.native != shape[1:]:
            message = (
                f"{image.path} was made of a picture of {image.letterbox.native[1]} x {image.letterbox.native[0]} "
                f"pixels, and {case.images[0]} has {shape[2]} x {shape[1]}; prepare the dataset again."
            )
            raise AutoMedSAMError(message)
        boxes[index] = [image.letterbox.box_to_native(box) for box in image.boxes]
    return boxes


def _is_picture(path: Path) -> bool:
    return path.name.lower().endswith(IMAGE_SUFFIXES)
