"""A run's request, state and outcome, and the sentence that reports its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from slicer.i18n import tr as _

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
        beside: of a propagation: its objects were not segmented before, so that earlier results stay beside them.
    """

    volumes: tuple[slicer.vtkMRMLScalarVolumeNode, ...]
    segmentation: slicer.vtkMRMLSegmentationNode | None
    model: Model
    backend: str = Backend.INT8.value
    threshold: float | None = None
    plane: str | None = None
    slices: tuple[int, int] | None = None
    replace: bool = False
    beside: bool = False


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
        message: one sentence for the user.
        details: for the Details button: a traceback, or the last of the engine's output; may be empty.
        report: seconds, slices, segmented_slices, objects, volume_ml, peak_memory_mb, device; empty unless finished.
        confidence: `{"slice", "confidence", "reason"}` for each segmented slice, confidence from 0 to 1.
        objects: measures of segments and objects, as the engine's "finished" event has them; empty unless finished.
    """

    status: Literal["finished", "cancelled", "failed"]
    message: str
    details: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    confidence: list[dict[str, Any]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)


class RunListener(Protocol):
    """Receives the events of a run. Every call comes on the main thread, from the event loop."""

    def on_started(self, run: RunInfo) -> None:
        """The engine has begun; not called if it never does."""

    def on_progress(self, fraction: float, text: str) -> None:
        """How much is done, 0 to 1, and the present step: "Detecting slice 80 of 155, 4 s left"."""

    def on_boxes(self, boxes: list[Message]) -> None:
        """The boxes of one slice, as the protocol has them: `id`, `slice`, `bounds`, `score`, `label`, `drawn`."""

    def on_tracklets(self, tracklets: list[Message]) -> None:
        """Boxes linked to objects: `label`, `seed`, `score`, `boxes` (their ids), `gaps` (slices without a box)."""

    def on_slices(self, slices: list[int]) -> None:
        """The labels of these slices have just been written into the segmentation."""

    def on_finished(self, outcome: Outcome) -> None:
        """The run has ended, however; called exactly once for each run that was started."""


class SilentListener:
    """A listener that does nothing: a base class for those that need one event only."""

    def on_started(self, run: RunInfo) -> None: ...

    def on_progress(self, fraction: float, text: str) -> None: ...

    def on_boxes(self, boxes: list[Message]) -> None: ...

    def on_tracklets(self, tracklets: list[Message]) -> None: ...

    def on_slices(self, slices: list[int]) -> None: ...

    def on_finished(self, outcome: Outcome) -> None: ...


def finished(event: Message) -> Outcome:
    """It finished; `concluded` adds the sentence once everything is written."""
    return Outcome(
        "finished", "", report=event["report"], confidence=event["confidence"], objects=event.get("objects", [])
    )


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
    # A segment that lies inside another is a part of that one's volume.
    parts = {one["name"] for one in run.request.model.segments if one.get("inside") is not None}
    objects = outcome.report["objects"]
    millilitres = sum(volume for name, volume in outcome.report["volume_ml"].items() if name not in parts)
    numbers = {"objects": objects, "volume": f"{millilitres:.1f}", "time": f"{seconds:.1f}"}
    if changed is not None:
        message = f"{_changed(changed)} {_now(objects)}".format(changed=changed, **numbers)
    elif objects == 1:
        message = _("Found 1 object, {volume} ml, in {time} s.").format(**numbers)
    elif objects:
        message = _("Found {objects} objects, {volume} ml, in {time} s.").format(**numbers)
    else:
        message = _("Nothing was found with a min score of {score}; lower it to find more.")
        message = message.format(score=f"{run.threshold:.2g}")
    return replace(outcome, message=message)


def _changed(slices: int) -> str:
    if slices == 0:
        return _("No slice changed.")
    return _("1 slice changed.") if slices == 1 else _("{changed} slices changed.")


def _now(objects: int) -> str:
    if objects == 1:
        return _("The segmentation now has 1 object, {volume} ml ({time} s).")
    return _("The segmentation now has {objects} objects, {volume} ml ({time} s).")


def cancelled(slices: int, confidence: Sequence[Message] = ()) -> Outcome:
    """The user clicked Cancel after so many finished slices."""
    if slices == 0:
        message = _("Cancelled before a slice was finished; nothing was changed.")
    elif slices == 1:
        message = _("Cancelled; the finished slice is kept.")
    else:
        message = _("Cancelled; the {slices} finished slices are kept.").format(slices=slices)
    return Outcome("cancelled", message, confidence=list(confidence))


def failed(message: str, details: str = "") -> Outcome:
    """It failed."""
    return Outcome("failed", message, details)


def kept_by_hand(slices: int) -> str:
    """A sentence on the slices edited by hand that a run did not change; empty if there are none."""
    if slices == 0:
        return ""
    if slices == 1:
        return _("1 slice edited by hand was kept.")
    return _("{slices} slices edited by hand were kept.").format(slices=slices)
