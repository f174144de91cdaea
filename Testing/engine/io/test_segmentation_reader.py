"""Label files of this and other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam import AutoMedSAMError, Segmentation, measure_file, write_segmentation
from automedsam.io.segmentation_reader import read_labels


def test_what_was_written_is_read(a_segmentation: Segmentation, tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(a_segmentation, path)
    found = read_labels(path)
    assert [segment for segment, _ in found.segments] == a_segmentation.segments
    assert np.array_equal(found.mask(0), a_segmentation.labels == 1)
    assert found.provenance == a_segmentation.provenance
    assert found.grid.same_grid(a_segmentation.volume)


def test_a_label_map_has_a_segment_for_each_value(a_segmentation: Segmentation, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_segmentation(a_segmentation, path)
    found = read_labels(path)
    assert [(segment.value, segment.name) for segment, _ in found.segments] == [(1, "Label 1"), (2, "Label 2")]
    assert found.provenance == {}


def test_layers_that_overlap_are_measured_each(a_segmentation: Segmentation, tmp_path: Path) -> None:
    volume = a_segmentation.volume
    one, other = (a_segmentation.labels > 0).astype(np.uint8), np.ones(volume.shape, np.uint8)
    image = sitk.Compose(volume.to_image(one), volume.to_image(other))
    for index, layer in enumerate(("0", "1")):
        for key, value in {"ID": f"S{index}", "Name": f"N{index}", "LabelValue": "1", "Layer": layer}.items():
            image.SetMetaData(f"Segment{index}_{key}", value)
    path = tmp_path / "layers.seg.nrrd"
    sitk.WriteImage(image, str(path))
    whole = [one for one in measure_file(path).measures if one.number is None]
    assert [one.segment for one in whole] == ["N0", "N1"]
    assert [one.voxels for one in whole] == [int((a_segmentation.labels > 0).sum()), volume.array.size]


def test_slices_of_a_file_that_slicer_cropped_count_as_in_the_image(
    a_segmentation: Segmentation, tmp_path: Path
) -> None:
    volume = a_segmentation.volume
    labels = np.zeros(volume.shape, np.uint8)
    labels[3:5, 2:6, 4:7] = 1
    image = volume.to_image(labels)[4:7, 2:6, 3:5]
    image.SetMetaData("Segment0_ID", "S")
    image.SetMetaData("Segment0_LabelValue", "1")
    image.SetMetaData("Segment0_Name", "Lesion")
    image.SetMetaData("Segmentation_ReferenceImageExtentOffset", "4 2 3")
    path, source = tmp_path / "cropped.seg.nrrd", tmp_path / "image.nrrd"
    sitk.WriteImage(image, str(path))
    sitk.WriteImage(volume.to_image(volume.array), str(source))
    whole, only = measure_file(path).measures
    assert whole.slices == only.slices == (3, 4)
    with_image = measure_file(path, image=source).measures[0]
    assert with_image.slices == (3, 4) and with_image.long_mm == whole.long_mm
    assert with_image.mean == pytest.approx(volume.array[labels > 0].mean())
    assert with_image.deviation == pytest.approx(volume.array[labels > 0].std())


def test_an_image_is_no_label_file(a_segmentation: Segmentation, tmp_path: Path) -> None:
    path = tmp_path / "image.nrrd"
    volume = a_segmentation.volume
    sitk.WriteImage(volume.to_image(volume.array.astype(np.float32) - 0.5), str(path))
    with pytest.raises(AutoMedSAMError, match="give a label map"):
        read_labels(path)


def test_a_reference_gives_dice_by_segment_and_object(a_segmentation: Segmentation, tmp_path: Path) -> None:
    found, reference = tmp_path / "a.seg.nrrd", tmp_path / "b.seg.nrrd"
    write_segmentation(a_segmentation, found)
    a_segmentation.labels[1, 1, 1] = 0
    a_segmentation.labels[0, 6, 0] = 2
    write_segmentation(a_segmentation, reference)
    measured = measure_file(found, reference=reference)
    dices = {(one.segment, one.number): one.dice for one in measured.measures}
    assert dices == pytest.approx({
        ("Anterior", None): 14 / 15, ("Anterior", 1): 14 / 15, ("Posterior", None): 16 / 17, ("Posterior", 1): 1.0,
    })  # fmt: skip
    assert measured.missed == {"Anterior": 0, "Posterior": 1}


def test_a_reference_on_another_grid_or_without_the_segment_is_refused(
    a_segmentation: Segmentation, tmp_path: Path
) -> None:
    found, reference = tmp_path / "a.seg.nrrd", tmp_path / "b.nrrd"
    write_segmentation(a_segmentation, found)
    image = a_segmentation.volume.to_image(a_segmentation.labels)
    sitk.WriteImage(sitk.BinaryThreshold(image, 2, 2, 2, 0), str(reference))
    with pytest.raises(AutoMedSAMError, match="no segment that is named Anterior"):
        measure_file(found, reference=reference)
    image.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(image, str(reference))
    with pytest.raises(AutoMedSAMError, match="different grids"):
        measure_file(found, reference=reference)
