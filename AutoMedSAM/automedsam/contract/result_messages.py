"""The messages of `protocol` about results: measures of objects, a reference, and DICOM SEG."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class GridFields(TypedDict):
    """Labels `(K, J, I)` in an `.npy` file, and their grid in mm, LPS; as `VolumeFields` of `protocol`."""

    path: str
    name: NotRequired[str]
    spacing: list[float]
    origin: list[float]
    direction: list[float]


class SegmentFields(TypedDict):
    """A segment: its label value, its name, and perhaps color (0 to 1) and Slicer's serialized terminology."""

    value: int
    name: str
    color: NotRequired[list[float]]
    terminology: NotRequired[str]


class ObjectFields(TypedDict):
    """Measures of an object, or of a whole segment, whose `number` is None.

    `number` counts the tracklets of the run from 1, and `boxes` are the ids of an object's boxes. `slices` are the
    first and the last slice, voxel indices along the slice axis. `long_mm` is the largest diameter on a slice,
    `diameter_slice`, and `short_mm` the largest perpendicular to it. `agreement`, 0 to 1, is the mean confidence of its
    slices, and `doubtful` those below 0.5. What is not known is None.
    """

    label: int
    segment: str
    number: int | None
    ml: float
    slices: list[int] | None
    slice_count: int
    diameter_slice: int | None
    long_mm: float
    short_mm: float
    agreement: float | None
    doubtful: list[int]
    dice: float | None
    boxes: NotRequired[list[int]]


class EvaluateRequest(TypedDict):
    """Compare labels with a reference segment by segment, by name. Answered by evaluated.

    `labels` and `reference` must lie at the same points. Segments are those that both have.
    """

    op: Literal["evaluate"]
    id: int
    labels: GridFields
    segments: list[SegmentFields]
    reference: GridFields
    reference_segments: list[SegmentFields]


class ExportRequest(TypedDict):
    """Write labels as DICOM SEG that refers to the DICOM `files` of the segmented image. Answered by exported.

    `seg_type` is "binary" or "labelmap". `provenance` is that of the run.
    """

    op: Literal["export"]
    id: int
    labels: GridFields
    segments: list[SegmentFields]
    files: list[str]
    output: str
    seg_type: NotRequired[str]
    provenance: NotRequired[dict[str, Any]]


class EvaluatedEvent(TypedDict):
    """Dice by the name of the segment, and by the number of the object of the last run where they are known.

    `missed` counts connected parts of the reference that the segmentation does not overlap.
    """

    event: Literal["evaluated"]
    id: int
    dice: dict[str, float]
    objects: dict[str, float]
    missed: int


class ExportedEvent(TypedDict):
    """The file was written."""

    event: Literal["exported"]
    id: int
    path: str
