"""NRRD and MetaImage files that cannot be read say why: a missing file, a number that is none, another packing."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume


def saved(volume: Volume, path: Path) -> Path:
    sitk.WriteImage(volume.to_image(volume.array), str(path))
    return path


def changed(path: Path, old: str, new: str) -> Path:
    """Another line in a header in place of the one that begins so."""
    head, separator, rest = path.read_bytes().partition(b"\n\n" if path.suffix in (".nrrd", ".nhdr") else b"LOCAL\n")
    lines = [new.encode() if line.startswith(old.encode()) else line for line in head.split(b"\n")]
    assert lines != head.split(b"\n")
    path.write_bytes(b"\n".join(lines) + separator + rest)
    return path


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_voxels_in_a_file_that_is_missing(a_volume: Volume, suffix: str, tmp_path: Path) -> None:
    path = saved(a_volume, tmp_path / f"head{suffix}")
    np.testing.assert_array_equal(read_volume(path).array, a_volume.array)
    next(other for other in tmp_path.iterdir() if other != path).unlink()
    with pytest.raises(AutoMedSAMError, match=r"keeps its voxels in head\..*, which is not there; "):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_suffix_in_capitals(a_volume: Volume, suffix: str, tmp_path: Path) -> None:
    path = saved(a_volume, tmp_path / f"head{suffix}").rename(tmp_path / f"head{suffix.upper()}")
    np.testing.assert_array_equal(read_volume(path).array, a_volume.array)


@pytest.mark.parametrize(
    ("suffix", "old", "new", "message"),
    [
        (".mha", "Offset", "Offset = nan 0 0", "'nan'"),
        (".mha", "Offset", "Offset = 0 inf 0", "'inf'"),
        (".mha", "ElementSpacing", "ElementSpacing = 1,0 1,0 2,0", "'1,0'"),
        (".mha", "ElementSpacing", "ElementSpacing = 1 1 0", "voxel size of 0"),
        (".mha", "TransformMatrix", "TransformMatrix = 0 0 0 0 0 0 0 0 0", "axes"),
        (".nrrd", "space origin", "space origin: (nan,0,0)", "origin"),
        (".nrrd", "space directions", "space directions: (1,0,0) (0,1,0) (0,0,0)", "voxel size of 0"),
        (".nrrd", "space: ", "space: left-posterior-inferior", "coordinate space"),
        (".nrrd", "encoding", "encoding: bzip2", "bzip2"),
    ],
)
def test_header_that_makes_no_grid_explains_what_is_wrong(
    a_volume: Volume, suffix: str, old: str, new: str, message: str, tmp_path: Path
) -> None:
    path = changed(saved(a_volume, tmp_path / f"head{suffix}"), old, new)
    with pytest.raises(AutoMedSAMError, match=message) as caught:
        read_volume(path)
    assert "; " in str(caught.value) and "damaged" not in str(caught.value)
