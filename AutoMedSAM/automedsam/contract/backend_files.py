"""Which of a bundle's files a backend runs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automedsam.contract.backends import Backend

__all__ = ["DETECTOR", "can_make_int8", "has_detector_for", "named_for", "required_for"]

DETECTOR = "detector"
"""The component that finds objects; all others are the segmenter's."""


def named_for(manifest: Mapping[str, Any], backend: Backend) -> dict[str, str]:
    """The files that a manifest names for a backend, by component: "detector" and those of the segmenter.

    Args:
        manifest: A manifest that `read_manifest` has checked.
        backend: The backend.

    Returns:
        Paths relative to the bundle's folder; a component that the manifest does not name is left out.
    """
    detectors = manifest["detector"]["files"]
    detector = detectors.get(backend.detector_key)
    if detector is None and backend is Backend.FP32_TORCH:
        # A published checkpoint may have the detector of a built-in bundle, which comes in INT8 alone.
        detector = detectors.get(Backend.INT8.detector_key)
    segmenter = manifest["segmenter"]["files"].get(backend.files_key, {})
    return {**({} if detector is None else {DETECTOR: detector}), **segmenter}


def required_for(manifest: Mapping[str, Any], backend: Backend) -> dict[str, str] | None:
    """The files that a run on a backend needs, as `named_for`; None if the manifest does not name them all.

    A bundle without any detector needs the segmenter alone: it segments inside boxes that a user draws.
    """
    named = named_for(manifest, backend)
    complete = named.keys() - {DETECTOR} and has_detector_for(manifest, backend)
    return named if complete else None


def has_detector_for(manifest: Mapping[str, Any], backend: Backend) -> bool:
    """Whether a backend has a detector, or the bundle has none at all and needs none."""
    return not manifest["detector"]["files"] or DETECTOR in named_for(manifest, backend)


def can_make_int8(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest names no INT8 segmenter, and what one can be made from: PyTorch weights.

    A detector has to be there in INT8: it cannot be made here.
    """
    segmenter = manifest["segmenter"]["files"]
    return (
        Backend.INT8.files_key not in segmenter
        and Backend.FP32_TORCH.files_key in segmenter
        and has_detector_for(manifest, Backend.INT8)
    )
