"""What a tracklet asks of the segmenter: where its object is, where tracking starts, and with which prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from automedsam.core.boxes import Box, Tracklet
from automedsam.core.prompts import Point
from automedsam.detection.linking import seed_slice
from automedsam.errors import AutoMedSAMError
from automedsam.sam2.networks import NO_OBJECT_LOGIT, Floats
from automedsam.sam2.prompt_shapes import bounding_box
from automedsam.sam2.propagation import Prompt

FindBox = Callable[[int, Point], Box]
"""Finds the box of the object that a click on a slice means."""


@dataclass(frozen=True)
class Run:
    """Slices, first and last, through which an object is tracked from a seed without crossing an empty one."""

    seed: int
    first: int
    last: int


def effective(tracklet: Tracklet) -> Tracklet:
    """The tracklet with the prompts that count alone: none on empty slices or beyond the limits, masks before boxes."""
    first, last = tracklet.limits or (-(2**53), 2**53)
    absent = tracklet.empty | {at for at, mask in tracklet.masks.items() if not mask.pixels.any()}

    def counts(index: int) -> bool:
        return first <= index <= last and index not in absent

    masks = {at: mask for at, mask in sorted(tracklet.masks.items()) if counts(at)}
    boxes = {at: box for at, box in sorted(tracklet.boxes.items()) if counts(at) and at not in masks}
    points = {at: clicks for at, clicks in sorted(tracklet.points.items()) if counts(at) and clicks}
    return replace(tracklet, boxes=boxes, points=points, masks=masks, empty=frozenset(absent))


def check_prompts(tracklet: Tracklet, shape: tuple[int, ...]) -> None:
    """Checks that points and masks lie on the slices `(N, H, W)`.

    Raises:
        AutoMedSAMError: If one does not.
    """
    count, height, width = shape
    for at in (*tracklet.points, *tracklet.masks):
        if not 0 <= at < count:
            message = f"There is a prompt on slice {at}, and the slices are 0 to {count - 1}: move it, or delete it."
            raise AutoMedSAMError(message)
    for at, points in tracklet.points.items():
        for point in points:
            if not (0 <= point.x < width and 0 <= point.y < height):
                message = (
                    f"The point ({point.x:g}, {point.y:g}) on slice {at} lies outside its {width} x {height} pixels: "
                    "move it, or delete it."
                )
                raise AutoMedSAMError(message)
    for at, mask in tracklet.masks.items():
        if mask.pixels.shape != (height, width):
            message = (
                f"The mask of slice {at} has {mask.pixels.shape} pixels, and the slice {(height, width)}: redo it."
            )
            raise AutoMedSAMError(message)


def outline_of(tracklet: Tracklet, find_box: FindBox) -> Tracklet | None:
    """Where the object is: a box for each slice that has a box or a mask, or is the first that was clicked.

    Boxes contain the positive clicks on their slice.

    Args:
        tracklet: An effective one.
        find_box: Called once, for an object that has nothing but points.

    Returns:
        A tracklet of boxes; None if nothing tells where the object is.
    """
    boxes = {
        **tracklet.boxes,
        **{at: replace(bounding_box(mask.pixels), label=tracklet.label) for at, mask in tracklet.masks.items()},
    }
    if not boxes:
        clicked = {at: one for at, points in tracklet.points.items() if (one := _first_positive(points)) is not None}
        if not clicked:
            return None
        start = tracklet.seed if tracklet.seed in clicked else min(clicked)
        boxes[start] = replace(find_box(start, clicked[start]), label=tracklet.label)
    boxes = {at: _with_points(box, tracklet.points.get(at, ())) for at, box in boxes.items()}
    return Tracklet(tracklet.label, dict(sorted(boxes.items())), _seed(tracklet, boxes))


def runs_of(tracklet: Tracklet, outline: Tracklet, first: int, last: int) -> list[Run]:
    """The runs of an effective tracklet within its slices; slices that no prompt reaches are in none."""
    runs = []
    edges = [first - 1, *sorted(at for at in tracklet.empty if first <= at <= last), last + 1]
    for before, after in pairwise(edges):
        boxes = {at: box for at, box in outline.boxes.items() if before < at < after}
        if boxes:
            runs.append(Run(outline.seed if outline.seed in boxes else _seed(tracklet, boxes), before + 1, after - 1))
    # The run of the seed first: it is what the user looks at.
    return sorted(runs, key=lambda run: run.seed != outline.seed)


def prompts_of(
    tracklet: Tracklet, outline: Tracklet, run: Run, prompt_score: float, *, knows_points: bool
) -> dict[int, Prompt]:
    """The prompts of a run, by slice.

    Args:
        tracklet: An effective one.
        outline: From `outline_of`.
        run: The run.
        prompt_score: Boxes of at least this score prompt on their own slice, not only at the seed.
        knows_points: Whether the network takes clicks without a box.
    """
    found = {}
    for at in sorted({*outline.boxes, *tracklet.points}):
        if not run.first <= at <= run.last:
            continue
        points = _rows(tracklet.points.get(at, ()))
        box = outline.boxes.get(at)
        if at in tracklet.masks:
            found[at] = Prompt(mask=tracklet.masks[at].pixels, points=points)
        elif knows_points and points is not None and at not in tracklet.boxes:
            found[at] = Prompt(points=points)
        elif box is not None and (at == run.seed or box.score >= prompt_score):
            found[at] = Prompt(box=box, points=points)
        elif points is not None:
            found[at] = Prompt(points=points)
    return found


def keep_parts(logits: Floats, near: Box, points: Sequence[Point]) -> Floats:
    """Logits `(H, W)` without the connected parts that neither hold a positive point nor touch a box."""
    from scipy.ndimage import label

    parts, count = label(logits > 0)
    left, top, right, bottom = (max(0, round(edge)) for edge in near.corners)
    kept = np.zeros(count + 1, np.bool_)
    kept[parts[top:bottom, left:right]] = True
    kept[[parts[int(point.y), int(point.x)] for point in points if point.positive]] = True
    kept[0] = True
    cut: Floats = np.where(kept[parts], logits, NO_OBJECT_LOGIT)
    return cut


def _seed(tracklet: Tracklet, boxes: dict[int, Box]) -> int:
    if tracklet.seed in boxes:
        return tracklet.seed
    edited = {at: box for at, box in boxes.items() if at in tracklet.masks}
    return seed_slice(edited or boxes)


def _first_positive(points: tuple[Point, ...]) -> Point | None:
    return next((point for point in points if point.positive), None)


def _with_points(box: Box, points: tuple[Point, ...]) -> Box:
    x0, y0, x1, y1 = box.corners
    for point in points:
        if point.positive:
            x0, y0 = min(x0, point.x - 0.5), min(y0, point.y - 0.5)
            x1, y1 = max(x1, point.x + 0.5), max(y1, point.y + 0.5)
    if (x0, y0, x1, y1) == box.corners:
        return box
    return replace(box, x=x0, y=y0, width=x1 - x0, height=y1 - y0)


def _rows(points: tuple[Point, ...]) -> np.ndarray | None:
    """Points as `Prompt` has them."""
    if not points:
        return None
    return np.array([(point.x, point.y, point.positive) for point in points], np.float32)


def object_key(tracklet: Tracklet) -> str:
    """Identifies an object in a later run: equal for equal prompts, to a thousandth of a pixel, and an equal seed."""
    boxes = [(at, [round(edge, 3) for edge in box.corners], box.drawn) for at, box in sorted(tracklet.boxes.items())]
    prompts: tuple[object, ...] = (tracklet.label, tracklet.seed, boxes)
    if not tracklet.has_only_boxes:
        points = [
            (at, [(round(one.x, 3), round(one.y, 3), one.positive) for one in clicks])
            for at, clicks in sorted(tracklet.points.items())
        ]
        masks = [(at, mask.digest) for at, mask in sorted(tracklet.masks.items())]
        prompts += (points, masks, sorted(tracklet.empty), tracklet.limits)
    return hashlib.sha256(repr(prompts).encode()).hexdigest()[:16]
