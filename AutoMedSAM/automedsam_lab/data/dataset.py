"""A labelled dataset as every command reads it: native cases by split, whatever their files look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.splits import UNSEEN, evenly_spaced, split_name

if TYPE_CHECKING:
    from automedsam.core.boxes import Box
    from automedsam.core.volume import Plane, Volume


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A case in memory.

    Attributes:
        volume: The image on its native grid, which has the spacing in mm.
        reference: Label values `(K, J, I)` uint8 on the grid of the volume; None if there are only boxes.
        boxes: If there are only boxes: by frame, in native pixels. Frames without an entry were not annotated.
    """

    volume: Volume
    reference: NDArray[np.uint8] | None = None
    boxes: Mapping[int, Sequence[Box]] | None = None


@dataclass(frozen=True, eq=False)
class CaseFrames:
    """A case as 2-D frames, as the engine shows them to its networks.

    Attributes:
        volume: The image, for the way back.
        plane: The plane of the frames.
        frames: `(N, H, W)` uint8 gray levels.
        labels: `(N, H, W)` uint8 reference labels.
    """

    volume: Volume
    plane: Plane
    frames: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class DatasetCase:
    """A case that can be loaded.

    Attributes:
        name: Name of the case: letters, digits, `.`, `_` and `-`.
        patient: The patient; splits are drawn by patient.
        modality: The modality as bundles name it; "" if unknown.
        load: Loads the case. Raises an `AutoMedSAMError` that names the file if one is damaged, the label is on
            another grid than its image, or has values outside its scheme.
        plane: The plane of the frames; None for the plane in which the volume was acquired.
        window: Intensities that map to black and white; None for percentiles of the volume.
        is_expert: Whether an expert drew the reference. Other cases are for training only.
    """

    name: str
    patient: str
    modality: str
    load: Callable[[], LoadedCase]
    plane: Plane | None = None
    window: tuple[float, float] | None = None
    is_expert: bool = True

    def load_with_masks(self) -> tuple[Volume, NDArray[np.uint8]]:
        """The volume and its reference labels `(K, J, I)` uint8.

        Raises:
            AutoMedSAMError: The case cannot be read, or it has boxes but no masks.
        """
        return self.masks_of(self.load())

    def masks_of(self, loaded: LoadedCase) -> tuple[Volume, NDArray[np.uint8]]:
        """As `load_with_masks`, of a case that is loaded already."""
        if loaded.reference is None:
            message = f"The case {self.name} has boxes but no masks; choose a dataset with masks."
            raise AutoMedSAMError(message)
        return loaded.volume, loaded.reference

    def load_frames(self) -> CaseFrames:
        """The case as frames of its plane.

        Raises:
            AutoMedSAMError: As `load_with_masks`.
        """
        from automedsam.core.intensity import to_uint8

        volume, reference = self.load_with_masks()
        plane = self.plane or volume.default_plane()
        frames = to_uint8(volume.to_frames(plane)[0], self.window)
        labels = replace(volume, array=reference).to_frames(plane)[0]
        return CaseFrames(volume, plane, frames, labels)


class Dataset(Protocol):
    """Labelled cases, split by patient."""

    @property
    def name(self) -> str:
        """A short name, for files and tables."""
        ...

    @property
    def title(self) -> str:
        """What it is, as a part of a sentence."""
        ...

    @property
    def labels(self) -> Mapping[int, str]:
        """Names by label value."""
        ...

    @property
    def patients(self) -> Mapping[str, Sequence[str]]:
        """All patients by split, including those whose files are not here."""
        ...

    def cases(self, split: str) -> list[DatasetCase]:
        """The cases of a split whose files are here, ordered by name.

        Args:
            split: "train", "val", "test", or "unseen" for all cases outside train and val.

        Raises:
            AutoMedSAMError: There is no such split, or the files of the dataset are gone.
        """
        ...

    def describe(self, split: str, count: int) -> str:
        """What `count` cases of a split are and where they are, as a part of a sentence."""
        ...


def select_cases(dataset: Dataset, split: str = "test", limit: int | None = None) -> list[DatasetCase]:
    """The cases of a split to report on: those whose reference an expert drew.

    Args:
        dataset: The dataset.
        split: "train", "val", "test" or "unseen"; see `Dataset.cases`.
        limit: At most this many, evenly spaced; None for all.

    Raises:
        AutoMedSAMError: As `Dataset.cases`, or there are no such cases.
    """
    split = split_name(split)
    found = [case for case in dataset.cases(split) if case.is_expert]
    if not found:
        others = [name for name in ("train", "val", "test", UNSEEN) if name != split]
        message = (
            f"The split {split!r} of {dataset.title} has no cases here; choose {', '.join(others[:-1])} or "
            f"{others[-1]}, or another folder."
        )
        raise AutoMedSAMError(message)
    return evenly_spaced(found, limit)


def selection_cases(dataset: Dataset) -> tuple[list[DatasetCase], str]:
    """The cases that may select a setting, such as a threshold, and the name of their split.

    These are the validation cases; if there are none, the training cases.

    Raises:
        AutoMedSAMError: As `select_cases`.
    """
    split = "val" if dataset.patients.get("val") else "train"
    return select_cases(dataset, split), split


def training_cases(dataset: Dataset, *, experts_only: bool = False) -> list[DatasetCase]:
    """The training cases.

    Args:
        dataset: The dataset.
        experts_only: Leave out cases whose reference no expert drew.

    Raises:
        AutoMedSAMError: There are none here.
    """
    found = [case for case in dataset.cases("train") if case.is_expert or not experts_only]
    if not found:
        message = f"{dataset.title[:1].upper()}{dataset.title[1:]} has no training cases here; give another folder."
        raise AutoMedSAMError(message)
    return found
