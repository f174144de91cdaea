"""What a run is asked for, what it tells while it goes, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import slicer

    from AutoMedSAMLib.models import Model

Message = dict[str, Any]


@dataclass(frozen=True)
class RunRequest:
    """What to segment, and how.

    Attributes:
        volumes: one scalar volume node for each of the model's modalities, in its order, all on one grid.
        segmentation: the node to write into; None makes a new one.
        model: the model.
        backend: "int8" or "fp32".
        threshold: the score, above 0 and at most 1, from which a box is accepted; the model's own if None.
        plane: "axial", "coronal" or "sagittal"; that of the volume's acquisition if None.
        slices: first and last slice to look at, voxel indices along the slice axis, inclusive; all if None.
        replace: write into the segments of this model's last result for this volume, on these slices, if the
            segmentation has one; if False, that result stays, and new segments are added beside it.
    """

    volumes: tuple[slicer.vtkMRMLScalarVolumeNode, ...]
    segmentation: slicer.vtkMRMLSegmentationNode | None
    model: Model
    backend: str = "int8"
    threshold: float | None = None
    plane: str | None = None
    slices: tuple[int, int] | None = None
    replace: bool = False


@dataclass
class Run:
    """A run that the engine has begun.

    Attributes:
        request: what was asked for.
        segmentation: the node that is written into.
        plane: the plane of the slices: "axial", "coronal" or "sagittal".
        axis: the axis of `(K, J, I)` that the slices follow.
        slices: first and last slice looked at, inclusive voxel indices along `axis`.
        threshold: the score from which a box is accepted.
        device: what computes, and why, in one line.
        provenance: where the result comes from; see `AutoMedSAMLib.provenance`.
        warnings: what the input check found, `{"code", "sentence"}` each.
        segment_ids: the segment's ID in `segmentation` for each of the model's label values, once written.
    """

    request: RunRequest
    segmentation: slicer.vtkMRMLSegmentationNode
    plane: str
    axis: int
    slices: tuple[int, int]
    threshold: float
    device: str
    provenance: dict[str, Any] = field(default_factory=dict)
    warnings: list[Message] = field(default_factory=list)
    segment_ids: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: "finished", "cancelled" (finished slices are kept) or "failed" (finished slices are kept, too).
        message: one sentence for a person.
        details: for the Details button: a traceback or the engine's last words; may be empty.
        report: seconds, slices, segmented_slices, objects, volume_ml, peak_memory_mb, device; empty unless finished.
        confidence: `{"slice", "confidence", "reason"}` for each segmented slice, confidence from 0 to 1.
    """

    status: Literal["finished", "cancelled", "failed"]
    message: str
    details: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    confidence: list[dict[str, Any]] = field(default_factory=list)


class RunListener(Protocol):
    """Who wants to know how a run goes. Every call comes on the main thread, from the event loop."""

    def on_started(self, run: Run) -> None:
        """The engine has begun; not called if it never does."""

    def on_progress(self, fraction: float, text: str) -> None:
        """How much is done, 0 to 1, and what goes on: "Detecting slice 80 of 155, 4 s left"."""

    def on_boxes(self, boxes: list[Message]) -> None:
        """The boxes of one slice, as the protocol has them: `id`, `slice`, `bounds`, `score`, `label`, `drawn`."""

    def on_tracklets(self, tracklets: list[Message]) -> None:
        """Boxes linked to objects: `label`, `seed`, `score`, `boxes` (their ids), `gaps` (slices without a box)."""

    def on_slices(self, slices: list[int]) -> None:
        """The labels of these slices have just been written into the segmentation."""

    def on_finished(self, outcome: Outcome) -> None:
        """The end, whatever it is; called exactly once for each run that was started."""


class SilentListener:
    """A listener that listens to nothing: a base for those who want to know one thing only."""

    def on_started(self, run: Run) -> None: ...

    def on_progress(self, fraction: float, text: str) -> None: ...

    def on_boxes(self, boxes: list[Message]) -> None: ...

    def on_tracklets(self, tracklets: list[Message]) -> None: ...

    def on_slices(self, slices: list[int]) -> None: ...

    def on_finished(self, outcome: Outcome) -> None: ...
