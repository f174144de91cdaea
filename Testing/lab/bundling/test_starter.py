"""The bundler of the built-in models, on tiny networks: both precisions run, and nothing is written without all."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("cv2", reason="the lab's training packages are not installed")
pytest.importorskip("safetensors", reason="the FP32 backend is not installed")
if importlib.util.find_spec("super_gradients") is None:
    pytest.skip("super_gradients is not installed (README: training)", allow_module_level=True)

from prepared_files import write_prepared  # noqa: E402
from tiny_segmenter import SIZE, TINY, tiny_model  # noqa: E402

from automedsam.bundle import Bundle  # noqa: E402
from automedsam.contract.channels import label_channels, segmenter_channels  # noqa: E402
from automedsam.core.boxes import Box, Tracklet  # noqa: E402
from automedsam.core.segmentation import Segment  # noqa: E402
from automedsam.core.volume import Volume  # noqa: E402
from automedsam.detection.detector import DetectorSettings, ResizeMode  # noqa: E402
from automedsam.errors import AutoMedSAMError  # noqa: E402
from automedsam.pipeline.run import segment  # noqa: E402
from automedsam.sam2.onnx_networks import NETWORK_NAMES  # noqa: E402
from automedsam_lab.bundling.detector_source import DetectorSource  # noqa: E402
from automedsam_lab.bundling.starter import (  # noqa: E402
    SEGMENTER_NAME,
    SEGMENTERS,
    StarterRuns,
    build_starter,
    write_manifest,
)
from automedsam_lab.bundling.starter_files import CHECKPOINT, DETECTORS, SegmenterFiles  # noqa: E402
from automedsam_lab.bundling.starter_tasks import STARTER_TASKS  # noqa: E402
from automedsam_lab.data import segmenter_clips  # noqa: E402
from automedsam_lab.data.builtin_dataset import BuiltinDataset  # noqa: E402
from automedsam_lab.data.detector_slices import DETECTOR_TASKS  # noqa: E402
from automedsam_lab.data.prepared.dataset import PreparedDataset  # noqa: E402
from automedsam_lab.training.detector.validation import measure_on_images  # noqa: E402
from automedsam_lab.training.detector.yolo_nas_recipe import YoloNasSettings, train_yolo_nas_detector  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
ANYTHING, POLYP = STARTER_TASKS["anything"], STARTER_TASKS["polyp"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> StarterRuns:
    """What trainings leave: a segmenter, and a detector of two classes that saw a drawn dataset for one epoch."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "segmenter").mkdir()
    content = {"architecture": TINY.to_manifest(), "model": tiny_model().state_dict()}
    torch.save(content, folder / "segmenter" / "segmenter.pt")
    prepared = write_prepared(folder / "prepared_drawn")
    settings = YoloNasSettings(epochs=1, batch=4, image_size=64, width=0.25)
    train_yolo_nas_detector(prepared, folder / "detector_drawn", settings=settings, device="cpu")
    return StarterRuns(folder, folder)


@pytest.fixture
def calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise in the place of the published images."""
    noise = np.random.default_rng(0).normal(size=(8, 3, SIZE, SIZE)).astype(np.float32)
    monkeypatch.setattr(segmenter_clips, "calibration_slices", lambda *_arguments, **_options: noise)


def runs_alike(bundle: Bundle) -> bool:
    """Whether both precisions segment the same inside a box."""
    array = np.random.default_rng(1).integers(0, 255, (3, 40, 40)).astype(np.uint8)
    volume = Volume(array, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    tracklet = Tracklet(1, {1: Box(8, 8, 20, 20)}, 1)
    int8, fp32 = (segment(volume, bundle, prompts=[tracklet], backend=backend).labels for backend in ("int8", "fp32"))
    overlap = 2 * np.count_nonzero((int8 > 0) & (fp32 > 0)) / max(np.count_nonzero(int8) + np.count_nonzero(fp32), 1)
    return bool(int8.any()) and overlap > 0.8


@pytest.mark.usefixtures("calibrated")
def test_a_model_without_a_detector_follows_prompts_in_both_precisions(runs: StarterRuns, tmp_path: Path) -> None:
    (bundle,) = build_starter(runs, tmp_path / "bundles", tmp_path / "out", {"anything": ANYTHING})
    assert not bundle.has_detector and bundle.segmenter.knows_points and bundle.segmenter.box_as_mask
    assert bundle.manifest["segmenter"]["golden"]["int8"]
    checkpoint = next((tmp_path / "bundles").rglob("*.safetensors"))
    assert checkpoint.stat().st_mode & 0o044 == 0o044, "a file of the package must be readable by every user"
    assert not list((tmp_path / "bundles").rglob("*.pt"))
    assert runs_alike(bundle)


@pytest.mark.usefixtures("calibrated")
def test_a_detector_of_images_is_calibrated_on_its_own_and_measured_on_held_out_ones(
    runs: StarterRuns, tmp_path: Path
) -> None:
    labels = PreparedDataset.open(runs.folder / "prepared_drawn").labels
    segments = tuple(Segment(value, name, (1.0, 0.0, 0.0), "") for value, name in sorted(labels.items()))
    task = replace(POLYP, name="drawn", segments=segments, modalities=("any",))
    (bundle,) = build_starter(runs, tmp_path / "bundles", tmp_path / "out", {"drawn": task})
    assert bundle.has_detector and bundle.detector.fit is ResizeMode.LETTERBOX
    assert 0 < bundle.detector.score_threshold <= 1
    assert {"int8", "fp32"} == set(bundle.manifest["detector"]["files"])
    int8, fp32 = (bundle.folder / bundle.manifest["detector"]["files"][one] for one in ("int8", "fp32"))
    assert int8.stat().st_size < fp32.stat().st_size
    split = bundle.training_split
    assert split["train"] and split["test"] and not set(split["train"]) & set(split["test"])
    assert bundle.manifest["measured"], "figures of the test part"
    assert (tmp_path / "out" / "evaluation-drawn").is_dir()


@pytest.mark.usefixtures("calibrated")
def test_a_model_of_boxes_keeps_the_segmenter_and_has_figures_of_boxes(runs: StarterRuns, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    build_starter(runs, bundles, tmp_path / "out", {"anything": ANYTHING})
    shared = {path: path.read_bytes() for path in (bundles / SEGMENTERS).rglob("*") if path.is_file()}
    boxed = tmp_path / "runs"
    write_prepared(boxed / "prepared_drawn", masks=False, pictures=True)
    settings = YoloNasSettings(epochs=1, batch=2, image_size=64, width=0.125)
    train_yolo_nas_detector(boxed / "prepared_drawn", boxed / "detector_drawn", settings=settings, device="cpu")
    segments = (Segment(1, "bright", (1.0, 0.0, 0.0), ""),)
    task = replace(STARTER_TASKS["chest-xray"], name="drawn", segments=segments, modalities=("any",))
    (bundle,) = build_starter(
        StarterRuns(boxed, boxed), bundles, tmp_path / "out", {"drawn": task}, keep_segmenter=True
    )
    assert {path: path.read_bytes() for path in shared} == shared, "no weights of the segmenter are written again"
    assert bundle.manifest["segmenter"]["golden"]["int8"] and bundle.caution and bundle.expected_input is not None
    assert bundle.expected_input.single_image and bundle.expected_input.histogram is not None
    for backend in ("int8", "fp32"):
        figures = bundle.measured[backend]
        assert "dice" not in figures and 0 <= figures["ap50"] <= 1 and set(figures["ap50_by_label"]) == {"bright"}
        assert figures["boxes_by_label"] == {"bright": 1} and figures["at_threshold"]["false_boxes"] >= 0


def test_a_segmenter_that_is_not_there_cannot_be_kept(runs: StarterRuns, tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="without --keep-segmenter"):
        build_starter(runs, tmp_path, tmp_path / "out", {"anything": ANYTHING}, keep_segmenter=True)


def test_brats_declares_its_channels_its_nested_segments_and_what_each_is_segmented_on(tmp_path: Path) -> None:
    folder, shared = tmp_path / "brats", tmp_path / SEGMENTERS / SEGMENTER_NAME
    for path in [*(folder / name for name in DETECTORS.values()), shared / CHECKPOINT]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
    for part in NETWORK_NAMES:
        (shared / f"{part}.int8.onnx").write_bytes(b"weights")
    detector = DetectorSource("a detector", 3, (192, 192), 2.0, None, {})
    segmenter = SegmenterFiles(TINY.to_manifest(), {}, {})
    facts = {"training": {"data": "none", "split": {"train": [], "validation": [], "test": []}}}
    bundle = write_manifest(STARTER_TASKS["brats"], folder, segmenter, detector, 0.3, facts)
    assert bundle.modalities == ("FLAIR", "T1c") and bundle.inside == {2: 1, 3: 2}
    assert bundle.detector.channels == DETECTOR_TASKS["brats"].channels
    assert label_channels(bundle.manifest) == {2: (1, 1, 1), 3: (1, 1, 1)}
    assert segmenter_channels(bundle.manifest) == (0, 0, 0)


def test_a_missing_training_is_named_with_its_command_and_nothing_is_written(runs: StarterRuns, tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="run 'automedsam-lab train detector --recipe yolo-nas -o"):
        build_starter(runs, tmp_path / "bundles", tmp_path / "out", {"anything": ANYTHING, "polyp": POLYP})
    assert not (tmp_path / "bundles").exists()


def test_gliomas_are_taken_with_skull_too(shared_data: Path, tmp_path: Path) -> None:
    chosen = StarterRuns(tmp_path, shared_data).all_cases(STARTER_TASKS["glioma"], "val")
    validation = set(BuiltinDataset("glioma", shared_data).patients["val"])
    names = [case.name for case in chosen]
    in_heads = [name for name in names if "_in_" in name]
    assert in_heads and {name.partition("_in_")[0] for name in in_heads} <= set(names) & validation
    healthy = set(names) - validation - set(in_heads)
    assert healthy and healthy == {name.partition("_in_")[2] for name in in_heads}


def test_boxes_on_images_are_scored_in_their_pixels(runs: StarterRuns) -> None:
    dataset = PreparedDataset.open(runs.folder / "prepared_drawn")
    images, labels = dataset.part("val"), tuple(sorted(dataset.labels))
    size = images[0].letterbox.size
    answers = iter(images)

    def knows_all(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        image = next(answers)
        corners = np.array([box.corners for box in image.boxes] or np.zeros((1, 4)), np.float32)
        scores = np.zeros((1, len(corners), len(labels)), np.float32)
        for index, box in enumerate(image.boxes):
            scores[0, index, labels.index(box.label)] = 0.9
        return corners[None], scores

    settings = DetectorSettings(size, labels, 0.0, 0.05, 0.5, None, ResizeMode.LETTERBOX)
    scores = measure_on_images(images, knows_all, settings)
    assert scores.ap50 == pytest.approx(1.0) and scores.ap50_95 == pytest.approx(1.0) and scores.f1 == 1.0
