"""A cohort of DICOM series written as DICOM SEG: the same voxels at the same points, also after a correction."""

from collections.abc import Callable
from pathlib import Path

import dicom_files as dicom
import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.core.volume import Volume
from automedsam.io.segmentation_reader import read_labels
from automedsam.review.stored_case import open_case, save_case

hd = pytest.importorskip("highdicom", reason="highdicom is not installed")

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def study(tmp_path: Path, a_head: Volume) -> Path:
    """The head with its upper lesions, 1 x 1 x 2.5 mm, as 26 files."""
    k = np.arange(len(a_head.array))[:, np.newaxis]
    dicom.slices(tmp_path / "study" / "series", a_head.array, a_head.origin + k * [0.0, 0.0, a_head.spacing[2]])
    return tmp_path / "study"


def marked(path: Path) -> set[tuple[float, ...]]:
    """The points in mm of the voxels of a SEG."""
    seg = hd.seg.segread(path)
    volume = seg.get_volume(combine_segments=True, relabel=True, skip_overlap_checks=True)
    points = volume.map_indices_to_reference(np.argwhere(volume.array > 0))
    return {tuple(point) for point in np.round(points, 1)}


def expected(labels: np.ndarray, volume: Volume) -> set[tuple[float, ...]]:
    return {tuple(np.round(volume.world(tuple(map(float, at))), 1)) for at in np.argwhere(labels)}


def test_a_seg_beside_the_segmentation_shows_the_same_voxels(command: Command, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, error = command("cohort", study, "-o", out, "--workers", "1", "--format", "dcm")
    assert code == 0, error
    (seg,) = (out / "segmentations").glob("*.dcm")
    file = read_labels(seg.with_suffix(".seg.nrrd"))
    assert file.mask(0).any()
    assert marked(seg) == expected(file.mask(0), file.grid)

    name = next((out / "cases").glob("*.json")).stem
    fixed = np.zeros_like(file.grid.array, np.uint8)
    fixed[3:6, 100:104, 90:95] = 1
    case = open_case(out, name)
    labels = Volume(fixed, file.grid.spacing, file.grid.origin, file.grid.direction)
    save_case(out, name, labels, case.result.segments)
    assert marked(seg) == expected(fixed > 0, file.grid)


def test_a_case_that_is_not_dicom_fails_with_its_reason(command: Command, a_head: Volume, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    sitk.WriteImage(a_head.to_image(a_head.array), str(tmp_path / "in" / "flair.nii.gz"))
    code, _, error = command("cohort", tmp_path / "in", "-o", tmp_path / "out", "--workers", "1", "--format", "dcm")
    assert code == 1 and "the input is not a DICOM volume" in error.replace("\n", " ")
    assert not list((tmp_path / "out" / "segmentations").iterdir())
