"""Loads a bundle for a backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from automedsam.contract.backends import Backend
from automedsam.contract.protocol import DEVICE_OF_INT8
from automedsam.detection.detector import Detector, OnnxDetector
from automedsam.errors import AutoMedSAMError
from automedsam.runtime.threads import threads_from_environment, tuned_thread_count
from automedsam.sam2.onnx_networks import OnnxNetworks

if TYPE_CHECKING:
    from automedsam.bundle import Bundle
    from automedsam.core.boxes import Box
    from automedsam.sam2.networks import Sam2Networks


@dataclass(frozen=True)
class LoadedModel:
    """A loaded bundle.

    Attributes:
        detector: finds boxes.
        networks: the segmenter's networks.
        device: what computes, and why, in words for a person.
        threads: those within an operator of ONNX Runtime; None where it chooses itself.
    """

    detector: Detector
    networks: Sam2Networks
    device: str
    threads: int | None = None


def open_detector(bundle: Bundle, backend: Backend) -> Detector:
    """Loads only the detector.

    Raises:
        AutoMedSAMError: if the bundle's files are not here or damaged, or AUTOMEDSAM_THREADS is no number.
    """
    return OnnxDetector(bundle.files(backend)["detector"], bundle.detector, threads_from_environment())


def load_model(bundle: Bundle, backend: Backend = Backend.INT8, device: str = "auto") -> LoadedModel:
    """Loads a bundle's files, for as many threads as suit this machine (see `threads`).

    Args:
        bundle: the model.
        backend: what shall compute.
        device: "auto", "cpu", "cuda" or "mps"; only the FP32 backend knows others than the CPU.

    Raises:
        AutoMedSAMError: if files are missing or damaged, PyTorch is missing, the device is not there, a model
            answers otherwise here than where it was made, or AUTOMEDSAM_THREADS is no number.
    """
    if backend is not Backend.FP32_TORCH:
        if device not in ("auto", "cpu"):
            message = f"The {backend.value} backend runs on the CPU: leave out the device {device}, or choose fp32."
            raise AutoMedSAMError(message)
        files = bundle.files(backend, detector=bundle.has_detector)
        threads = tuned_thread_count(files["memory_attention"])
        networks = OnnxNetworks(files, bundle.architecture.image_size, threads, bundle.golden(backend))
        device = DEVICE_OF_INT8 if backend is Backend.INT8 else "CPU: FP32 on ONNX Runtime"
        return LoadedModel(_detector(bundle, files, threads), networks, device, threads)

    try:
        from automedsam.sam2 import torch_networks
    except ImportError as error:
        message = (
            "The FP32 backend needs PyTorch, which is not installed: pip install 'automedsam[fp32]', or choose the "
            "INT8 backend."
        )
        raise AutoMedSAMError(message) from error
    chosen, reason = torch_networks.choose_device(device)
    files = bundle.files(backend, detector=bundle.has_detector)
    model, _ = torch_networks.load_model(files["checkpoint"], bundle.architecture)
    detector = _detector(bundle, files, threads_from_environment())
    if bundle.has_detector and backend.detector_key not in bundle.manifest["detector"]["files"]:
        reason += "; detector: INT8 on ONNX Runtime"
    return LoadedModel(detector, torch_networks.TorchNetworks(model, chosen), reason)


class _NoDetector:
    """Takes the place of the detector of a bundle that has none: objects can be tracked from boxes, but not found."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def detect(self, frames: NDArray[np.uint8]) -> Iterator[list[Box]]:
        raise AutoMedSAMError(self._bundle.no_detector_message)


def _detector(bundle: Bundle, files: Mapping[str, Path], threads: int | None) -> Detector:
    if not bundle.has_detector:
        return _NoDetector(bundle)
    return OnnxDetector(files["detector"], bundle.detector, threads)
