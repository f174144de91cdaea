"""A user's detector comes as weights, as ONNX or in a bundle; what is none of these is refused by name."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
onnx = pytest.importorskip("onnx", reason="the lab is not installed")
pytest.importorskip("cv2", reason="the lab's training packages are not installed")
if importlib.util.find_spec("super_gradients") is None:
    pytest.skip("super_gradients is not installed (README: training)", allow_module_level=True)

from automedsam.contract.backends import Backend  # noqa: E402
from automedsam.errors import AutoMedSAMError  # noqa: E402
from automedsam_lab.bundling.detector_source import open_detector_source  # noqa: E402
from automedsam_lab.checkpoints.matching import MetaTensorMode, shapes_of  # noqa: E402
from automedsam_lab.models.onnx_predictor import onnx_predictor  # noqa: E402
from automedsam_lab.models.yolo_nas import build_detector, build_yolo_nas  # noqa: E402


def light_weights(size: str, classes: int) -> dict[str, object]:
    """Weights of the right shapes that take no room, all zero."""
    with MetaTensorMode():
        shapes = shapes_of(build_yolo_nas(size, classes).state_dict())
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}


@pytest.mark.parametrize("size", ["s", "m", "l"])
def test_size_and_classes_are_read_from_the_weights(size: str, tmp_path: Path) -> None:
    torch.save(light_weights(size, 3), tmp_path / "weights.pth")
    source = open_detector_source(str(tmp_path / "weights.pth"), (320, 256))
    assert (source.about, source.classes, source.input_size) == (f"YOLO-NAS-{size.upper()}", 3, (320, 256))


def test_trainers_checkpoint_gives_its_averaged_weights(tmp_path: Path) -> None:
    """super-gradients' Trainer keeps both, and "ema_net" is what it validates."""
    torch.manual_seed(0)
    average = build_yolo_nas("s", 2)
    raw = {key: torch.zeros_like(value) for key, value in average.state_dict().items()}
    path = tmp_path / "ckpt_best.pth"
    torch.save({"net": raw, "ema_net": average.state_dict(), "epoch": 7, "acc": 0.5}, path)
    source = open_detector_source(str(path), (64, 64))
    assert source.write_fp32 is not None
    source.write_fp32(tmp_path / "detector.onnx")
    images = np.random.default_rng(0).random((2, 3, 64, 64)).astype(np.float32)
    boxes, scores = onnx_predictor(tmp_path / "detector.onnx")(images)
    with torch.inference_mode():
        (wanted_boxes, wanted_scores), _ = average.eval()(torch.from_numpy(images))
    assert np.abs(boxes - wanted_boxes.numpy()).max() < 0.02
    assert np.abs(scores - wanted_scores.numpy()).max() < 1e-3


def test_labs_checkpoint_keeps_its_size_and_context(tmp_path: Path) -> None:
    model = build_detector(1, 0.25)
    settings = {"task": "glioma", "classes": ["tumour"], "width": 0.25, "input_size": [64, 96], "context_mm": 2.0}
    stored = {"settings": settings, "average": model.state_dict(), "model": model.state_dict()}
    torch.save(stored, tmp_path / "detector.pt")
    source = open_detector_source(str(tmp_path / "detector.pt"))
    assert (source.classes, source.input_size, source.context_mm) == (1, (64, 96), 2.0)
    with pytest.raises(AutoMedSAMError, match="made for 64 x 96 pixels, not 640 x 640"):
        open_detector_source(str(tmp_path / "detector.pt"), (640, 640))


def test_detector_of_a_bundle_is_taken_as_it_is() -> None:
    source = open_detector_source("glioma")
    assert source.write_fp32 is None and source.ready["int8"].is_file()
    assert (source.classes, source.input_size) == (1, (192, 192))


def test_changed_weights_are_held_against_the_nearest_size(tmp_path: Path) -> None:
    weights = light_weights("s", 1)
    weights["heads.extra.weight"] = torch.zeros(3)
    torch.save(weights, tmp_path / "mine.pth")
    with pytest.raises(AutoMedSAMError, match=r"nearest is S with 1 classes: 1 unknown \(heads\.extra\.weight\)"):
        open_detector_source(str(tmp_path / "mine.pth"))


def test_another_models_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"model.0.conv.weight": torch.zeros(2)}, tmp_path / "yolov8.pt")
    with pytest.raises(AutoMedSAMError, match=r"yolov8\.pt is no YOLO-NAS checkpoint.*model\.0\.conv\.weight"):
        open_detector_source(str(tmp_path / "yolov8.pt"))


def test_detector_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (ran,)

    torch.save({"net": light_weights("s", 1), "processing_params": Trap()}, tmp_path / "ckpt_best.pth")
    with pytest.raises(AutoMedSAMError, match=r"ckpt_best\.pth holds code"):
        open_detector_source(str(tmp_path / "ckpt_best.pth"))
    assert not ran.exists()


def write_onnx(path: Path, inputs: list[str], outputs: list[str], batch: int | str = "n") -> Path:
    """A file that gives its input back under each name."""
    floats = onnx.TensorProto.FLOAT
    shape = [batch, 3, 64, 64]
    nodes = [onnx.helper.make_node("Identity", [inputs[0]], [name]) for name in outputs]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info(name, floats, shape) for name in inputs],
        [onnx.helper.make_tensor_value_info(name, floats, shape) for name in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("outputs", "batch", "message"),
    [
        (["graph2_flat_predictions"], "n", "gives graph2_flat_predictions, not .* boxes and scores"),
        (["boxes", "scores"], 1, r"takes images \(1, 3, 64, 64\): export it .* number of images free"),
        (["boxes", "scores"], "n", r"gives boxes \(2, 3, 64, 64\) .* not \(2, 84, 4\)"),
    ],
)
def test_onnx_of_another_form_is_refused_with_the_expected_one(
    outputs: list[str], batch: int | str, message: str, tmp_path: Path
) -> None:
    path = write_onnx(tmp_path / "mine.onnx", ["image"], outputs, batch)
    with pytest.raises(AutoMedSAMError, match=message):
        open_detector_source(str(path))


def test_quantized_onnx_is_refused() -> None:
    from automedsam.bundle import load_bundle

    quantized = load_bundle("glioma").files(Backend.INT8)["detector"]
    with pytest.raises(AutoMedSAMError, match="is quantized already: give the FP32 export"):
        open_detector_source(str(quantized))


def test_what_is_no_detector_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07nothing")
    with pytest.raises(AutoMedSAMError, match=r"broken\.onnx is no ONNX model"):
        open_detector_source(str(tmp_path / "broken.onnx"))
    with pytest.raises(AutoMedSAMError, match=r"There is no detector .*absent\.onnx"):
        open_detector_source(str(tmp_path / "absent.onnx"))
    with pytest.raises(AutoMedSAMError, match="There is no model liver"):
        open_detector_source("liver")
