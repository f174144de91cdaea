"""A detector trains, resumes, exports and quantizes, on drawn slices and in seconds."""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("cv2", reason="the lab's training packages are not installed")
if importlib.util.find_spec("super_gradients") is None:
    pytest.skip("super_gradients is not installed (README: training)", allow_module_level=True)

from automedsam.errors import AutoMedSAMError  # noqa: E402
from automedsam_lab.data import synthetic_lesions  # noqa: E402
from automedsam_lab.data.detector_slices import DETECTOR_TASKS, FrameStack, make_stack  # noqa: E402
from automedsam_lab.export.detector import export_detector, shift_scores  # noqa: E402
from automedsam_lab.models.onnx_predictor import onnx_predictor  # noqa: E402
from automedsam_lab.models.yolo_nas import load_detector, read_checkpoint  # noqa: E402
from automedsam_lab.quantization.detector import calibration_frames, quantize_detector  # noqa: E402
from automedsam_lab.training.detector.starter_recipe import TrainingSettings, train_on_stacks  # noqa: E402
from automedsam_lab.training.detector.validation import measure_detector  # noqa: E402
from automedsam_lab.training.options import RunOptions  # noqa: E402

TASK = replace(DETECTOR_TASKS["glioma"], input_size=(64, 64))
SETTINGS = TrainingSettings(steps=2, batch=2, width=0.25, epoch=1)


@pytest.fixture(scope="module")
def a_stack() -> FrameStack:
    """Ten drawn heads, some with lesions."""
    rng = np.random.default_rng(5)
    drawn = [synthetic_lesions.draw_head(rng, 120) for _ in range(10)]
    frames = np.stack([image[..., 1] * 255 for image, _ in drawn]).astype(np.uint8)
    labels = np.stack([mask[..., 1] for _, mask in drawn]).astype(np.uint8)
    return make_stack(TASK, "drawn", frames, labels, 1.0)


@pytest.fixture(scope="module")
def a_checkpoint(a_stack: FrameStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two steps of training."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("detector")
    yield train_on_stacks(TASK, [a_stack], [a_stack], out, SETTINGS, RunOptions("cpu"))
    torch.set_num_threads(threads)


def test_training_leaves_a_checkpoint_and_a_validation_curve(a_checkpoint: Path) -> None:
    rows = [json.loads(line) for line in (a_checkpoint.parent / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert all(np.isfinite(row["loss"]) and "validation_ap50" in row for row in rows)


def test_training_goes_on_from_its_checkpoint(a_checkpoint: Path, a_stack: FrameStack, tmp_path: Path) -> None:
    (tmp_path / a_checkpoint.name).write_bytes(a_checkpoint.read_bytes())
    longer = replace(SETTINGS, steps=3)
    resumed = train_on_stacks(TASK, [a_stack], [], tmp_path, longer, RunOptions("cpu", resume=True))
    assert read_checkpoint(resumed)["step"] == 3
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


def test_weights_of_another_width_are_no_beginning(a_checkpoint: Path, a_stack: FrameStack, tmp_path: Path) -> None:
    wider = replace(SETTINGS, width=0.5)
    with pytest.raises(AutoMedSAMError, match=r"is a YOLO-NAS-S of width 0\.25, not S of 0\.5"):
        train_on_stacks(TASK, [a_stack], [], tmp_path, wider, RunOptions("cpu", start_from=a_checkpoint))


def test_resuming_without_a_checkpoint_is_refused(a_stack: FrameStack, tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="train the detector first"):
        train_on_stacks(TASK, [a_stack], [], tmp_path, SETTINGS, RunOptions("cpu", resume=True))


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "detector.pt").write_text("not a checkpoint")
    with pytest.raises(AutoMedSAMError, match="cannot be read as a detector checkpoint"):
        read_checkpoint(tmp_path / "detector.pt")


def test_the_checkpoint_rebuilds_the_model_it_was_trained_as(a_checkpoint: Path) -> None:
    _, settings = load_detector(a_checkpoint)
    assert (settings["task"], settings["width"], settings["input_size"]) == ("glioma", 0.25, [64, 64])


def test_the_exported_and_the_quantized_detector_give_boxes_and_scores(
    a_checkpoint: Path, a_stack: FrameStack, tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    fp32, int8 = tmp_path / "detector.fp32.onnx", tmp_path / "detector.int8.onnx"
    check = export_detector(a_checkpoint, fp32)
    assert check.boxes < 0.02 and check.scores < 1e-3
    calibration = calibration_frames(TASK, [a_stack], count=32)
    quantized = quantize_detector(fp32, calibration, int8)
    assert quantized.megabytes < 0.5 * quantized.fp32_megabytes
    for model in (fp32, int8):
        boxes, scores = onnx_predictor(model)(calibration[:3])
        assert boxes.shape == (3, 84, 4) and scores.shape == (3, 84, 1)
        assert scores.min() >= 0 and scores.max() <= 1
    assert 0 <= measure_detector(TASK, onnx_predictor(int8), [a_stack]).ap50 <= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [fp32.name, int8.name]


def test_what_is_added_to_a_class_moves_its_scores_alone(
    a_checkpoint: Path, a_stack: FrameStack, tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    exported, images = tmp_path / "detector.onnx", calibration_frames(TASK, [a_stack], count=8)
    export_detector(a_checkpoint, exported)
    before = onnx_predictor(exported)(images)
    shift_scores(exported, [1.5])
    after = onnx_predictor(exported)(images)
    np.testing.assert_array_equal(after[0], before[0])
    logits_before, logits_after = (np.log(scores / (1 - scores)) for scores in (before[1], after[1]))
    np.testing.assert_allclose(logits_after - logits_before, 1.5, atol=1e-3)
    with pytest.raises(AutoMedSAMError, match="scores no 2 classes"):
        shift_scores(exported, [1.0, 1.0])


def test_too_few_calibration_slices_are_refused(tmp_path: Path) -> None:
    few = np.zeros((4, 3, 64, 64), np.float32)
    with pytest.raises(AutoMedSAMError, match="at least 32"):
        quantize_detector(tmp_path / "absent.onnx", few, tmp_path / "out.onnx")
