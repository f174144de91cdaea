"""The built-in model of chest X-rays: what it states about itself, and single images from file to labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import DIGITAL_RADIOGRAPH, dataset, save

from automedsam.bundle import Bundle, load_bundle
from automedsam.cli.app import main
from automedsam.contract.backends import Backend
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume
from automedsam.pipeline.confidence import LOW_CONFIDENCE
from automedsam.pipeline.input_check import check_input
from automedsam.pipeline.run import SegmentationRun

FINDINGS = [
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
]  # fmt: skip
# Low enough for boxes on each radiograph.
THRESHOLD = 0.02


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle("chest-xray")


@pytest.fixture(scope="module")
def radiograph(shared_data: Path, bundle: Bundle) -> Path:
    """An image of a patient of the test part."""
    patient = bundle.training_split["test"][0]
    return next((shared_data / "nih_cxr14" / "images_512").glob(f"{patient}_*.jpg"))


def labels_by_command(image: Path, output: Path) -> np.ndarray:
    with pytest.raises(SystemExit) as ended:
        main(["segment", str(image), "-o", str(output), "-m", "chest-xray", "--threshold", str(THRESHOLD)])
    assert not ended.value.code
    return sitk.GetArrayFromImage(sitk.ReadImage(str(output)))


def test_the_manifest_tells_that_there_were_boxes_only_and_that_nothing_is_to_be_trusted(bundle: Bundle) -> None:
    assert [segment.name for segment in bundle.segments] == FINDINGS
    assert "boxes only" in bundle.task and "guess" in bundle.task and "guesses" in bundle.caution
    assert "attribution" in bundle.license and "esearch only" in bundle.license
    assert "dice" not in bundle.measured["int8"] and 0 <= bundle.measured["int8"]["ap50"] <= 1
    assert bundle.has(Backend.INT8) and bundle.has(Backend.FP32_TORCH)


def test_its_three_parts_share_no_patient(bundle: Bundle) -> None:
    train, val, test = (set(bundle.training_split[part]) for part in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (282, 80, 40)
    assert not train & val and not train & test and not val & test


def test_jpeg_png_and_dicom_of_a_radiograph_give_the_same_labels(radiograph: Path, tmp_path: Path) -> None:
    pixels = read_volume(radiograph).array[0]
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(tmp_path / "x.png"))
    made = dataset(pixels.astype(np.uint16), DIGITAL_RADIOGRAPH, "DX")
    made.SeriesDescription = "Chest PA"
    save(made, tmp_path / "x.dcm")
    labels = labels_by_command(radiograph, tmp_path / "a.png")
    assert labels.shape == (512, 512) and 0 < np.count_nonzero(labels) < labels.size
    assert set(np.unique(labels)) <= set(range(9))
    np.testing.assert_array_equal(labels_by_command(tmp_path / "x.png", tmp_path / "b.png"), labels)
    from_dicom = labels_by_command(tmp_path / "x.dcm", tmp_path / "c.nii.gz")
    np.testing.assert_array_equal(from_dicom.reshape(labels.shape), labels)


def test_a_radiograph_is_not_warned_of_and_none_of_its_findings_is_certain(radiograph: Path, bundle: Bundle) -> None:
    run = SegmentationRun(read_volume(radiograph), bundle, threshold=THRESHOLD)
    list(run.events())
    assert not run.input_warnings
    assert [one.index for one in run.confidence()] == [0]
    assert run.confidence()[0].confidence < LOW_CONFIDENCE


@pytest.mark.parametrize("name", ["totalseg_ct/example_ct_sm.nii.gz", "whole_head_flair/isbi2015_test01_flair.nii.gz"])
def test_volumes_are_warned_of(name: str, shared_data: Path, bundle: Bundle) -> None:
    warnings = check_input(read_volume(shared_data / name), bundle)
    assert any("This is a volume" in warning.sentence for warning in warnings)


def test_a_slice_of_ct_is_refused_and_an_endoscopy_image_is_warned_of_by_its_name(
    bundle: Bundle, tmp_path: Path
) -> None:
    ct = save(dataset(np.arange(600, dtype=np.uint16).reshape(20, 30), modality="CT"), tmp_path / "ct.dcm")
    with pytest.raises(AutoMedSAMError, match="has only 1 slice"):
        read_volume(ct)
    picture = np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(picture), str(tmp_path / "colonoscopy.png"))
    warnings = check_input(read_volume(tmp_path / "colonoscopy.png"), bundle)
    assert "modality" in {warning.code for warning in warnings}
