"""INT8 files of a model that came as a checkpoint: exported, quantized and added to its bundle, once."""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.bundle import Bundle, file_hash, load_bundle
from automedsam.contract.backend_files import can_make_int8, has_detector_for
from automedsam.contract.backends import Backend
from automedsam.contract.manifest import INT8_MADE_HERE, MANIFEST_NAME
from automedsam.core.resize import resize_linear
from automedsam.detection.channels import segmenter_slices
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import write_error_message
from automedsam.io.file_lock import file_lock
from automedsam.io.models_folder import check_space
from automedsam.runtime.golden_outputs import record_golden
from automedsam.sam2.onnx_networks import NETWORK_NAMES
from automedsam.sam2.propagation import IMAGENET_MEAN, IMAGENET_STD

CALIBRATION_SLICES = 16
"""Static ranges settle with fewer; a 1024-pixel network's take 200 MB."""

Progress = Callable[[int, int], object]
"""Called with the steps that are done and all steps; may raise to stop, which leaves the bundle as it was."""

# Reading the weights; exporting, comparing and quantizing each network; recording what they compute.
_STEPS = 2 + 3 * len(NETWORK_NAMES)
# The exported networks are as large as the weights, and quantizing one writes copies of it.
_SPACE_OF_WEIGHTS = 2.5
_LOCK, _UNFINISHED = ".int8.lock", ".int8-"
_PACKAGES = ("torch", "onnx", "onnxruntime")


def needs_int8(bundle: Bundle, backend: Backend) -> bool:
    """Whether a run on this backend needs INT8 files that have to be made first, and can be."""
    return backend is Backend.INT8 and can_make_int8(bundle.manifest)


def make_int8(bundle: Bundle, channels: NDArray[np.uint8], progress: Progress) -> Bundle:
    """Makes the INT8 files of a model and adds them to its bundle; afterwards it runs in INT8 without PyTorch.

    Matrix products are quantized dynamically, which needs no calibration; the slices then show that the network
    computes. The convolutions of a convolutional image encoder get their ranges from the slices. See
    `automedsam.quantization.segmenter.default_plan`.

    Args:
        bundle: A model with PyTorch weights and without INT8 files.
        channels: `(C, N, H, W)` gray levels of each modality, such as `SegmentationRun.channels`.
        progress: See `Progress`.

    Returns:
        The bundle with its INT8 files. Its `hash` stays, and so do the results that were made with it in FP32.

    Raises:
        AutoMedSAMError: If it has no PyTorch weights, or a detector without an INT8 file, a package or disk space is
            missing, another process is making the files, or they cannot be written. Nothing has changed then.
    """
    _check(bundle)
    try:
        with file_lock(bundle.folder / _LOCK, f"making the INT8 files of {bundle.name}"):
            bundle = load_bundle(bundle.folder)
            if not can_make_int8(bundle.manifest):
                # Another process has made them in the meantime.
                return bundle
            for leftover in bundle.folder.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(leftover, ignore_errors=True)
            weights = bundle.files(Backend.FP32_TORCH, detector=False)["checkpoint"]
            check_space(bundle.folder, int(_SPACE_OF_WEIGHTS * weights.stat().st_size))
            with tempfile.TemporaryDirectory(
                dir=bundle.folder, prefix=_UNFINISHED, ignore_cleanup_errors=True
            ) as temporary:
                folder = Path(temporary)
                slices = calibration_slices(bundle, channels)
                made, golden = _write_files(bundle, weights, slices, folder, progress)
                _install(bundle, folder, made, golden)
    except OSError as error:
        raise AutoMedSAMError(_write_error(bundle, error)) from error
    return load_bundle(bundle.folder)


def calibration_slices(bundle: Bundle, channels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Slices as the image encoder takes them, evenly spaced over the volume; empty ones only if all are.

    Args:
        bundle: The model.
        channels: `(C, N, H, W)` gray levels of each modality.

    Returns:
        `(n, 3, S, S)`, normalized by ImageNet's mean and deviation, with at most `CALIBRATION_SLICES` of them.
    """
    slices = segmenter_slices(channels, bundle.segmenter_channels)
    varied = np.flatnonzero([one.min() < one.max() for one in slices])
    places = varied if varied.size else np.arange(len(slices))
    places = places[np.linspace(0, len(places) - 1, min(CALIBRATION_SLICES, len(places))).round().astype(int)]
    side = bundle.architecture.image_size
    gray = [resize_linear(slices[place], (side, side)) / np.float32(255) for place in places]
    return np.stack([np.asarray((one - IMAGENET_MEAN) / IMAGENET_STD, np.float32) for one in gray])


def _check(bundle: Bundle) -> None:
    segmenter = bundle.manifest["segmenter"]["files"]
    message = ""
    if Backend.INT8.files_key in segmenter:
        message = f"The model {bundle.name} has INT8 files already."
    elif Backend.FP32_TORCH.files_key not in segmenter:
        message = f"The model {bundle.name} has no PyTorch weights, from which INT8 files are made: install it again."
    elif not has_detector_for(bundle.manifest, Backend.INT8):
        message = (
            f"The detector of {bundle.name} is here in FP32 alone, so the model cannot run in INT8: install it again "
            "with the --detector of a model that has INT8 files, or choose FP32."
        )
    if message:
        raise AutoMedSAMError(message)
    try:
        import onnx
        import sam2
        import torch

        _ = onnx, sam2, torch
    except ImportError as error:
        message = (
            f"Making the INT8 files of {bundle.name} needs {error.name or error}, which is not installed: "
            "pip install 'automedsam[fp32]'. The files are made once, and running them does not need it."
        )
        raise AutoMedSAMError(message) from error


def _write_files(
    bundle: Bundle, weights: Path, slices: NDArray[np.float32], folder: Path, progress: Progress
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes `<part>.int8.onnx`; gives how they were made, and what they compute."""
    from automedsam.quantization.export import export_segmenter
    from automedsam.quantization.segmenter import default_plan, quantize_by_plan
    from automedsam.sam2.torch_networks import load_model

    steps = iter(range(_STEPS))

    def begin(_: object = None) -> None:
        progress(next(steps), _STEPS)

    begin()
    model, _ = load_model(weights, bundle.architecture)
    exported = folder / "fp32"
    differences = export_segmenter(model, exported, begin)
    fp32 = {part: exported / f"{part}.onnx" for part in NETWORK_NAMES}
    files, plan = quantize_by_plan(fp32, folder, slices, default_plan(fp32), begin=begin)
    for part, path in files.items():
        # Where no layer at all can be quantized, the part is a copy.
        if filecmp.cmp(path, fp32[part], shallow=False):
            message = (
                f"ONNX Runtime {version('onnxruntime')} cannot quantize the {part.replace('_', ' ')} of {bundle.name}: "
                "update onnxruntime and onnx, or choose FP32."
            )
            raise AutoMedSAMError(message)
    begin()
    golden = record_golden(files)
    made = {
        "calibration": {"slices": len(slices)},
        "quantization": plan.to_manifest(),
        "difference_from_torch": differences,
        "versions": {name: version(name) for name in _PACKAGES},
    }
    progress(_STEPS, _STEPS)
    return made, golden


def _install(bundle: Bundle, folder: Path, made: Mapping[str, Any], golden: Mapping[str, Any]) -> None:
    """Moves the files into the bundle, the manifest last: until it is there, nothing refers to them."""
    names = {part: f"{part}.{Backend.INT8.files_key}.onnx" for part in NETWORK_NAMES}
    hashes = {name: file_hash(folder / name) for name in names.values()}
    files = {name: {"sha256": sha256, "bytes": (folder / name).stat().st_size} for name, sha256 in hashes.items()}
    together = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
    segmenter, key = bundle.manifest["segmenter"], Backend.INT8.files_key
    manifest = {
        **bundle.manifest,
        "segmenter": {
            **segmenter,
            "files": {**segmenter["files"], key: names},
            "golden": {**segmenter.get("golden", {}), key: golden},
        },
        "files": {**bundle.manifest["files"], **files},
        INT8_MADE_HERE: {"installed_hash": bundle.hash, "hash": together, **made},
    }
    unfinished = folder / MANIFEST_NAME
    unfinished.write_text(json.dumps(manifest, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    try:
        for name in files:
            (folder / name).replace(bundle.folder / name)
        unfinished.replace(bundle.folder / MANIFEST_NAME)
    except BaseException:
        if unfinished.exists():
            for name in files:
                (bundle.folder / name).unlink(missing_ok=True)
        raise


def _write_error(bundle: Bundle, error: OSError) -> str:
    """One sentence; the temporary files of a network may lie on another disk."""
    place = Path(error.filename) if isinstance(error.filename, str) else bundle.folder
    place = bundle.folder if place.is_relative_to(bundle.folder) else place.parent
    reason = write_error_message(place, error)
    return f"The INT8 files of {bundle.name} cannot be made, and nothing has changed: {reason}"
