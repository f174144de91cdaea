"""One command from a published checkpoint to a bundle that the engine runs; bad input leaves nothing behind."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from log_lines import log_lines

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")
onnx = pytest.importorskip("onnx", reason="the lab is not installed")

from published_files import TINY, TINY_SAM2, random_weights, write_medical_sam2, write_medsam2  # noqa: E402

from automedsam.bundle import Bundle, load_bundle  # noqa: E402
from automedsam.contract.backends import Backend  # noqa: E402
from automedsam.core.boxes import Box  # noqa: E402
from automedsam.core.volume import Plane  # noqa: E402
from automedsam.detection.detector import ResizeMode  # noqa: E402
from automedsam.errors import AutoMedSAMError  # noqa: E402
from automedsam.io.volume_reader import read_volume  # noqa: E402
from automedsam.pipeline.backends import load_model  # noqa: E402
from automedsam.pipeline.run import SegmentationRun  # noqa: E402
from automedsam.quantization import segmenter as quantize_segmenter  # noqa: E402
from automedsam.quantization.quantizer import OrtInputs, PartPlan, Plan, Quantizer  # noqa: E402
from automedsam.sam2.networks import Sam2Networks  # noqa: E402
from automedsam.sam2.propagation import Prompt, Sam2Segmenter  # noqa: E402
from automedsam_lab.bundling.convert import Request, convert  # noqa: E402
from automedsam_lab.bundling.metadata import BundleMetadata  # noqa: E402
from automedsam_lab.checkpoints.model_zoo import CONFIGS, CT_WINDOW, PublishedFile  # noqa: E402
from automedsam_lab.cli.app import main  # noqa: E402

DETECTOR_SIZE = (64, 96)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: two CT volumes of 40 slices."""
    folder = tmp_path_factory.mktemp("volumes")
    for seed in range(2):
        array = np.random.default_rng(seed).integers(-1000, 1000, (40, 48, 40)).astype(np.int16)
        sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / f"ct{seed}.nii.gz"))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as MedSAM2's, with a model that answers."""
    weights = random_weights(TINY)
    weights["sam_mask_decoder.pred_obj_score_head.layers.2.bias"].fill_(2.0)
    return write_medsam2(tmp_path_factory.mktemp("published") / "MedSAM2_CTLesion.pt", weights)


@pytest.fixture(scope="module")
def exported_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file with a YOLO-NAS's inputs and outputs, and a convolution to quantize."""
    return write_detector(tmp_path_factory.mktemp("detector") / "mine.onnx")


def write_detector(path: Path, *, classes: int = 1, image: str = "image", boxes: int = 4) -> Path:
    """A convolution at each of the strides 8, 16 and 32, reshaped to boxes and scores of all anchors."""

    class Heads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = torch.nn.ModuleList(
                torch.nn.Conv2d(3, boxes + classes, stride, stride) for stride in (8, 16, 32)
            )

        def forward(self, image: object) -> tuple[object, object]:
            found = torch.cat([head(image).flatten(2) for head in self.heads], 2).permute(0, 2, 1)
            return found[..., :boxes] * 10 + 20, found[..., boxes:].sigmoid()

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Heads().eval(),
            (torch.zeros(1, 3, *DETECTOR_SIZE),),
            str(path),
            opset_version=17,
            input_names=[image],
            output_names=["boxes", "scores"],
            dynamic_axes={name: {0: "n"} for name in (image, "boxes", "scores")},
            dynamo=False,
        )
    return path


@pytest.fixture(scope="module")
def converted(
    volumes: Path, checkpoint: Path, exported_detector: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, list[str]]:
    """A bundle of both, and what was logged on the way."""
    out = tmp_path_factory.mktemp("bundles") / "ct-lesion"
    request = Request(checkpoint, TINY, volumes, detector=str(exported_detector), quick=True)
    with log_lines() as logged:
        return convert(request, out), logged


def answer(parts: Sam2Networks, bundle: Bundle) -> np.ndarray:
    """Logits of a box's object over five slices of noise."""
    slices = np.random.default_rng(1).integers(0, 255, (5, 40, 40)).astype(np.uint8)
    segmenter = Sam2Segmenter(parts, replace(bundle.segmenter, max_empty_slices=99), slices)
    segmenter.prompt(2, 1, Prompt(box=Box(10, 10, 20, 20)))
    return np.stack([logits for _, logits in segmenter.propagate(1, 2, 0, 4)])


def test_int8_and_fp32_answer_as_the_checkpoint_does(converted: tuple[Bundle, list[str]]) -> None:
    bundle, _ = converted
    stock, fp32, int8 = (
        answer(load_model(bundle, backend, "cpu").networks, bundle)
        for backend in (Backend.FP32_TORCH, Backend.FP32_ONNX, Backend.INT8)
    )
    assert np.abs(fp32 - stock).max() < 1e-3
    assert np.corrcoef(int8.ravel(), stock.ravel())[0, 1] > 0.98


def test_converted_weights_are_the_published_ones(converted: tuple[Bundle, list[str]], checkpoint: Path) -> None:
    published = torch.load(checkpoint, weights_only=True)["model"]
    kept = torch.load(converted[0].files(Backend.FP32_TORCH)["checkpoint"], weights_only=True)["model"]
    assert kept.keys() == published.keys()
    assert all(torch.equal(kept[key], published[key]) for key in kept)


def test_bundle_takes_the_whole_road(converted: tuple[Bundle, list[str]], volumes: Path) -> None:
    bundle, _ = converted
    run = SegmentationRun(read_volume(volumes / "ct0.nii.gz"), bundle, threshold=0.4)
    assert [type(event).__name__ for event in run.events()][-1] == "Finished"


def test_manifest_has_the_metadata_of_the_published_file(converted: tuple[Bundle, list[str]]) -> None:
    bundle, _ = converted
    assert (bundle.name, bundle.modalities, bundle.window) == ("ct-lesion", ("CT",), CT_WINDOW)
    assert [segment.name for segment in bundle.segments] == ["Lesion"]
    assert bundle.segmenter.multimask and not bundle.segmenter.box_as_mask
    assert "research and education" in bundle.license
    assert bundle.detector.input_size == DETECTOR_SIZE
    assert bundle.manifest["conversion"]["calibration"]["slices"] == 32
    assert bundle.manifest["conversion"]["checkpoint"]["name"] == "MedSAM2_CTLesion.pt"


def test_every_file_of_the_bundle_is_in_the_manifest(converted: tuple[Bundle, list[str]]) -> None:
    bundle, _ = converted
    assert {path.name for path in bundle.folder.iterdir()} == {"bundle.json", *bundle.manifest["files"]}
    assert bundle.backends() == list(Backend)
    assert all(bundle.files(backend) for backend in Backend)


def test_both_models_are_quantized(converted: tuple[Bundle, list[str]]) -> None:
    files = converted[0].files(Backend.INT8)
    operators = {part: {node.op_type for node in onnx.load(path).graph.node} for part, path in files.items()}
    assert all("MatMulInteger" in operators[part] or "DequantizeLinear" in operators[part] for part in operators)


def test_choice_is_measured_and_kept_in_the_manifest(checkpoint: Path, volumes: Path, tmp_path: Path) -> None:
    with log_lines() as logged:
        bundle = convert(Request(checkpoint, TINY, volumes, slices=4), tmp_path / "bundle")
    plan = Plan.from_manifest(bundle.manifest["conversion"]["quantization"])
    assert {tried["scheme"] for tried in plan.measured["schemes"]["mask_decoder"]} == {"dynamic", "static"}
    assert plan.measured["left_in_fp32"], "random weights lose enough somewhere"
    for group in plan.measured["left_in_fp32"]:
        assert plan.parts[group["part"]].fp32_nodes
        assert f"{group['part']}: {group['group']} stays in FP32" in logged


def test_quick_bundle_records_what_could_not_be_quantized(
    checkpoint: Path, volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, stubborn = quantize_segmenter._works, "iou_prediction_head"

    def fails(quantizer: Quantizer, out: Path, plan: PartPlan, only: list[str], feeds: list[OrtInputs]) -> bool:
        return not any(stubborn in name for name in only) and works(quantizer, out, plan, only, feeds)

    monkeypatch.setattr(quantize_segmenter, "_works", fails)
    bundle = convert(Request(checkpoint, TINY, volumes, slices=4, quick=True), tmp_path / "bundle")
    parts = bundle.manifest["conversion"]["quantization"]["parts"]
    assert parts["mask_decoder"]["unquantizable"]
    assert all(stubborn in name for name in parts["mask_decoder"]["unquantizable"])
    assert not parts["image_encoder"]["unquantizable"]


def test_images_without_neighbours_are_converted_without_a_measurement(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(4):
        gray = np.random.default_rng(seed).integers(0, 255, (48, 40)).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(gray), str(folder / f"{seed}.png"))
    request = Request(checkpoint, TINY, folder, slices=4, description=BundleMetadata(modality="any"))
    with log_lines() as logged:
        convert(request, tmp_path / "bundle")
    assert any("without being measured" in line for line in logged)


def test_bundle_that_answers_otherwise_here_is_not_used(checkpoint: Path, volumes: Path, tmp_path: Path) -> None:
    request = Request(checkpoint, TINY, volumes, detector="glioma", slices=4, quick=True)
    bundle = convert(request, tmp_path / "bundle")
    load_model(bundle)
    golden = bundle.manifest["segmenter"]["golden"]["int8"]["mask_decoder"]
    golden["logits"] = [value + 5 for value in golden["logits"]]
    with pytest.raises(AutoMedSAMError, match="mask decoder answers otherwise here"):
        load_model(bundle)


def test_medical_sam2_is_converted(volumes: Path, tmp_path: Path) -> None:
    path = write_medical_sam2(tmp_path / "MedSAM2_pretrain.pth", random_weights(TINY_SAM2))
    bundle = convert(Request(path, TINY_SAM2, volumes, slices=4, quick=True), tmp_path / "bundle")
    kept = torch.load(bundle.folder / "segmenter.pt", weights_only=True)
    assert kept["architecture"]["temporal_pointers"] is False
    assert not kept["model"]["no_obj_embed_spatial"].any()
    assert kept["model"]["no_mem_embed"].dtype == torch.float32
    assert "without stated terms" in bundle.license


def test_user_options_override_the_metadata_of_the_file(checkpoint: Path, volumes: Path, tmp_path: Path) -> None:
    options = BundleMetadata("lung", modality="any", window=(-1500.0, 100.0), labels=("Nodule",), license="mine")
    request = Request(checkpoint, TINY, volumes, description=options, slices=4, keep_fp32=False, quick=True)
    bundle = convert(request, tmp_path / "bundle")
    assert (bundle.name, bundle.modalities, bundle.window, bundle.license) == ("lung", ("any",), (-1500, 100), "mine")
    assert [segment.name for segment in bundle.segments] == ["Nodule"]
    assert not any("fp32" in name or name.endswith(".pt") for name in bundle.manifest["files"])


def test_bundle_without_a_detector_is_logged(checkpoint: Path, volumes: Path, tmp_path: Path) -> None:
    with log_lines() as logged:
        bundle = convert(Request(checkpoint, TINY, volumes, slices=4, quick=True), tmp_path / "bundle")
    assert any("no detector" in line for line in logged)
    with pytest.raises(AutoMedSAMError, match="has no detector"):
        list(SegmentationRun(read_volume(volumes / "ct0.nii.gz"), bundle).events())


def test_detector_of_a_bundle_brings_its_settings(checkpoint: Path, volumes: Path, tmp_path: Path) -> None:
    glioma = load_bundle("glioma")
    request = Request(checkpoint, TINY, volumes, detector="glioma", slices=4, keep_fp32=False, quick=True)
    bundle = convert(request, tmp_path / "bundle")
    assert (bundle.detector, bundle.segments, bundle.linking) == (glioma.detector, glioma.segments, glioma.linking)
    assert glioma.license in bundle.license
    assert bundle.files(Backend.INT8)["detector"].read_bytes() == glioma.files(Backend.INT8)["detector"].read_bytes()


def test_a_published_file_at_another_size_is_reported(
    checkpoint: Path, volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = replace(TINY, files=(PublishedFile(checkpoint.name, "page", "terms", sha256="0" * 64),))
    monkeypatch.setattr("automedsam_lab.checkpoints.model_zoo.CONFIGS", {"tiny": known})
    with log_lines() as logged:
        convert(Request(checkpoint, known, volumes, image_size=96, slices=4, quick=True), tmp_path / "bundle")
    assert any("not the published file of this name" in line for line in logged)
    assert any("made for 64 px and is converted for 96 px" in line for line in logged)


def refused(request: Request, tmp_path: Path, message: str) -> None:
    """Holds that a request fails with one sentence, and that nothing is left of it."""
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(AutoMedSAMError, match=message) as error:
        convert(request, place / "bundle")
    assert "\n" not in str(error.value)
    assert not list(place.iterdir())


def trap(folder: Path) -> Path:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (folder / "ran",)

    torch.save({"model": {"weight": Trap()}}, folder / "trap.pt")
    return folder / "trap.pt"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (trap, "trap.pt holds code"),
        (lambda folder: write_medsam2(folder / "old.pt", random_weights(TINY_SAM2)), "old.pt does not fit tiny"),
        (lambda folder: folder / "absent.pt", "There is no checkpoint"),
    ],
)
def test_bad_checkpoint_leaves_nothing(
    make: Callable[[Path], Path], message: str, volumes: Path, tmp_path: Path
) -> None:
    refused(Request(make(tmp_path), TINY, volumes), tmp_path, message)
    assert not (tmp_path / "ran").exists()


def test_bad_calibration_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(Request(checkpoint, TINY, tmp_path / "empty"), tmp_path, "holds no volumes or images")


def test_detector_and_segmenter_of_the_recipes_store_their_training_data(
    checkpoint: Path, exported_detector: Path, volumes: Path, tmp_path: Path
) -> None:
    """Labels with their values, the fit of the images and the terms of the data come with the weights."""
    metadata = {"task": "livers", "classes": ["liver"], "values": [3], "input_size": list(DETECTOR_SIZE)}
    metadata |= {"context_mm": 0.0, "fit": "letterbox", "licence": "free livers", "modality": "CT", "plane": "coronal"}
    model = onnx.load(exported_detector)
    onnx.helper.set_model_props(model, {"automedsam_detector": json.dumps(metadata)})
    onnx.save(model, tmp_path / "livers.onnx")
    weights = torch.load(checkpoint, weights_only=True)
    torch.save({**weights, "terms": "of the data, free"}, tmp_path / "finetuned.pt")
    request = Request(tmp_path / "finetuned.pt", TINY, volumes, detector=str(tmp_path / "livers.onnx"), quick=True)
    bundle = convert(request, tmp_path / "livers")
    assert [(segment.value, segment.name) for segment in bundle.segments] == [(3, "liver")]
    assert bundle.detector.fit is ResizeMode.LETTERBOX and bundle.detector.labels == (3,)
    assert (bundle.modalities, bundle.window, bundle.plane) == (("CT",), (-160.0, 240.0), Plane.CORONAL)
    assert bundle.license == "of the data, free The detector inherits those of its data: free livers"


def test_too_few_slices_for_a_detector_leave_nothing(
    checkpoint: Path, exported_detector: Path, volumes: Path, tmp_path: Path
) -> None:
    request = Request(checkpoint, TINY, volumes, detector=str(exported_detector), slices=8)
    refused(request, tmp_path, "gives 8 slices, but a detector's INT8 needs 32")


def test_failure_in_the_middle_leaves_nothing(
    checkpoint: Path, volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        message = "a layer cannot be quantized"
        raise AutoMedSAMError(message)

    monkeypatch.setattr("automedsam_lab.bundling.convert.quantize_parts", fail)
    refused(Request(checkpoint, TINY, volumes, slices=4, quick=True), tmp_path, "a layer cannot be quantized")


def test_labels_must_be_as_many_as_classes(
    checkpoint: Path, exported_detector: Path, volumes: Path, tmp_path: Path
) -> None:
    options = BundleMetadata(labels=("Core", "Edema"))
    request = Request(checkpoint, TINY, volumes, detector=str(exported_detector), description=options)
    refused(request, tmp_path, "knows 1 class, but 2 labels were given")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 500}, "not a multiple of 32"),
        ({"memories": 4}, "knows 3 memories: use 1 to 3, not 4"),
        ({"description": BundleMetadata("a/b")}, "cannot be a bundle's name"),
        ({"description": BundleMetadata(window=(240.0, -160.0))}, "is empty"),
        ({"description": BundleMetadata(threshold=1.5)}, "not a score"),
    ],
)
def test_options_out_of_range_leave_nothing(
    changes: dict[str, object], message: str, checkpoint: Path, volumes: Path, tmp_path: Path
) -> None:
    refused(replace(Request(checkpoint, TINY, volumes), **changes), tmp_path, message)  # type: ignore[arg-type]


def test_what_is_there_already_is_kept(checkpoint: Path, volumes: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(AutoMedSAMError, match="is there already"):
        convert(Request(checkpoint, TINY, volumes), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(AutoMedSAMError, match="does not exist"):
        convert(Request(checkpoint, TINY, volumes), tmp_path / "absent" / "bundle")


@pytest.fixture
def a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `automedsam-lab convert` with the tiny network among the configurations."""
    monkeypatch.setitem(CONFIGS, "tiny", TINY)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["convert", *[str(argument) for argument in arguments]])
        output, error = capsys.readouterr()
        return int(left.value.code or 0), output, error

    return run


def test_command_makes_a_bundle(
    a_command: Callable[..., tuple[int, str, str]], checkpoint: Path, volumes: Path, tmp_path: Path
) -> None:
    asked = (checkpoint, "--config", "tiny.yaml", "--calibration", volumes, "-o", tmp_path / "mine", "--slices", 4)
    options = ("--window", -1000, 500, "--label", "Nodule", "--plane", "coronal")
    code, output, _ = a_command(*asked, *options, "--quick", "--memories", 2)
    assert code == 0 and "mine 0.1.0" in output
    bundle = load_bundle(tmp_path / "mine")
    assert (bundle.window, bundle.plane, bundle.segments[0].name) == ((-1000, 500), Plane.CORONAL, "Nodule")
    assert bundle.segmenter.memories == 2


def test_command_lists_every_key_that_does_not_fit(
    a_command: Callable[..., tuple[int, str, str]], volumes: Path, tmp_path: Path
) -> None:
    path, out = write_medsam2(tmp_path / "old.pt", random_weights(TINY_SAM2)), tmp_path / "mine"
    code, output, error = a_command(path, "--config", "tiny", "--calibration", volumes, "-o", out, "--list-keys")
    assert (code, len(error.splitlines()), out.exists()) == (2, 1, False)
    assert "missing    obj_ptr_tpos_proj.weight" in output.splitlines()
