"""Small volumes that the engine's tests share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.segmentation import Segment, Segmentation
from automedsam.volume import Volume

MASS = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^49755003^Morphologically Altered "
    "Structure~SCT^4147007^Mass~^^~Anatomic codes - DICOM master list~^^~^^"
)


@pytest.fixture
def a_volume() -> Volume:
    """A small anisotropic, oblique volume of int16 noise, 6 x 7 x 8 voxels."""
    tilt = np.deg2rad(20.0)
    matrix = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    array = np.random.default_rng(1).integers(0, 1000, (6, 7, 8)).astype(np.int16)
    direction = tuple(float(value) for row in matrix for value in row)
    return Volume(array, (0.7, 1 / 3, 4.5), (-12.3456789, 1 / 7, 98.7), direction, "head")


@pytest.fixture
def a_segmentation(a_volume: Volume) -> Segmentation:
    """Two labels, of which the second has no voxels in the extent of the first."""
    labels = np.zeros(a_volume.shape, dtype=np.uint8)
    labels[1:3, 1:3, 1:3] = 1
    labels[4:6, 5:7, 6:8] = 2
    segments = [
        Segment(1, "Anterior", (1.0, 0.5, 0.0), MASS),
        Segment(2, "Posterior", (0.1, 0.25, 0.9), MASS),
    ]
    return Segmentation(labels, a_volume, segments, provenance={"model": "glioma", "threshold": 0.25})


@pytest.fixture
def a_picture() -> Volume:
    """One slice of 8 bits, 12 rows and 17 columns."""
    array = np.random.default_rng(2).integers(0, 256, (1, 12, 17)).astype(np.uint8)
    return Volume(array, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


@pytest.fixture
def write_dicom_series() -> Callable[..., None]:
    """A function that writes a volume into a folder as a DICOM MR series."""
    return _write_dicom_series


def _write_dicom_series(volume: Volume, folder: Path, number: int = 1, skip: tuple[int, ...] = ()) -> None:
    folder.mkdir(exist_ok=True)
    image = volume.to_image(volume.array)
    matrix = np.reshape(volume.direction, (3, 3))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index in range(volume.shape[0]):
        if index in skip:
            continue
        one_slice = image[:, :, index]
        one_slice.SetSpacing(volume.spacing[:2])
        tags = {
            "0008|0060": "MR",
            "0008|103e": f"series {number}",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.{number}.{index + 1}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
            "0020|000e": f"1.2.826.0.1.3680043.2.1125.{number}",
            "0020|0013": str(index + 1),
            "0020|0032": "\\".join(f"{value:.9g}" for value in volume.world((index, 0, 0))),
            "0020|0037": "\\".join(f"{value:.9g}" for value in (*matrix[:, 0], *matrix[:, 1])),
            "0018|0050": f"{volume.spacing[2]:.9g}",
        }
        for tag, value in tags.items():
            one_slice.SetMetaData(tag, value)
        # Names against the order of the slices: position decides, not the name.
        writer.SetFileName(str(folder / f"{number}_{99 - index:02d}.dcm"))
        writer.Execute(one_slice)
