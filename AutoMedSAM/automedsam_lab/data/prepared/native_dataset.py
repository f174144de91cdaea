"""A prepared dataset as any other dataset: its native cases by split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box
from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam.io.image_reader import IMAGE_SUFFIXES
from automedsam.io.volume_reader import read_volume
from automedsam_lab.data.dataset import DatasetCase, LoadedCase
from automedsam_lab.data.prepared.dataset import PreparedCase, PreparedDataset, PreparedImage
from automedsam_lab.data.prepared.native_cases import NativeReader
from automedsam_lab.data.splits import SPLITS, UNSEEN, split_name

if TYPE_CHECKING:
    from automedsam.core.volume import Volume


@dataclass(frozen=True)
class NativeDataset:
    """The native cases of a prepared dataset.

    Masks are the archive's own. Boxes, if there are no masks, are the prepared ones in native pixels.

    Attributes:
        prepared: What `automedsam-lab prepare` wrote.
    """

    prepared: PreparedDataset

    @cached_property
    def reader(self) -> NativeReader:
        """Reads cases as `prepare` read them."""
        return NativeReader(self.prepared)

    @property
    def name(self) -> str:
        return self.prepared.name

    @property
    def title(self) -> str:
        return f"the prepared dataset {self.prepared.folder}"

    @property
    def labels(self) -> Mapping[int, str]:
        return self.prepared.labels

    @property
    def patients(self) -> Mapping[str, Sequence[str]]:
        return {split: self.prepared.manifest.patients.get(split, []) for split in SPLITS}

    def cases(self, split: str) -> list[DatasetCase]:
        split = split_name(split)
        # Every patient is in a split, so those outside train and val are the test patients.
        split = "test" if split == UNSEEN else split
        if self.prepared.is_empty(split):
            return []
        images: dict[Path, list[PreparedImage]] = {}
        for image in self.prepared.part(split):
            images.setdefault(self.prepared.root / image.source, []).append(image)
        return [self._case(case, images.get(case.images[0], [])) for case in self.prepared.cases(split)]

    def describe(self, split: str, count: int) -> str:
        cases = f"{count} case{'' if count == 1 else 's'}"
        return f"{split} split of {self.name}, {cases} of the prepared dataset {self.prepared.folder}"

    def _case(self, case: PreparedCase, images: Sequence[PreparedImage]) -> DatasetCase:
        planes = {image.plane for image in images} - {None}
        choices = self.prepared.manifest.choices
        return DatasetCase(
            case.name,
            case.patient,
            "" if case.modality == "any" else case.modality,
            lambda: _load(self, case, images),
            plane=Plane(planes.pop()) if len(planes) == 1 else choices.plane,
            window=choices.window,
        )


def _load(dataset: NativeDataset, case: PreparedCase, images: Sequence[PreparedImage]) -> LoadedCase:
    if any(image.mask_path is None for image in images):
        volume = _image(dataset.prepared, case)
        return LoadedCase(volume, boxes=_native_boxes(case, volume, images))
    path = case.images[0]
    if path.suffix.lower() == ".npz":
        from automedsam_lab.data.readers.npz import read_npz
        from automedsam_lab.data.readers.volumes import translate

        volume, stored = read_npz(path)
        return LoadedCase(volume, translate(stored, dict(case.values), path))
    volume = _image(dataset.prepared, case)
    if _is_picture(path):
        return LoadedCase(volume, _picture_reference(dataset.reader, case, volume))
    return LoadedCase(volume, _volume_reference(case, volume))


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


def _volume_reference(case: PreparedCase, volume: Volume) -> NDArray[np.uint8]:
    from automedsam_lab.data.readers.volumes import translate

    if case.label is None:
        return np.zeros(volume.shape, np.uint8)
    stored = read_volume(case.label, check_voxels=False)
    if stored.array.ndim == 4 or not volume.same_grid(stored):
        message = f"The label {case.label} does not lie on the grid of {case.images[0]}; use matching files."
        raise AutoMedSAMError(message)
    return translate(stored.array, dict(case.values), case.label)


def _picture_reference(reader: NativeReader, case: PreparedCase, volume: Volume) -> NDArray[np.uint8]:
    """The labels as the reader of the archive gives them, as in training."""
    read = reader.read(case)
    if read is None:
        return np.zeros(volume.shape, np.uint8)
    if read.labels.shape != volume.shape:
        message = f"The mask of {case.images[0]} has {read.labels.shape[1:]} pixels, the image {volume.shape[1:]}."
        raise AutoMedSAMError(message)
    return read.labels


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
