"""A run's request, state and outcome, and the sentence that reports its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from automedsam.contract.backends import Backend

if TYPE_CHECKING:
    import slicer

    from AutoMedSAMLib.model.bundle_info import Model

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
    backend: str = Backend.INT8.value
    threshold: float | None = None
    plane: str | None = None
    slices: tuple[int, int] | None = None
    replace: bool = False


@dataclass
class RunInfo:
    """A run that the engine has begun.

    Attributes:
        request: what was asked for.
        segmentation: the node that is written into.
        plane: the plane of the slices: "axial", "coronal" or "sagittal".
        axis: the axis of `(K, J, I)` that the slices follow.
        slices: first and last slice looked at, inclusive voxel indices along `axis`.
        threshold: the score from which a box is accepted.
        device: what computes, and why, in one line.
        provenance: where the result comes from; see `AutoMedSAMLib.scene.provenance`.
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

    def on_started(self, run: RunInfo) -> None:
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

    def on_started(self, run: RunInfo) -> None: ...

    def on_progress(self, fraction: float, text: str) -> None: ...

    def on_boxes(self, boxes: list[Message]) -> None: ...

    def on_tracklets(self, tracklets: list[Message]) -> None: ...

    def on_slices(self, slices: list[int]) -> None: ...

    def on_finished(self, outcome: Outcome) -> None: ...


def finished(event: Message) -> Outcome:
    """It went to its end; `concluded` adds the sentence once everything is written."""
    return Outcome("finished", "", report=event["report"], confidence=event["confidence"])


def concluded(outcome: Outcome, run: RunInfo | None, seconds: float, changed: int | None) -> Outcome:
    """The outcome of a run with its sentence; one that did not finish has its own already.

    Args:
        outcome: how it ended.
        run: the run, if the engine began it.
        seconds: how long the user waited.
        changed: how many slices of the earlier result are different now; None if there was none to change.
    """
    if outcome.status != "finished" or run is None:
        return outcome
    objects, millilitres = outcome.report["objects"], sum(outcome.report["volume_ml"].values())
    result = f"{_count(objects, 'object')}, {millilitres:.1f} ml"
    if changed is not None:
        done = f"{_count(changed, 'slice')} changed" if changed else "No slice changed"
        message = f"{done}; the segmentation has {result} now ({seconds:.1f} s)."
    elif objects:
        message = f"Found {result}, in {seconds:.1f} s."
    else:
        message = f"Nothing was found at a threshold of {run.threshold:g}; a lower one finds more."
    return replace(outcome, message=message)


def cancelled(slices: int, confidence: Sequence[Message] = ()) -> Outcome:
    """Somebody pressed Cancel after so many slices."""
    if slices == 0:
        message = "Cancelled before a slice was finished; nothing was changed."
    else:
        message = f"Cancelled; {'the slice that was' if slices == 1 else f'the {slices} slices that were'} finished "
        message += "is kept." if slices == 1 else "are kept."
    return Outcome("cancelled", message, confidence=list(confidence))


def failed(message: str, details: str = "") -> Outcome:
    """It broke off."""
    return Outcome("failed", message, details)


def kept_by_hand(slices: int) -> str:
    """A sentence on the slices that a run left as somebody had edited them; empty if there are none."""
    if slices == 0:
        return ""
    return "1 slice edited by hand was kept." if slices == 1 else f"{slices} slices edited by hand were kept."


def _count(number: int, one: str) -> str:
    return f"{number} {one}{'' if number == 1 else 's'}"
