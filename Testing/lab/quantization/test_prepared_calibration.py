"""INT8 is calibrated with the training cases of a prepared dataset, and judged on its validation cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from prepared_files import draw_volume, write_prepared
from typer.testing import CliRunner

from automedsam.core.intensity import to_uint8
from automedsam.detection.detector import ResizeMode
from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.app import app
from automedsam_lab.data.prepared.dataset import PreparedDataset
from automedsam_lab.data.prepared.native_dataset import NativeDataset
from automedsam_lab.quantization.calibration import PreprocessingSpec, calibration_of_dataset
from automedsam_lab.quantization.fidelity import dataset_clips

SIZE = 64


def dataset_of(folder: Path) -> NativeDataset:
    return NativeDataset(PreparedDataset.open(folder))


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    return write_prepared(tmp_path / "drawn")


def test_slices_are_of_training_cases_and_of_no_other(prepared: Path) -> None:
    calibration = calibration_of_dataset(dataset_of(prepared), PreprocessingSpec(SIZE), 8)
    assert {clip.source.name for clip in calibration.clips} == {"a", "b"}
    assert calibration.count == 8 and calibration.slices.shape == (8, 3, SIZE, SIZE) and not calibration.warnings
    frames = {case.name: case.load_frames().frames for case in dataset_of(prepared).cases("train")}
    for clip in calibration.clips:
        assert all(any(np.array_equal(frame, seen) for seen in frames[clip.source.name]) for frame in clip.frames)


def test_the_window_of_the_dataset_is_the_window_of_the_calibration(prepared: Path) -> None:
    path = prepared / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["choices"] = {"window": [0, 100], "plane": "axial"}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    calibration = calibration_of_dataset(dataset_of(prepared), PreprocessingSpec(SIZE), 4)
    volumes = [case.load().volume for case in dataset_of(prepared).cases("train")]
    windowed = np.concatenate([to_uint8(volume.array, (0.0, 100.0)) for volume in volumes])
    assert all(any(np.array_equal(f, w) for w in windowed) for clip in calibration.clips for f in clip.frames)


def test_a_dataset_with_too_few_slices_is_warned_of(prepared: Path) -> None:
    calibration = calibration_of_dataset(dataset_of(prepared), PreprocessingSpec(SIZE), 100)
    assert calibration.count == 12 and "gave 12 of 100 slices" in calibration.warnings[0]


def test_detector_slices_can_be_made_of_a_dataset(prepared: Path) -> None:
    view = PreprocessingSpec(SIZE, detector_size=(32, 32), context_mm=1.0, fit=ResizeMode.LETTERBOX)
    assert calibration_of_dataset(dataset_of(prepared), view, 4).detector_slices.shape == (4, 3, 32, 32)


def test_clips_to_judge_on_start_with_a_labelled_object_of_a_validation_case(prepared: Path) -> None:
    clips = dataset_clips(dataset_of(prepared), 5)
    [case] = dataset_of(prepared).cases("val")
    read = case.load_frames()
    assert len(clips) == 5
    for clip in clips:
        [start] = [index for index in range(len(read.frames)) if np.array_equal(read.frames[index], clip.frames[0])]
        assert len(clip.frames) == len(read.frames) - start > 1
        edges = [np.nonzero(read.labels[start] == label) for label in (1, 2)]
        corners = [(c.min(), r.min(), c.max() + 1, r.max() + 1) for r, c in edges if len(r)]
        assert clip.box.corners in corners


def test_cases_without_an_object_give_no_clips(prepared: Path) -> None:
    label = prepared.parent / "drawn-root" / "labelsTr" / "c.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros_like(draw_volume(np.random.default_rng(0))[1])), str(label))
    with pytest.raises(AutoMedSAMError, match=r"No case of the prepared dataset .* has an object on two neighbouring"):
        dataset_clips(dataset_of(prepared), 2)


def test_a_segmenter_is_quantized_with_a_prepared_dataset(prepared: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("sam2", reason="the package sam2 is not installed")
    from tiny_segmenter import tiny_model

    from automedsam.quantization.export import export_segmenter

    export_segmenter(tiny_model(), tmp_path / "fp32")
    asked = ["quantize", "segmenter", tmp_path / "fp32", "--prepared", prepared, "-o", tmp_path / "int8"]
    result = CliRunner().invoke(app, [str(word) for word in asked])
    assert result.exception is None, result.output
    assert len(list((tmp_path / "int8").glob("*.int8.onnx"))) == 4
