"""The files of a built-in bundle: INT8 graphs, and FP32 weights stored as 16-bit floats."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.bundle import MANIFEST_NAME, load_bundle
from automedsam.errors import AutoMedSAMError
from automedsam.runtime.golden_outputs import record_golden
from automedsam.sam2.onnx_networks import NETWORK_NAMES
from automedsam_lab.bundling.detector_source import DetectorSource
from automedsam_lab.export.half_precision import write_half_precision_graph, write_half_precision_segmenter

if TYPE_CHECKING:
    from automedsam_lab.quantization.detector import QuantizationCheck

CHECKPOINT = "segmenter.safetensors"
DETECTORS = {"int8": "detector.int8.onnx", "fp32": "detector.fp32.onnx"}


@dataclass(frozen=True)
class SegmenterFiles:
    """What was written of a segmenter.

    Attributes:
        architecture: Its network, as in a manifest.
        differences: The largest difference of each exported network from PyTorch.
        golden: Reference outputs of the INT8 files.
    """

    architecture: dict[str, Any]
    differences: Mapping[str, float]
    golden: dict[str, Any]


def write_segmenter_files(weights: Path, slices: NDArray[np.float32], folder: Path) -> SegmenterFiles:
    """Writes `<network>.int8.onnx` of the four networks, and `segmenter.safetensors`.

    Args:
        weights: `segmenter.pt` of `train segmenter`.
        slices: Normalized slices `(n, 3, S, S)` of training patients, for calibration.
        folder: Where to write; made if it is missing.
    """
    from automedsam.quantization.export import export_segmenter
    from automedsam.quantization.segmenter import quantize_segmenter
    from automedsam.sam2.torch_networks import load_model

    model, architecture = load_model(weights)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        exported = Path(temporary)
        differences = export_segmenter(model, exported)
        fp32 = {part: exported / f"{part}.onnx" for part in NETWORK_NAMES}
        files = quantize_segmenter(fp32, folder, slices)
    write_half_precision_segmenter(weights, folder / CHECKPOINT)
    return SegmenterFiles(architecture.to_manifest(), differences, record_golden(files))


def kept_segmenter(bundles: Path, name: str) -> SegmenterFiles:
    """The segmenter that the built-in bundles share already, as it was written.

    Args:
        bundles: The folder of all bundles.
        name: The segmenter's folder in `segmenters`.

    Raises:
        AutoMedSAMError: If no bundle there uses it.
    """
    for manifest in sorted(bundles.glob(f"*/{MANIFEST_NAME}")):
        segmenter = load_bundle(manifest.parent).manifest["segmenter"]
        if f"/{name}/" in segmenter["files"]["int8"]["mask_decoder"]:
            return SegmenterFiles(segmenter["architecture"], {}, segmenter["golden"]["int8"])
    message = f"No bundle in {bundles} uses the segmenter {name}: build it from its weights, without --keep-segmenter."
    raise AutoMedSAMError(message)


def write_detector_files(
    source: DetectorSource,
    images: NDArray[np.float32],
    folder: Path,
    offsets_of: Callable[[Path], Sequence[float]] | None = None,
) -> QuantizationCheck:
    """Writes the detector in both precisions.

    Args:
        source: A trained detector.
        images: Inputs `(n, 3, H, W)` in 0 to 1 of training patients, for calibration.
        folder: Where to write; made if it is missing.
        offsets_of: What to add to the logit of each class, given the exported FP32 file; nothing if None.

    Returns:
        How closely INT8 follows FP32.
    """
    from automedsam_lab.export.detector import shift_scores
    from automedsam_lab.quantization.detector import quantize_detector

    assert source.write_fp32 is not None, "a detector that was trained here"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        exported = Path(temporary) / "detector.onnx"
        source.write_fp32(exported)
        if offsets_of is not None:
            shift_scores(exported, offsets_of(exported))
        check = quantize_detector(exported, images, folder / DETECTORS["int8"])
        write_half_precision_graph(exported, folder / DETECTORS["fp32"])
    return check
