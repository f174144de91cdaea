"""The native pixels and labels of a prepared dataset's cases, read as `prepare` read them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.prepared.dataset import PreparedCase, PreparedDataset
from automedsam_lab.data.readers.base import ArchiveEntry
from automedsam_lab.data.readers.registry import DatasetFormat, open_dataset

# Red, green and blue as ITU-R BT.601 weighs them, as the engine does.
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
# As many slices without an object as there are, where prepare keeps some alone.
_ALL = 1e9


@dataclass(frozen=True, eq=False)
class NativeFrames:
    """A case as the engine would look at it, slice by slice or frame by frame.

    Attributes:
        frames: `(N, h, w)` uint8 grey levels, colours as luminance.
        labels: `(N, h, w)` uint8, the dataset's label values.
    """

    frames: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class NativeReader:
    """Reads cases by the layout, the plane, the window and the label values that the dataset was prepared with.

    Args:
        dataset: whose cases are read.

    Raises:
        AutoMedSAMError: if the archive is not there, or of a layout that this version does not know.
    """

    def __init__(self, dataset: PreparedDataset) -> None:
        self._dataset = dataset
        try:
            layout = DatasetFormat(dataset.name)
        except ValueError as error:
            message = f"The manifest of {dataset.folder} names an archive that is not known here ({error})."
            raise AutoMedSAMError(message) from error
        self._archive = open_dataset(layout, dataset.root, replace(dataset.manifest.choices, empty=_ALL, every=1))

    def read(self, case: PreparedCase) -> NativeFrames | None:
        """All slices or frames of a case with their labels; of a video with masks beside it, those that have one.

        Returns:
            None where the archive has boxes alone, or no objects for this case.

        Raises:
            AutoMedSAMError: if a file is damaged or does not fit the others.
        """
        root = self._dataset.root
        source = ArchiveEntry(
            case=case.name,
            patient=case.patient,
            images=tuple(path.relative_to(root).as_posix() for path in case.images),
            label=None if case.label is None else case.label.relative_to(root).as_posix(),
            scheme=case.scheme,
            modality=case.modality,
            values=dict(case.values),
            masks={path.relative_to(root).as_posix(): value for path, value in case.masks.items()},
        )
        frames, labels = [], []
        for picture in self._archive.pictures(source):
            if picture.labels is None:
                return None
            frames.append(_gray(picture.pixels))
            labels.append(picture.labels)
        if not frames:
            return None
        return NativeFrames(np.stack(frames), np.stack(labels))


def _gray(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.ndim == 2:
        return pixels
    gray: NDArray[np.uint8] = np.rint(pixels.astype(np.float32) @ _LUMINANCE).astype(np.uint8)
    return gray
