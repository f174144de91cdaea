"""Boxes on slices, and the tracklets that they form through a volume."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from automedsam.core.prompts import EditedMask, Point


@dataclass(frozen=True)
class Box:
    """A detected or drawn rectangle on one slice.

    Attributes:
        x: left edge, in pixels of the slice; 0 is the left edge of the first column.
        y: top edge, in pixels; 0 is the top edge of the first row.
        width: in pixels; the box is half-open, so `x + width` is the first column that is not in it.
        height: in pixels.
        score: the detector's confidence, 0 to 1; 1 for a box that a person drew.
        label: the label value in the segmentation.

    Example:
        >>> Box(10, 20, 30, 40).corners
        (10, 20, 40, 60)
    """

    x: float
    y: float
    width: float
    height: float
    score: float = 1.0
    label: int = 1

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """`x0, y0, x1, y1`, half-open, in pixels."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    @property
    def drawn(self) -> bool:
        """Whether a person drew it, or made it theirs: no detector is as sure as that."""
        return self.score >= 1

    def grown(self, share: float) -> Box:
        """The box with `share` of its width more on the left and right, and of its height at the top and bottom."""
        dx, dy = share * self.width, share * self.height
        return replace(self, x=self.x - dx, y=self.y - dy, width=self.width + 2 * dx, height=self.height + 2 * dy)

    def iou(self, other: Box) -> float:
        """Intersection over union with another box, 0 to 1; labels and slices are not looked at."""
        ax0, ay0, ax1, ay1 = self.corners
        bx0, by0, bx1, by1 = other.corners
        overlap = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
        union = self.width * self.height + other.width * other.height - overlap
        return overlap / union if union > 0 else 0.0


@dataclass(frozen=True)
class Tracklet:
    """One object: its boxes through neighbouring slices, and whatever else a user marked of it.

    Attributes:
        label: the label value that all its boxes share.
        boxes: the box on each slice that has one, by slice index in ascending order.
        seed: the slice from which the object is segmented; it has a box, points or a mask.
        points: clicks, by slice index.
        masks: masks edited by hand, by slice index: the result there, and what the slices beside are tracked from.
        empty: slices on which the object is absent; prompts there do not count, and tracking stops there.
        limits: the first and the last slice to which the object is tracked; prompts beyond do not count. As far as
            its size suggests if None.

    Example:
        >>> tracklet = Tracklet(1, {9: Box(10, 20, 30, 40), 10: Box(11, 20, 30, 40)}, seed=9)
        >>> sorted(tracklet.boxes)
        [9, 10]
    """

    label: int
    boxes: dict[int, Box] = field(default_factory=dict)
    seed: int = 0
    points: dict[int, tuple[Point, ...]] = field(default_factory=dict)
    masks: dict[int, EditedMask] = field(default_factory=dict)
    empty: frozenset[int] = frozenset()
    limits: tuple[int, int] | None = None

    @property
    def has_only_boxes(self) -> bool:
        """Whether there is nothing but boxes, as a detector finds them."""
        return not (self.points or self.masks or self.empty or self.limits)

    @property
    def first(self) -> int:
        """The first slice with a box."""
        return min(self.boxes)

    @property
    def last(self) -> int:
        """The last slice with a box."""
        return max(self.boxes)

    @property
    def score(self) -> float:
        """The highest score of its boxes, 0 to 1; 1 without boxes, for a user made it."""
        return max((box.score for box in self.boxes.values()), default=1.0)

    @property
    def gaps(self) -> list[int]:
        """Slices between the first and the last box that have none."""
        if not self.boxes:
            return []
        return [index for index in range(self.first, self.last + 1) if index not in self.boxes]

    def box_at(self, index: int) -> Box:
        """The object's box on any slice: its own, one between those of its neighbours, or that of the nearer end."""
        before = max((at for at in self.boxes if at <= index), default=self.first)
        after = min((at for at in self.boxes if at >= index), default=self.last)
        if before >= after:
            return self.boxes[before if before == after or index > self.last else after]
        share = (index - before) / (after - before)
        one, other = self.boxes[before], self.boxes[after]
        edges = [a + share * (b - a) for a, b in zip(one.corners, other.corners, strict=True)]
        return Box(
            edges[0], edges[1], edges[2] - edges[0], edges[3] - edges[1], min(one.score, other.score), self.label
        )
