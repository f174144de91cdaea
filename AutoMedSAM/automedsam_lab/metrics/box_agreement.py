"""The detector's boxes on the slices of a case, held against the boxes that the reference asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box, Tracklet
from automedsam.core.segmentation import mask_of
from automedsam_lab.metrics.masks import Mask
from automedsam_lab.metrics.reference_boxes import tight_box

if TYPE_CHECKING:
    from automedsam.bundle import Bundle


@dataclass(frozen=True)
class BoxRule:
    """Which boxes a label asks for on a slice.

    Attributes:
        merge_pixels: pieces of a label that lie closer than this share a box; None: one box for the label.
        min_pixels: smaller pieces ask for none.
    """

    merge_pixels: int | None
    min_pixels: int

    @classmethod
    def of(cls, bundle: Bundle) -> BoxRule:
        """The rule of a bundle: one box for each label if it looks for one object of each, else one for each piece."""
        return ONE_BOX if bundle.linking.max_objects == 1 else BOX_PER_PIECE

    def boxes(self, mask: Mask, label: int) -> list[Box] | None:
        """The boxes of one label on one slice.

        Args:
            mask: `(H, W)`.
            label: its value.

        Returns:
            Tight half-open boxes; None where the label is there, but too little of it to judge a detector by.
        """
        if not mask.any():
            return []
        kept = [piece for piece in self._pieces(mask) if np.count_nonzero(piece) >= self.min_pixels]
        return [tight_box(piece, label) for piece in kept] or None

    def _pieces(self, mask: Mask) -> list[Mask]:
        if self.merge_pixels is None:
            return [mask]
        from scipy.ndimage import binary_dilation, label

        grown = binary_dilation(mask, _disc(self.merge_pixels // 2))
        parts, count = label(grown, structure=np.ones((3, 3)))
        return [(parts == part) & mask for part in range(1, count + 1)]


# One box for all of a label, and a box for each of its pieces.
ONE_BOX = BoxRule(merge_pixels=None, min_pixels=6)
BOX_PER_PIECE = BoxRule(merge_pixels=5, min_pixels=20)


@dataclass(frozen=True, eq=False)
class SliceBoxes:
    """Boxes of one case by one detector, on the slices that can be judged.

    Attributes:
        patient: whose slices they are.
        prediction: for each slice `(n, 6)`: label, score, x0, y0, x1, y1.
        reference: for each slice `(n, 5)`: label, x0, y0, x1, y1.
    """

    patient: str
    prediction: list[NDArray[np.float64]]
    reference: list[NDArray[np.float64]]


def true_boxes(
    reference: NDArray[np.uint8], labels: Sequence[int], rule: BoxRule, inside: Mapping[int, int] | None = None
) -> dict[int, list[Box]]:
    """What a perfect detector would draw.

    Args:
        reference: `(N, H, W)`, label values.
        labels: the values that are looked for.
        rule: which boxes they ask for.
        inside: for each label that lies inside another, that one.

    Returns:
        By slice; slices on which a label is too small to judge a detector by are left out.
    """
    reference_boxes = {}
    for index, labeled in enumerate(reference):
        by_label = [rule.boxes(mask_of(labeled, inside or {}, label), label) for label in labels]
        if all(boxes is not None for boxes in by_label):
            reference_boxes[index] = [box for boxes in by_label for box in boxes or ()]
    return reference_boxes


def slice_boxes(
    patient: str, detections: Sequence[Sequence[Box]], reference_boxes: Mapping[int, Sequence[Box]]
) -> SliceBoxes:
    """All boxes that a detector gives, whatever their score, beside those of the reference.

    Args:
        patient: whose slices they are.
        detections: for each slice of the volume.
        reference_boxes: as `true_boxes` returns them.
    """
    return SliceBoxes(
        patient,
        [_array([(b.label, b.score, *b.corners) for b in detections[index]], 6) for index in reference_boxes],
        [_array([(b.label, *b.corners) for b in boxes], 5) for boxes in reference_boxes.values()],
    )


def mean_box_iou(tracklets: Sequence[Tracklet], reference_boxes: Mapping[int, Sequence[Box]], label: int) -> float:
    """How well the boxes that prompt the segmenter lie.

    Args:
        tracklets: the accepted ones.
        reference_boxes: as `true_boxes` returns them.
        label: the one to look at.

    Returns:
        The mean over the true boxes of the label of the IoU with the best accepted box of that slice, 0 where there
        is none; NaN without true boxes.
    """
    given: dict[int, list[Box]] = {}
    for tracklet in tracklets:
        if tracklet.label == label:
            for index, box in tracklet.boxes.items():
                given.setdefault(index, []).append(box)
    overlaps = [
        max((box.iou(true) for box in given.get(index, ())), default=0.0)
        for index, boxes in reference_boxes.items()
        for true in boxes
        if true.label == label
    ]
    return float(np.mean(overlaps)) if overlaps else float("nan")


def jittered(box: Box, size: tuple[int, int], rng: np.random.Generator, share: float, most: float) -> Box:
    """A box as a hurried reader draws it: each edge by itself a little off.

    SAM 2 and MedSAM are trained on boxes that are off by up to a tenth of the side or by up to 20 pixels.

    Args:
        box: the tight one.
        size: height and width of the slice in pixels.
        rng: where chance comes from.
        share: the most that an edge moves, as a share of the side across it; below 0.5.
        most: the most that it moves in pixels.

    Returns:
        The moved box, within the slice, no side under a pixel.
    """
    x0, y0, x1, y1 = box.corners
    reach = np.minimum(share * np.array([box.width, box.height, box.width, box.height]), most)
    left, top, right, bottom = np.array([x0, y0, x1, y1]) + rng.uniform(-1, 1, 4) * reach
    left, right = _within(left, right, size[1])
    top, bottom = _within(top, bottom, size[0])
    return Box(left, top, right - left, bottom - top, box.score, box.label)


def _within(low: float, high: float, end: int) -> tuple[float, float]:
    low = float(np.clip(low, 0, end - 1))
    return low, float(np.clip(high, low + 1, end))


def _disc(radius: int) -> Mask:
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(rows**2 + columns**2 <= radius**2 + radius)


def _array(rows: Sequence[Sequence[float]], columns: int) -> NDArray[np.float64]:
    return np.array(rows, dtype=np.float64).reshape(-1, columns)
