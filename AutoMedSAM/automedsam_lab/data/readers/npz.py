"""MedSAM2's packed cases: `imgs`, `gts`, `spacing` and, where known, `origin` and `direction` in one `.npz`."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.core.intensity import check_finite_and_varied
from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.readers.base import (
    AnnotatedImage,
    ArchiveEntry,
    ReaderOptions,
    SkippedEntry,
    files_below,
    relative,
    safe_name,
)
from automedsam_lab.data.readers.volumes import slices, translate

# DeepLesion's names: patient, study, series, first and last slice.
_DEEP_LESION = re.compile(r"^(.*?_\d{6})_\d{2}_\d{2}_\d{3}-\d{3}$")


class Npz:
    """A folder of `.npz` files, at any depth; `imgs` and `gts` are `(D, H, W)`."""

    license = "MedSAM2's RECIST_train_npz (DeepLesion), research only; that of the files where they are others"

    def __init__(self, root: Path, choices: ReaderOptions) -> None:
        self._root, self._choices = root, choices
        self.labels = choices.labels or {1: "lesion"}

    def sources(self) -> Iterator[ArchiveEntry | SkippedEntry]:
        for path in files_below(self._root):
            if path.suffix.lower() != ".npz":
                continue
            case = safe_name(path.stem)
            known = _DEEP_LESION.match(case)
            yield ArchiveEntry(
                case=case,
                patient=self._choices.patient_of(case, known[1] if known else case),
                images=(relative(path, self._root),),
                label=relative(path, self._root),
                modality="CT" if case.startswith("CT_") else None,
                values={value: value for value in self.labels},
            )

    def pictures(self, source: ArchiveEntry) -> Iterator[AnnotatedImage]:
        path = self._root / source.images[0]
        volume, stored = read_npz(path)
        check_finite_and_varied(volume)
        yield from slices(volume, translate(stored, source.values, path), self._choices)


def read_npz(path: Path) -> tuple[Volume, np.ndarray]:
    """A packed case.

    Args:
        path: the `.npz`; without `direction` its slices are taken as axial, right to left and anterior to posterior.

    Returns:
        The volume, and its labels `(K, J, I)` as they are stored.

    Raises:
        AutoMedSAMError: if it is damaged, holds pickled objects, or the labels are not on the images' grid.
    """
    packed: dict[str, Any] = {}
    try:
        with np.load(path, allow_pickle=False) as opened:
            for name in ("imgs", "gts", "spacing", "origin", "direction"):
                if name in opened.files:
                    packed[name] = opened[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        message = f"{path} cannot be read as an npz archive of arrays ({error}); restore it from the archive."
        raise AutoMedSAMError(message) from error
    missing = [name for name in ("imgs", "gts", "spacing") if name not in packed]
    if missing:
        message = f"{path} holds no {' and no '.join(missing)}; give files as MedSAM2's imgs, gts and spacing."
        raise AutoMedSAMError(message)
    if packed["imgs"].ndim != 3 or packed["imgs"].shape != packed["gts"].shape:
        message = (
            f"The gts of {path} have shape {packed['gts'].shape} and its imgs {packed['imgs'].shape}; "
            "they must be one grid of slices, rows and columns."
        )
        raise AutoMedSAMError(message)
    geometry = {
        name: tuple(float(part) for part in np.ravel(packed.get(name, otherwise)))
        for name, otherwise in (("spacing", 0), ("origin", np.zeros(3)), ("direction", np.eye(3)))
    }
    volume = Volume(packed["imgs"], geometry["spacing"], geometry["origin"], geometry["direction"], path.stem)  # type: ignore[arg-type]
    return volume, packed["gts"]
