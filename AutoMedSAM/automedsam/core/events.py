"""What happens during a run, in order: the one stream that progress, streaming and cancelling are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from automedsam.core.boxes import Box, Tracklet
    from automedsam.core.segmentation import Segmentation


class Stage(str, Enum):
    """The parts of a run that a person waits for."""

    DETECT = "detect"
    LINK = "link"
    SEGMENT = "segment"
    QUANTIZE = "quantize"
    """INT8 files of a downloaded model are made, once; see `automedsam.pipeline.int8_files`."""


@dataclass(frozen=True)
class InputWarning:
    """One reason why a result may not be reliable.

    Attributes:
        code: "skull", "modality", "spacing", "extent" or "intensity".
        sentence: What is unlike the training images and what to do, in one sentence.
    """

    code: str
    sentence: str


@dataclass(frozen=True)
class InputChecked:
    """The volume was compared with the model's training images; see `automedsam.pipeline.input_check`."""

    warnings: tuple[InputWarning, ...]


@dataclass(frozen=True)
class StageStarted:
    """A stage begins; `total` is the number of slices that it will report."""

    stage: Stage
    total: int


@dataclass(frozen=True)
class SliceDetected:
    """The boxes of one slice, every score above the detector's floor, in the slice's pixels."""

    index: int
    boxes: list[Box]


@dataclass(frozen=True)
class TrackletsLinked:
    """The objects that will be segmented."""

    tracklets: list[Tracklet]


@dataclass(frozen=True)
class SliceSegmented:
    """The labels `(H, W)` of one slice at native resolution; a later event for the same slice replaces it."""

    index: int
    labels: np.ndarray


@dataclass(frozen=True)
class SlicePropagated:
    """An object was followed through one slice again, and what the slice shows has not changed, or not yet."""

    index: int


@dataclass(frozen=True)
class RunReport:
    """The closing table of a run.

    Attributes:
        seconds: wall seconds by stage.
        slices: slices in the volume along the plane.
        segmented_slices: slices that were encoded and segmented.
        objects: tracklets.
        volume_ml: millilitres by segment name.
        peak_memory_mb: the process's peak resident memory in MB.
        device: what computed, and why, in words.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    slices: int = 0
    segmented_slices: int = 0
    objects: int = 0
    volume_ml: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0
    device: str = ""


@dataclass(frozen=True)
class Finished:
    """The run is over; the segmentation is on the volume's own grid."""

    segmentation: Segmentation
    report: RunReport


Event = InputChecked | StageStarted | SliceDetected | TrackletsLinked | SliceSegmented | SlicePropagated | Finished
