"""DICOM SEG: written, and read back by highdicom and dcmqi at the same points."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dicom_files as dicom
import numpy as np
import pytest
import SimpleITK as sitk

from automedsam import AutoMedSAMError, Segment, Segmentation, Volume, load_bundle, read_volume, write_segmentation

hd = pytest.importorskip("highdicom", reason="highdicom is not installed")

COS, SIN = 0.9553365, 0.2955202
ORIENTATIONS = {
    "axial": dicom.AXIAL,
    "negated column cosines": (1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    "negated row cosines": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "oblique": (COS, SIN, 0.0, 0.0, 0.0, -1.0),
}
Points = set[tuple[int, float, float, float]]


def series(folder: Path, orientation: tuple[float, ...], step: float = 2.5) -> Path:
    normal = np.cross(orientation[:3], orientation[3:])
    return dicom.slices(folder, dicom.voxels(), dicom.places(6, normal * step), orientation)


def segmented(volume: Volume, *, known_objects: bool = True) -> Segmentation:
    """Two lesions and another structure, nowhere symmetric."""
    objects = np.zeros(volume.shape, np.uint16)
    objects[1:3, 2:5, 1:4], objects[4, 1:3, 5:7], objects[3, 5, 6] = 1, 2, 3
    labels = np.array([0, 1, 2, 1], np.uint8)[objects]
    segments = [
        Segment(1, "Lesion", (1.0, 0.5, 0.0), load_bundle("glioma").segments[0].terminology),
        Segment(2, "Edema", (0.0, 1.0, 0.0), ""),
    ]
    provenance = {"model": "glioma", "model_version": "1.2", "model_hash": "ab" * 32, "threshold": 0.4}
    return Segmentation(labels, volume, segments, provenance=provenance, objects=objects if known_objects else None)


def points(affine_of: Callable[[tuple[int, int, int]], object], numbers: np.ndarray) -> Points:
    """Number and place in mm of each voxel of `(K, J, I)`."""
    found = set()
    for k, j, i in np.argwhere(numbers):
        x, y, z = (round(float(at), 2) + 0.0 for at in affine_of((int(i), int(j), int(k))))
        found.add((int(numbers[k, j, i]), x, y, z))
    return found


def meant(segmentation: Segmentation, numbers: np.ndarray) -> Points:
    affine = segmentation.volume.affine
    return points(lambda ijk: (affine @ [*ijk, 1.0])[:3], numbers)


def read_by_highdicom(path: Path) -> Points:
    volume = hd.seg.segread(path).get_volume(combine_segments=True)
    numbers = volume.array.transpose(2, 1, 0)
    return points(lambda ijk: (volume.affine @ [*ijk, 1.0])[:3], numbers)


def files_of(tmp_path: Path, orientation: tuple[float, ...], kind: str) -> Path:
    if kind == "slices":
        return series(tmp_path / "series", orientation)
    places = dicom.places(6, np.cross(orientation[:3], orientation[3:]) * dicom.STEP)
    # Stored in another order than that of the slices.
    return dicom.enhanced(tmp_path / "many.dcm", dicom.voxels(), places[[3, 0, 5, 1, 4, 2]], orientation)


@pytest.mark.parametrize("seg_type", ["binary", "labelmap"])
@pytest.mark.parametrize("kind", ["slices", "multi-frame"])
@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_highdicom_reads_every_voxel_where_it_was(
    tmp_path: Path, orientation: tuple[float, ...], kind: str, seg_type: str
) -> None:
    segmentation = segmented(read_volume(files_of(tmp_path, orientation, kind)))
    write_segmentation(segmentation, tmp_path / "seg.dcm", seg_type=seg_type)
    assert read_by_highdicom(tmp_path / "seg.dcm") == meant(segmentation, segmentation.objects)


@pytest.mark.parametrize("kind", ["slices", "multi-frame"])
@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_dcmqi_reads_every_voxel_where_it_was(tmp_path: Path, orientation: tuple[float, ...], kind: str) -> None:
    program = shutil.which(
        "segimage2itkimage", path=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])
    )
    if program is None:
        pytest.skip("dcmqi is not installed")
    segmentation = segmented(read_volume(files_of(tmp_path, orientation, kind)))
    write_segmentation(segmentation, tmp_path / "seg.dcm")
    out = tmp_path / "out"
    out.mkdir()
    ran = subprocess.run(
        [program, "--inputDICOM", str(tmp_path / "seg.dcm"), "--outputDirectory", str(out), "-t", "nrrd"],
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found: Points = set()
    for number in (1, 2, 3):
        image = sitk.ReadImage(str(out / f"{number}.nrrd"))
        shown = (sitk.GetArrayFromImage(image) > 0) * number
        found |= points(image.TransformIndexToPhysicalPoint, shown)
    assert found == meant(segmentation, segmentation.objects)


def test_each_object_has_codes_an_algorithm_and_a_tracking_uid_of_its_own(tmp_path: Path) -> None:
    segmentation = segmented(read_volume(series(tmp_path / "series", dicom.AXIAL)))
    write_segmentation(segmentation, tmp_path / "seg.dcm")
    found = hd.seg.segread(tmp_path / "seg.dcm")
    one, edema, other = (found.get_segment_description(number) for number in (1, 2, 3))
    assert [part.segment_label for part in (one, edema, other)] == ["Lesion 1", "Edema", "Lesion 3"]
    assert len({part.tracking_uid for part in (one, edema, other)}) == 3
    assert one.segmented_property_type.value == "108369006" and one.segmented_property_type.meaning == "Neoplasm"
    assert one.segmented_property_category.value == "49755003"
    assert one.anatomic_regions[0].value == "12738006"
    assert edema.segmented_property_type.value == "85756007"
    assert one.algorithm_type.value == "AUTOMATIC"
    algorithm = one.algorithm_identification[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("AutoMedSAM glioma", "1.2")
    assert found.SegmentationType == "BINARY" and found.Modality == "SEG"


def test_corrected_results_are_semiautomatic(tmp_path: Path) -> None:
    segmentation = segmented(read_volume(series(tmp_path / "series", dicom.AXIAL)))
    segmentation.provenance["prompts"] = {"objects": []}
    write_segmentation(segmentation, tmp_path / "seg.dcm")
    description = hd.seg.segread(tmp_path / "seg.dcm").get_segment_description(1)
    assert description.algorithm_type.value == "SEMIAUTOMATIC"


def test_it_belongs_to_the_study_and_names_the_image_of_each_frame(tmp_path: Path) -> None:
    volume = read_volume(series(tmp_path / "series", dicom.AXIAL))
    write_segmentation(segmented(volume), tmp_path / "seg.dcm")
    found = hd.seg.segread(tmp_path / "seg.dcm")
    assert (found.StudyInstanceUID, found.FrameOfReferenceUID) == ("2.25.9", "2.25.7")
    assert found.SeriesInstanceUID != "2.25.1"
    from pydicom import dcmread

    by_place = {}
    for path, _ in volume.source_frames:
        header = dcmread(path)
        by_place[tuple(float(at) for at in header.ImagePositionPatient)] = header.SOPInstanceUID
    for frame in found.PerFrameFunctionalGroupsSequence:
        place = tuple(float(at) for at in frame.PlanePositionSequence[0].ImagePositionPatient)
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == by_place[place]


def test_slices_of_a_tilted_gantry_keep_their_own_places(tmp_path: Path) -> None:
    folder = dicom.slices(tmp_path / "series", dicom.voxels(), dicom.places(6, (0.0, 0.5, 2.5)))
    segmentation = segmented(read_volume(folder))
    write_segmentation(segmentation, tmp_path / "seg.dcm")
    found = hd.seg.segread(tmp_path / "seg.dcm")
    numbers = {}
    for frame, pixels in zip(found.PerFrameFunctionalGroupsSequence, found.pixel_array, strict=True):
        place = tuple(float(at) for at in frame.PlanePositionSequence[0].ImagePositionPatient)
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for j, i in np.argwhere(pixels):
            numbers[round(place[0] + 0.5 * i, 2), round(place[1] + 0.75 * j, 2), round(place[2], 2)] = number
    assert {(number, *place) for place, number in numbers.items()} == meant(segmentation, segmentation.objects)


def test_without_known_objects_each_segment_is_one(tmp_path: Path) -> None:
    segmentation = segmented(read_volume(series(tmp_path / "series", dicom.AXIAL)), known_objects=False)
    write_segmentation(segmentation, tmp_path / "seg.dcm")
    assert read_by_highdicom(tmp_path / "seg.dcm") == meant(segmentation, segmentation.labels)


def test_images_that_are_not_dicom_are_refused_and_nothing_is_written(
    a_segmentation: Segmentation, tmp_path: Path
) -> None:
    with pytest.raises(AutoMedSAMError, match="not a DICOM volume"):
        write_segmentation(a_segmentation, tmp_path / "seg.dcm")
    assert not list(tmp_path.iterdir())


def test_an_empty_result_is_refused_and_an_older_file_stays(tmp_path: Path) -> None:
    segmentation = segmented(read_volume(series(tmp_path / "series", dicom.AXIAL)))
    (tmp_path / "seg.dcm").write_bytes(b"older")
    empty = Segmentation(np.zeros_like(segmentation.labels), segmentation.volume, segmentation.segments)
    with pytest.raises(AutoMedSAMError, match="cannot be empty"):
        write_segmentation(empty, tmp_path / "seg.dcm")
    assert (tmp_path / "seg.dcm").read_bytes() == b"older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seg.dcm", "series"]


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_images_without_what_a_reference_needs_are_refused(tmp_path: Path, keyword: str) -> None:
    folder = dicom.slices(tmp_path / "series", dicom.voxels(), **{keyword: ""})
    with pytest.raises(AutoMedSAMError, match=f"lacks {keyword}"):
        write_segmentation(segmented(read_volume(folder)), tmp_path / "seg.dcm")
