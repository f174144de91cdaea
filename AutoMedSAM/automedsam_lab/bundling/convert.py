"""A published checkpoint, and a detector, as a bundle with INT8: the whole of `automedsam-lab convert`."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from automedsam.bundle import MANIFEST_NAME, Bundle, file_hash, load_bundle
from automedsam.detection.detector import ResizeMode
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import write_error_message
from automedsam.quantization.quantizer import Plan
from automedsam.runtime.golden_outputs import record_golden
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.build import build_sam2
from automedsam.sam2.onnx_networks import NETWORK_NAMES, OnnxNetworks
from automedsam.sam2.propagation import SegmenterSettings
from automedsam_lab.bundling.detector_source import DetectorSource, open_detector_source
from automedsam_lab.bundling.draft import BundleDraft, BundleFiles, SegmenterDraft, manifest_of
from automedsam_lab.bundling.metadata import BundleMetadata, draft_bundle
from automedsam_lab.checkpoints.matching import (
    Mismatch,
    match_state_dict,
    mismatch_message,
    read_state_dict,
    read_stored,
)
from automedsam_lab.checkpoints.model_zoo import Config, PublishedFile, find_file
from automedsam_lab.common.json_files import write_json
from automedsam_lab.quantization.calibration import Calibration, PreprocessingSpec, read_calibration
from automedsam_lab.quantization.detector import MIN_CALIBRATION

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

INT8, FP32, TORCH = "int8", "fp32", "torch"
CHECKPOINT = "segmenter.pt"
# As many inputs of each part are kept to calibrate with as these clips have slices.
MAX_CLIPS = 6


class DoesNotFitError(AutoMedSAMError):
    """A checkpoint of another network than the one asked for; `mismatch` has every key."""

    def __init__(self, message: str, mismatch: Mismatch) -> None:
        super().__init__(message)
        self.mismatch = mismatch


@dataclass(frozen=True)
class Request:
    """What to convert.

    Attributes:
        checkpoint: the published file, or one that was trained on from it.
        config: its network.
        calibration: a folder of the user's own volumes or images.
        image_size: side of the network's input in pixels, a multiple of 32; the configuration's own if None.
        detector: see `detector_source.open_detector_source`; None makes a bundle that only follows prompts.
        detector_size: height and width of the detector's input, where its file does not tell.
        detector_fit: how slices are brought to it, where its file does not tell.
        slices: how many slices to calibrate with.
        only: pattern of the calibration files' names.
        description: what the bundle is.
        keep_fp32: put the FP32 files beside the INT8 ones.
        quick: quantize as usually suits such layers, without measuring this model.
        memories: see `SegmenterSettings`.
        memory_stride: see `SegmenterSettings`.
    """

    checkpoint: Path
    config: Config
    calibration: Path
    image_size: int | None = None
    detector: str | None = None
    detector_size: tuple[int, int] | None = None
    detector_fit: ResizeMode | None = None
    slices: int = 32
    only: str = "*"
    description: BundleMetadata = field(default_factory=BundleMetadata)
    keep_fp32: bool = True
    quick: bool = False
    memories: int | None = None
    memory_stride: int = 1


def convert(request: Request, out: Path) -> Bundle:
    """Makes a bundle; nothing is written unless all of it succeeds.

    Args:
        request: what to convert.
        out: the bundle's folder; it may not exist, or must be empty.

    Raises:
        AutoMedSAMError: for whatever is wrong with the checkpoint, the detector, the calibration folder, or the
            place to write to.
    """
    _check_place(out)
    architecture = _architecture(request)
    _settings(request, architecture)
    state, terms = _read_segmenter(request.checkpoint, request.config)
    digest = file_hash(request.checkpoint)
    published = _recognise(request, digest)
    detector = (
        open_detector_source(request.detector, request.detector_size, request.detector_fit)
        if request.detector
        else None
    )
    draft = draft_bundle(request.description, published, detector, out, terms)
    calibration = _calibrate(request, architecture, draft, detector)
    sources = _Sources(request, architecture, state, digest, detector, calibration)
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".automedsam-") as temporary:
            folder = Path(temporary) / "bundle"
            folder.mkdir()
            files = _write_files(folder, sources)
            write_json(manifest_of(draft, files, folder), folder / MANIFEST_NAME)
            if out.is_dir():
                out.rmdir()
            folder.rename(out)
    except OSError as error:
        raise AutoMedSAMError(write_error_message(out, error)) from error
    return load_bundle(out)


def quantize_parts(
    fp32: Mapping[str, Path],
    out: Path,
    calibration: Calibration,
    settings: SegmenterSettings,
    quick: bool,
) -> Plan:
    """The one place that quantizes a segmenter: writes `<part>.int8.onnx`.

    Returns:
        The plan, with what stayed in FP32; its record has the files' golden outputs.
    """
    from automedsam.quantization.segmenter import default_plan, quantize_by_plan
    from automedsam_lab.quantization.fidelity import clips_of_calibration
    from automedsam_lab.quantization.sensitivity import choose_and_quantize

    clips = [clip for clip in clips_of_calibration(calibration) if len(clip.frames) > 1]
    if clips and not quick:
        chosen = clips[:: -(-len(clips) // MAX_CLIPS)]
        return choose_and_quantize(fp32, out, chosen, settings)[1]
    if not quick:
        logger.warning(
            "No two slices of the calibration are neighbours: INT8 is made without being measured, as with --quick."
        )
    files, plan = quantize_by_plan(fp32, out, calibration, default_plan(fp32))
    return Plan(plan.parts, {"golden": record_golden(files)})


@dataclass(frozen=True)
class _Sources:
    """What a bundle is made of, read and checked.

    Attributes:
        request: The request.
        architecture: The segmenter's network.
        state: The segmenter's weights.
        digest: The SHA-256 of the checkpoint.
        detector: The detector, if there is one.
        calibration: The slices for calibration.
    """

    request: Request
    architecture: Sam2Architecture
    state: Mapping[str, Tensor]
    digest: str
    detector: DetectorSource | None
    calibration: Calibration


def _write_files(folder: Path, sources: _Sources) -> BundleFiles:
    """Writes the models of a bundle into a folder, and no other files."""
    request, architecture, detector = sources.request, sources.architecture, sources.detector
    differences, plan = _write_segmenter(folder, sources)
    _log_sizes(folder, differences)
    names: dict[str, dict[str, str]] = {INT8: {part: f"{part}.{INT8}.onnx" for part in NETWORK_NAMES}}
    if request.keep_fp32:
        names |= {FP32: {part: f"{part}.{FP32}.onnx" for part in NETWORK_NAMES}, TORCH: {"checkpoint": CHECKPOINT}}
    detectors = {}
    if detector is None:
        logger.info("There is no detector: the bundle follows prompts, and finds nothing by itself.")
    else:
        detectors = _write_detector(folder, detector, sources.calibration, request.keep_fp32)
    golden = plan.measured["golden"]
    conversion = {
        "config": request.config.name,
        "detector": detector.about if detector else None,
        "calibration": sources.calibration.to_manifest(),
        "quantization": _without_golden(plan).to_manifest(),
        "difference_from_torch": differences,
        "versions": {name: version(name) for name in ("torch", "sam2", "onnx", "onnxruntime")},
        "checkpoint": {"name": request.checkpoint.name, "sha256": sources.digest},
    }
    segmenter = SegmenterDraft(architecture, _settings(request, architecture), names, {INT8: golden})
    files = BundleFiles(segmenter, conversion, detectors)
    unused = {path.name for path in folder.iterdir()} - set(files.names())
    for name in unused:
        (folder / name).unlink()
    # Loading them shows that the engine can run them.
    int8 = {part: folder / name for part, name in names[INT8].items()}
    OnnxNetworks(int8, architecture.image_size, golden=golden)
    return files


def _without_golden(plan: Plan) -> Plan:
    return Plan(plan.parts, {key: value for key, value in plan.measured.items() if key != "golden"})


def _settings(request: Request, architecture: Sam2Architecture) -> SegmenterSettings:
    """How the bundle's segmenter is run; published models take a box as its two corners, not as a mask."""
    return SegmenterSettings.of(architecture, memories=request.memories, memory_stride=request.memory_stride)


def _check_place(out: Path) -> None:
    if not out.parent.is_dir():
        message = f"The folder {out.parent} does not exist; make it or choose another."
        raise AutoMedSAMError(message)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        message = f"{out} is there already; give the bundle another name, or move that away."
        raise AutoMedSAMError(message)
    try:
        tempfile.TemporaryDirectory(dir=out.parent, prefix=".automedsam-").cleanup()
    except OSError as error:
        message = f"Nothing can be written in {out.parent} ({error.strerror or error}); choose another folder."
        raise AutoMedSAMError(message) from error


def _architecture(request: Request) -> Sam2Architecture:
    size = request.image_size or request.config.architecture.image_size
    if size % 32 or size < 64:
        message = f"The image size {size} is not a multiple of 32 from 64 on: try 512 or 1024."
        raise AutoMedSAMError(message)
    return replace(request.config.architecture, image_size=size)


def _read_segmenter(checkpoint: Path, config: Config) -> tuple[dict[str, Tensor], str | None]:
    """The weights, and the terms that a fine-tuning of the lab wrote beside them."""
    state = read_state_dict(checkpoint)
    if mismatch := match_state_dict(state, config):
        raise DoesNotFitError(mismatch_message(checkpoint, state, config, mismatch), mismatch)
    stored = read_stored(checkpoint)
    return state, str(stored["terms"]) if "terms" in stored and isinstance(stored["terms"], str) else None


def _recognise(request: Request, digest: str) -> PublishedFile | None:
    """The published file that a checkpoint is; what differs from it is logged."""
    found = find_file(request.checkpoint.name, digest)
    if found is None:
        return None
    file, config = found
    if file.sha256 is not None and digest != file.sha256:
        logger.warning("%s is not the published file of this name: its SHA-256 is %s.", request.checkpoint.name, digest)
    elif file.sha256 is not None:
        logger.info("%s is %s as published.", request.checkpoint.name, file.name)
    own, requested = config.architecture.image_size, request.image_size or request.config.architecture.image_size
    if own != requested:
        logger.warning(
            "%s was made for %d px and is converted for %d px: --config %s keeps %d.",
            file.name,
            own,
            requested,
            config.name,
            own,
        )
    return file


def _calibrate(
    request: Request,
    architecture: Sam2Architecture,
    draft: BundleDraft,
    detector: DetectorSource | None,
) -> Calibration:
    """Reads the slices, logs what is doubtful, and sees that the detector has enough of them."""
    quantized_here = detector is not None and detector.write_fp32 is not None
    view = PreprocessingSpec(
        image_size=architecture.image_size,
        modality=draft.modality,
        window=draft.window,
        plane=draft.plane,
        detector_size=detector.input_size if detector and quantized_here else None,
        context_mm=detector.context_mm if detector else 0.0,
        fit=detector.fit if detector else ResizeMode.STRETCH,
    )
    calibration = read_calibration(request.calibration, view, request.slices, only=request.only)
    for doubt in calibration.warnings:
        logger.warning("%s", doubt)
    if quantized_here and calibration.count < MIN_CALIBRATION:
        message = (
            f"{request.calibration} gives {calibration.count} slices, but a detector's INT8 needs {MIN_CALIBRATION}: "
            "add volumes or images, or ask for more --slices."
        )
        raise AutoMedSAMError(message)
    return calibration


def _write_segmenter(folder: Path, sources: _Sources) -> tuple[dict[str, float], Plan]:
    """Writes `<part>.fp32.onnx`, `<part>.int8.onnx` and `segmenter.pt`.

    Returns:
        Each part's difference from torch, and the choice of schemes.
    """
    import torch

    from automedsam.quantization.export import export_segmenter

    request, architecture, state = sources.request, sources.architecture, sources.state
    model = build_sam2(architecture).eval()
    fresh = {key: torch.zeros_like(value) for key, value in model.state_dict().items() if key not in state}
    # Only what the configuration sets to zero may be absent here: `match_state_dict` has checked it.
    model.load_state_dict({**state, **fresh})
    differences = export_segmenter(model, folder)
    fp32 = {part: (folder / f"{part}.onnx").replace(folder / f"{part}.{FP32}.onnx") for part in NETWORK_NAMES}
    plan = quantize_parts(fp32, folder, sources.calibration, _settings(request, architecture), request.quick)
    torch.save({"architecture": architecture.to_manifest(), "model": model.state_dict()}, folder / CHECKPOINT)
    return differences, plan


def _write_detector(
    folder: Path,
    detector: DetectorSource,
    calibration: Calibration,
    keep_fp32: bool,
) -> dict[str, str]:
    """Writes the detector's files, and names them by precision."""
    from automedsam_lab.quantization.detector import quantize_detector

    names = {precision: f"detector.{precision}.onnx" for precision in (INT8, FP32)}
    if detector.write_fp32 is None:
        kept = {precision: path for precision, path in detector.ready.items() if keep_fp32 or precision == INT8}
        for precision, path in kept.items():
            shutil.copyfile(path, folder / names[precision])
        if keep_fp32 and FP32 not in kept:
            logger.warning("The FP32 file of %s is not here: the bundle runs in INT8 alone.", detector.about)
        return {precision: names[precision] for precision in kept}
    detector.write_fp32(folder / names[FP32])
    check = quantize_detector(folder / names[FP32], calibration.detector_slices, folder / names[INT8])
    logger.info("detector: %s, %.1f MB, a box edge is off by %.2f pixels", detector.about, check.megabytes, check.boxes)
    return names if keep_fp32 else {INT8: names[INT8]}


def _log_sizes(folder: Path, differences: Mapping[str, float]) -> None:
    for part, difference in differences.items():
        fp32, int8 = ((folder / f"{part}.{precision}.onnx").stat().st_size / 1e6 for precision in (FP32, INT8))
        logger.info("%s: FP32 %.1f MB, at most %.1e from torch; INT8 %.1f MB", part, fp32, difference, int8)
