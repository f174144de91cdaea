"""AutoMedSAM segments medical volumes without manual prompts and returns labels on the input grid.

A detector finds boxes on the slices, boxes of neighbouring slices become objects, and SAM 2 follows each
object through the volume. The names below load what they need when they are first used:

    >>> import automedsam
    >>> volume = automedsam.read_volume("head.nii.gz")
    >>> segmentation = automedsam.segment(volume, automedsam.load_bundle("glioma"))
    >>> automedsam.write_segmentation(segmentation, "lesions.seg.nrrd")

`SegmentationRun` does the same step by step, and can be cancelled.

Research software: not for clinical use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automedsam.bundle import Bundle, list_bundles, load_bundle
    from automedsam.contract.backends import Backend
    from automedsam.core.boxes import Box, Tracklet
    from automedsam.core.prompts import EditedMask, Point
    from automedsam.core.segmentation import Segment, Segmentation
    from automedsam.core.volume import Plane, Volume
    from automedsam.errors import AutoMedSAMError
    from automedsam.io.segmentation_writer import write_segmentation
    from automedsam.io.volume_reader import read_volume
    from automedsam.measure.objects import Measures
    from automedsam.pipeline.measure_files import measure_file
    from automedsam.pipeline.prompt_file import read_prompts
    from automedsam.pipeline.replay import replay
    from automedsam.pipeline.run import SegmentationRun, segment

# Also in CITATION.cff and CHANGELOG.md. A bundle has a version of its own: that of the release that built it.
__version__ = "0.3.0"

__all__ = [
    "AutoMedSAMError",
    "Backend",
    "Box",
    "Bundle",
    "EditedMask",
    "Measures",
    "Plane",
    "Point",
    "Segment",
    "Segmentation",
    "SegmentationRun",
    "Tracklet",
    "Volume",
    "list_bundles",
    "load_bundle",
    "measure_file",
    "read_prompts",
    "read_volume",
    "replay",
    "segment",
    "write_segmentation",
]

_HOMES = {
    "automedsam.contract.backends": ("Backend",),
    "automedsam.core.boxes": ("Box", "Tracklet"),
    "automedsam.core.prompts": ("EditedMask", "Point"),
    "automedsam.bundle": ("Bundle", "list_bundles", "load_bundle"),
    "automedsam.errors": ("AutoMedSAMError",),
    "automedsam.pipeline.prompt_file": ("read_prompts",),
    "automedsam.pipeline.run": ("SegmentationRun", "segment"),
    "automedsam.io.volume_reader": ("read_volume",),
    "automedsam.measure.objects": ("Measures",),
    "automedsam.pipeline.measure_files": ("measure_file",),
    "automedsam.pipeline.replay": ("replay",),
    "automedsam.core.segmentation": ("Segment", "Segmentation"),
    "automedsam.core.volume": ("Plane", "Volume"),
    "automedsam.io.segmentation_writer": ("write_segmentation",),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            found = globals()[name] = getattr(import_module(module), name)
            return found
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
