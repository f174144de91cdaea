"""Many small generated volumes as a cohort: `python Testing/support/tiny_cohort.py FOLDER COUNT`."""

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def write_tiny_case(path: Path, seed: int, side: int = 16) -> Path:
    """An ellipsoid in noise, named T1 by nothing but the model that takes it."""
    random = np.random.default_rng(seed)
    k, j, i = np.mgrid[:side, :side, :side] - (side - 1) / 2
    radii = random.uniform(side / 6, side / 3, 3)
    inside = (k / radii[0]) ** 2 + (j / radii[1]) ** 2 + (i / radii[2]) ** 2 < 1
    voxels = random.normal(100, 10, inside.shape) + 80 * inside
    sitk.WriteImage(sitk.GetImageFromArray(voxels.astype(np.float32)), str(path))
    return path


def write_tiny_cohort(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        write_tiny_case(folder / f"case{index:04d}.nii.gz", index)
    return folder


if __name__ == "__main__":
    write_tiny_cohort(Path(sys.argv[1]), int(sys.argv[2]))
