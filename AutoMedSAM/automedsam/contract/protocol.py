"""The messages between the Slicer module and the engine's process: one JSON object a line, in both directions.

The module writes requests to the engine's standard input and reads events from its standard output. Slices are voxel
indices along the slice axis, and boxes are voxel bounds, both of the volume as given. Voxels travel in `.npy` files.
Every event of a request carries its `id`.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NotRequired, TypedDict

from automedsam.contract.cohort_messages import (
    CaseDoneEvent,
    CaseEvent,
    CaseRequest,
    CohortEvent,
    CohortRequest,
    DecidedEvent,
    DecideRequest,
    ReopenRequest,
    SaveCaseRequest,
    WorklistEvent,
    WorklistRequest,
)
from automedsam.contract.comparison_messages import ComparedEvent, CompareRequest, ComparingEvent
from automedsam.contract.model_messages import (
    DownloadRequest,
    ImportRequest,
    InstalledEvent,
    ModelsEvent,
    ModelsRequest,
    RemovedEvent,
    RemoveRequest,
    TransferEvent,
)
from automedsam.contract.object_messages import (
    BoxFields,
    PreviewEvent,
    PreviewRequest,
    RunFields,
    TrackletFields,
    VolumeFields,
)
from automedsam.contract.result_messages import (
    EvaluatedEvent,
    EvaluateRequest,
    ExportedEvent,
    ExportRequest,
    ObjectFields,
)

PROTOCOL: Final = 1
"""Version of the messages; the engine's `ready` event carries it."""

DEVICE_OF_INT8: Final = "CPU: INT8 needs no PyTorch"

RUNS: Final = ("segment", "propagate", "reopen")
"""Requests whose events end with "finished" or "cancelled"."""

CANCELLABLE: Final = (*RUNS, "compare", "cohort")
"""Requests that take long: they are cancelled where nobody waits for their answer any more."""

ANSWERS: Final = {
    "link": "tracklets",
    "preview": "preview",
    "load": "loaded",
    "devices": "devices",
    "check": "checked",
    "compare": "compared",
    "phantom": "phantom",
    "models": "models",
    "download": "installed",
    "import": "installed",
    "remove": "removed",
    "evaluate": "evaluated",
    "export": "exported",
    "cohort": "cohort",
    "worklist": "worklist",
    "case": "case",
    "decide": "decided",
    "save_case": "decided",
}
"""The one event of every other request; any request may end with "error" instead."""


class WarningFields(TypedDict):
    """A warning of the input check; `code` is "skull", "modality", "spacing", "extent" or "intensity"."""

    code: str
    sentence: str


class ConfidenceFields(TypedDict):
    """The confidence in one slice, 0 to 1, and why it is doubtful; `reason` is empty where it is not."""

    slice: int
    confidence: float
    reason: str


class SegmentRequest(RunFields):
    """Detect and segment.

    Answered by started, stage, boxes, tracklets, slice and progress, then finished or cancelled. A downloaded model
    without INT8 files gets them first, which comes before started as the stage "quantize" with its progress.
    """

    op: Literal["segment"]
    labels: str


class PropagateRequest(RunFields):
    """Segment these objects and no others, into the labels of an earlier run; otherwise as `SegmentRequest`.

    The objects' prompts may be boxes, points and masks, see `automedsam.contract.object_messages`.
    """

    op: Literal["propagate"]
    labels: str
    boxes: list[BoxFields]
    tracklets: list[TrackletFields]
    crops: NotRequired[dict[str, list[int]]]


class LinkRequest(TypedDict):
    """Link boxes to objects without detecting again. Answered by tracklets."""

    op: Literal["link"]
    id: int
    volume: VolumeFields
    model: str
    boxes: list[BoxFields]
    threshold: NotRequired[float | None]
    plane: NotRequired[str | None]
    slices: NotRequired[tuple[int, int] | None]


class CheckRequest(TypedDict):
    """Compare a volume with the model's training images. Answered by checked."""

    op: Literal["check"]
    id: int
    volume: VolumeFields
    model: str
    names: NotRequired[list[dict[str, str]]]


class LoadRequest(TypedDict):
    """Load a model, so that the next run or preview need not wait for it. Answered by loaded."""

    op: Literal["load"]
    id: int
    model: str
    backend: NotRequired[str]
    device: NotRequired[str]


class DevicesRequest(TypedDict):
    """Ask what a backend would run on. Answered by devices."""

    op: Literal["devices"]
    id: int
    backend: NotRequired[str]


class PhantomRequest(TypedDict):
    """Write a synthetic head phantom to `path`. Answered by phantom."""

    op: Literal["phantom"]
    id: int
    path: str


class ControlRequest(TypedDict):
    """Stop the request that is worked on, or end the process. Not answered itself."""

    op: Literal["cancel", "quit"]


Request = (
    SegmentRequest
    | PropagateRequest
    | LinkRequest
    | PreviewRequest
    | CheckRequest
    | CompareRequest
    | LoadRequest
    | DevicesRequest
    | PhantomRequest
    | ModelsRequest
    | DownloadRequest
    | ImportRequest
    | RemoveRequest
    | EvaluateRequest
    | ExportRequest
    | CohortRequest
    | WorklistRequest
    | CaseRequest
    | ReopenRequest
    | DecideRequest
    | SaveCaseRequest
    | ControlRequest
)


class ReadyEvent(TypedDict):
    """The process has started."""

    event: Literal["ready"]
    protocol: int
    version: str
    pid: int


class StartedEvent(TypedDict):
    """A run begins. `axis` is the slice axis in `(K, J, I)`; `slices` are the first and the last slice looked at."""

    event: Literal["started"]
    id: int
    plane: str
    axis: int
    slices: list[int]
    threshold: float
    device: str
    model: dict[str, str]
    engine: str
    warnings: list[WarningFields]


class StageEvent(TypedDict):
    """A stage begins: "detect" or "segment", of `total` slices, or "quantize", of `total` steps."""

    event: Literal["stage"]
    id: int
    stage: str
    total: int


class BoxesEvent(TypedDict):
    """The boxes of one slice."""

    event: Literal["boxes"]
    id: int
    slice: int
    boxes: list[BoxFields]
    done: int


class TrackletsEvent(TypedDict):
    """The objects."""

    event: Literal["tracklets"]
    id: int
    tracklets: list[TrackletFields]


class SliceEvent(TypedDict):
    """The labels of a slice have changed in the labels' file."""

    event: Literal["slice"]
    id: int
    slice: int
    done: int


class ProgressEvent(TypedDict):
    """A slice was computed, and its labels are as they were; or a step of the stage "quantize" is done."""

    event: Literal["progress"]
    id: int
    done: int


class FinishedEvent(TypedDict):
    """A run is over. `objects` are the measures of each segment, then of each tracklet."""

    event: Literal["finished"]
    id: int
    report: dict[str, Any]
    objects: list[ObjectFields]
    provenance: dict[str, Any]
    tracklets: list[TrackletFields]
    confidence: list[ConfidenceFields]
    crops: dict[str, list[int]]


class CancelledEvent(TypedDict):
    """A run was stopped; finished slices are in the labels' file."""

    event: Literal["cancelled"]
    id: int
    confidence: list[ConfidenceFields]
    crops: NotRequired[dict[str, list[int]]]


class CheckedEvent(TypedDict):
    """The input check's warnings; empty if the volume looks like the training images."""

    event: Literal["checked"]
    id: int
    warnings: list[WarningFields]


class LoadedEvent(TypedDict):
    """The model is in memory; `device` is what computes, in one line."""

    event: Literal["loaded"]
    id: int
    device: str


class DevicesEvent(TypedDict):
    """What a backend runs on, in one line, and the packages that it lacks."""

    event: Literal["devices"]
    id: int
    device: str
    missing: list[str]


class PhantomEvent(TypedDict):
    """The phantom was written."""

    event: Literal["phantom"]
    id: int
    volume: VolumeFields


class ErrorEvent(TypedDict):
    """A request failed. `user_error`: the message is a sentence for the user; else it is a fault of the program."""

    event: Literal["error"]
    id: int | None
    message: str
    details: str
    user_error: bool


Event = (
    ReadyEvent
    | StartedEvent
    | StageEvent
    | BoxesEvent
    | TrackletsEvent
    | SliceEvent
    | ProgressEvent
    | FinishedEvent
    | CancelledEvent
    | PreviewEvent
    | CheckedEvent
    | ComparingEvent
    | ComparedEvent
    | LoadedEvent
    | DevicesEvent
    | PhantomEvent
    | ModelsEvent
    | TransferEvent
    | InstalledEvent
    | RemovedEvent
    | EvaluatedEvent
    | ExportedEvent
    | CaseDoneEvent
    | CohortEvent
    | WorklistEvent
    | CaseEvent
    | DecidedEvent
    | ErrorEvent
)
