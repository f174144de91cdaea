"""Objects in the messages of `protocol`: their volume, boxes, points and masks, and the preview of one on a slice."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict


class VolumeFields(TypedDict):
    """A volume: voxels `(K, J, I)` or `(C, K, J, I)` in an `.npy` file, and their grid in mm, LPS.

    `direction` is row-major 3 x 3; its columns are the directions of I, J, K. `shape` `(K, J, I)` stands for the file
    where nobody looks at the voxels.
    """

    path: NotRequired[str]
    shape: NotRequired[list[int]]
    name: NotRequired[str]
    spacing: list[float]
    origin: list[float]
    direction: list[float]


class BoxFields(TypedDict):
    """A box on one slice.

    `bounds` is i0, i1, j0, j1, k0, k1: half-open voxel ranges, one voxel along the slice axis.
    """

    id: int
    slice: int
    bounds: list[float]
    score: float
    label: int
    drawn: bool


class PointFields(TypedDict):
    """A click: `position` is i, j, k in voxels, whole numbers at voxel centers; `positive` if it is on the object.

    The nearest slice along the slice axis is the one that it prompts.
    """

    position: list[float]
    positive: bool


class MaskFields(TypedDict):
    """A mask that a user edited on one slice: a two-dimensional `.npy` file, uint8, 0 or 1.

    Its two axes are those of the volume's `(K, J, I)` that are left without the slice axis, in this order.
    """

    slice: int
    path: str


class TrackletFields(TypedDict):
    """An object: the ids of its boxes, the slice that it is tracked from, and slices without a box between its ends.

    `boxes` may be empty if there are points or masks. The object is absent on the slices of `empty`, and tracking
    stops at them. `limits` are the first and the last slice to which it may be tracked. Slices are voxel indices
    along the slice axis.
    """

    label: int
    seed: int
    boxes: list[int]
    score: NotRequired[float]
    gaps: NotRequired[list[int]]
    points: NotRequired[list[PointFields]]
    masks: NotRequired[list[MaskFields]]
    empty: NotRequired[list[int]]
    limits: NotRequired[list[int]]


class RunFields(TypedDict):
    """What every request has that computes masks: the volume, the model, and how it is run."""

    id: int
    volume: VolumeFields
    model: str
    backend: NotRequired[str]
    device: NotRequired[str]
    threshold: NotRequired[float | None]
    plane: NotRequired[str | None]
    slices: NotRequired[tuple[int, int] | None]
    names: NotRequired[list[dict[str, str]]]


class PreviewRequest(RunFields):
    """Segment one object on one slice, and write the mask to the file `mask`.

    `tracklets` holds one object, which has a prompt on `slice`. Answered by preview, or by cancelled after a cancel
    request or once a newer preview has arrived. The file is as `MaskFields` describes it, and appears whole.
    """

    op: Literal["preview"]
    boxes: list[BoxFields]
    tracklets: list[TrackletFields]
    slice: int
    mask: str
    crops: NotRequired[dict[str, list[int]]]


class PreviewEvent(TypedDict):
    """The mask of a slice was written to `mask`.

    `area` is in voxels, `score` the model's own estimate of the mask's quality, 0 to 1, and `seconds` the time from
    the start of the work to the written file.
    """

    event: Literal["preview"]
    id: int
    slice: int
    mask: str
    area: int
    score: float
    seconds: float
