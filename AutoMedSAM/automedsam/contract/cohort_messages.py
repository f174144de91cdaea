"""The messages of `protocol` about cohorts: run one, list its cases, open one, and save what became of it."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from automedsam.contract.object_messages import RunFields, VolumeFields
from automedsam.contract.result_messages import GridFields, SegmentFields


class CaseFields(TypedDict):
    """A case of a cohort in one line.

    `state` is "done" or "failed", with the reason in `message`. `doubt` is 0 to 1. `decision` is "accept", "fix",
    "reject" or "", and `outdated` if the case was segmented again since.
    """

    name: str
    state: str
    message: str
    doubt: float
    objects: int | None
    volume_ml: dict[str, float]
    dice: dict[str, float]
    warned: bool
    decision: str
    note: str
    outdated: bool


class CohortRequest(TypedDict):
    """Segment every case of `input`, a folder or a CSV file, into `folder`. Answered by case_done, then cohort.

    Cancelled, it ends after the case in progress; the same request continues.
    """

    op: Literal["cohort"]
    id: int
    input: str
    folder: str
    model: str
    backend: NotRequired[str]
    threshold: NotRequired[float | None]
    plane: NotRequired[str | None]


class WorklistRequest(TypedDict):
    """List the cases of a cohort's output folder. Answered by worklist."""

    op: Literal["worklist"]
    id: int
    folder: str


class CaseRequest(TypedDict):
    """Write the image of a case, one `.npy` file for each modality, into the folder `into`. Answered by case."""

    op: Literal["case"]
    id: int
    folder: str
    case: str
    into: str


class ReopenRequest(RunFields):
    """Show the stored result of a case: the events are those of the run that made it, and nothing is computed."""

    op: Literal["reopen"]
    labels: str
    folder: str
    case: str


class DecideRequest(TypedDict):
    """Decide on a case: "accept", "fix", "reject", or "" to take that back. Answered by decided."""

    op: Literal["decide"]
    id: int
    folder: str
    case: str
    decision: str
    note: NotRequired[str]


class SaveCaseRequest(TypedDict):
    """Put corrected labels in the place of a case's segmentation, and accept it. Answered by decided."""

    op: Literal["save_case"]
    id: int
    folder: str
    case: str
    labels: GridFields
    segments: list[SegmentFields]
    note: NotRequired[str]


class CaseDoneEvent(TypedDict):
    """A case of a running cohort has ended."""

    event: Literal["case_done"]
    id: int
    case: str
    message: str
    done: int
    total: int


class CohortEvent(TypedDict):
    """A cohort has come to its end, or was stopped: how many cases are done, and the reason of each that failed."""

    event: Literal["cohort"]
    id: int
    folder: str
    count: int
    done: int
    failed: list[list[str]]
    stopped: bool


class WorklistEvent(TypedDict):
    """The cases of a cohort, failed ones first, then the most uncertain; `model` is what it was run with."""

    event: Literal["worklist"]
    id: int
    title: str
    model: str
    cases: list[CaseFields]


class CaseEvent(TypedDict):
    """The image of a case: one volume for each modality of `model`."""

    event: Literal["case"]
    id: int
    case: str
    model: str
    backend: str
    volumes: list[VolumeFields]


class DecidedEvent(TypedDict):
    """The decision is on the disk; this is the case's line now."""

    event: Literal["decided"]
    id: int
    case: CaseFields | dict[str, Any]
