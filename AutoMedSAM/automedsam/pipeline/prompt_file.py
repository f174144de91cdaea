"""Prompts from a file: boxes, points, masks, empty slices and limits of objects; see docs/prompts.md for the format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.bundle import Bundle
from automedsam.contract.checks import (
    FieldError,
    Fields,
    fail,
    integer,
    is_boolean,
    is_name,
    list_of,
    number,
    one_of,
    parse_object,
    range_of,
)
from automedsam.core.boxes import Box, Tracklet
from automedsam.core.ijk_boxes import IjkBoxConverter
from automedsam.core.prompts import EditedMask, Point
from automedsam.core.volume import Plane, Volume
from automedsam.detection.linking import seed_slice
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume

SCHEMA_VERSION = 1

_MAX_BYTES = 64_000_000
_POSITION = list_of(number(-np.inf), 3, 3)
_INDEX = integer(0, 10**6)
_OBJECT = Fields(
    {},
    {
        "segment": is_name,
        "label": integer(1, 255),
        "boxes": list_of(Fields({"corners": list_of(_POSITION, 2, 2)}, closed=True), 0, 10_000),
        "points": list_of(Fields({"position": _POSITION}, {"positive": is_boolean}, closed=True), 0, 10_000),
        "masks": list_of(
            Fields({"path": is_name}, {"value": integer(1, 65_535), "slices": list_of(_INDEX, 1, 10_000)}, closed=True),
            0,
            100,
        ),
        "empty": list_of(_INDEX, 0, 10_000),
        "limits": range_of(_INDEX),
    },
    closed=True,
)
_FILE = Fields(
    {
        "schema": integer(SCHEMA_VERSION, SCHEMA_VERSION),
        "coordinates": one_of("ijk", "lps", "ras"),
        "objects": list_of(_OBJECT, 0, 10_000),
    },
    closed=True,
)
_MARKUPS = Fields({"markups": list_of(Fields({"type": is_name}), 1, 1000)})
_FIDUCIALS = Fields(
    {"coordinateSystem": one_of("LPS", "RAS", "0", "1")},
    {"controlPoints": list_of(Fields({"position": _POSITION}), 0, 10_000)},
)


def read_prompts(
    path: str | Path, volume: Volume, bundle: Bundle, plane: Plane | None = None, *, first_slice: int = 0
) -> list[Tracklet]:
    """Reads the objects of a prompt file, or the points of a `.mrk.json` file of 3D Slicer.

    Args:
        path: A JSON file as docs/prompts.md describes it; or Slicer's markups, whose fiducials are positive points of
            one object.
        volume: The volume that will be segmented; positions in mm refer to its grid.
        bundle: Names the segments.
        plane: The plane of the slices; that of `SegmentationRun` if None.
        first_slice: The number that slice 0 of the volume has in the file, such as a clip's first frame.

    Returns:
        Objects for `segment` and `SegmentationRun.propagate`, with slices and pixels of the plane's frames.

    Raises:
        AutoMedSAMError: If the file cannot be read, or a prompt does not belong to the volume or the bundle.

    Example:
        >>> from automedsam import load_bundle
        >>> from automedsam.demo.phantom import phantom_head
        >>> volume, _ = phantom_head()
        >>> read_prompts("missing.json", volume, load_bundle("glioma"))
        Traceback (most recent call last):
        ...
        automedsam.contract.errors.AutoMedSAMError: ...missing.json...
    """
    path = Path(path)
    reader = _Reader(path, volume, bundle, plane or volume.default_plane(bundle.plane), first_slice)
    try:
        content = _parse(path)
        if "markups" in content:
            _MARKUPS("", content)
            return [reader.markups(content["markups"])]
        _FILE("", content)
        if not content["objects"]:
            fail("objects", "it is empty: mark at least one object")
        objects = enumerate(content["objects"])
        return [reader.object(f"objects[{at}]", one, content["coordinates"]) for at, one in objects]
    except FieldError as error:
        message = f"The prompts in {path} cannot be used: {error}."
        raise AutoMedSAMError(message) from error


def _parse(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            message = f"it is longer than {_MAX_BYTES // 1_000_000} MB"
            raise FieldError(message)
        content = path.read_bytes()
    except OSError as error:
        message = f"The prompts cannot be read from {path}: {error.strerror or error}."
        raise AutoMedSAMError(message) from error
    if not content.strip():
        message = "the file is empty"
        raise FieldError(message)
    return parse_object(content)


class _Reader:
    """Turns what a file has of one volume into tracklets; errors name the object."""

    def __init__(self, path: Path, volume: Volume, bundle: Bundle, plane: Plane, first_slice: int) -> None:
        self._path, self._volume, self._bundle = path, volume, bundle
        self._grid = IjkBoxConverter(volume, plane)
        self._first = first_slice

    def markups(self, markups: Sequence[Mapping[str, Any]]) -> Tracklet:
        points: dict[int, tuple[Point, ...]] = {}
        for at, one in enumerate(markups):
            if one["type"] != "Fiducial":
                continue
            _FIDUCIALS(f"markups[{at}]", one)
            system = "ras" if one["coordinateSystem"] in ("RAS", "0") else "lps"
            for control in one.get("controlPoints", []):
                if control.get("positionStatus", "defined") == "defined":
                    self._add_point(points, control["position"], system, positive=True)
        if not points:
            message = "it contains no fiducial points"
            raise FieldError(message)
        return Tracklet(self._label("markups", {}), seed=min(points), points=points)

    def object(self, where: str, fields: Mapping[str, Any], coordinates: str) -> Tracklet:
        label = self._label(where, fields)
        boxes: dict[int, Box] = {}
        for at, one in enumerate(fields.get("boxes", [])):
            frame, box = self._box(f"{where}.boxes[{at}]", one["corners"], coordinates, label)
            if frame in boxes:
                fail(where, f"it has two boxes on slice {self._shown(frame)}")
            boxes[frame] = box
        points: dict[int, tuple[Point, ...]] = {}
        for one in fields.get("points", []):
            self._add_point(points, one["position"], coordinates, positive=one.get("positive", True))
        masks: dict[int, EditedMask] = {}
        for at, one in enumerate(fields.get("masks", [])):
            for frame, mask in self._masks(f"{where}.masks[{at}]", one).items():
                if frame in masks:
                    fail(where, f"it has two masks on slice {self._shown(frame)}")
                masks[frame] = mask
        clicked = {frame for frame, found in points.items() if any(point.positive for point in found)}
        if not (boxes or masks or clicked):
            fail(where, "it has no box, no mask and no positive point")
        limits = fields.get("limits")
        frames = None if limits is None else self._grid.frame_range([index - self._first for index in limits])
        empty = frozenset(self._frame(index) for index in fields.get("empty", []))
        seed = seed_slice(boxes) if boxes else min(masks or clicked)
        found = Tracklet(label, dict(sorted(boxes.items())), seed, points, masks, empty, frames)
        self._check_consistent(where, found)
        return found

    def _check_consistent(self, where: str, found: Tracklet) -> None:
        for frame in sorted({*found.boxes, *found.points, *found.masks}):
            if frame in found.empty:
                fail(where, f"it has a prompt on slice {self._shown(frame)}, which is listed as empty")
            if found.limits is not None and not found.limits[0] <= frame <= found.limits[1]:
                fail(where, f"it has a prompt on slice {self._shown(frame)}, which is not within its limits")

    def _label(self, where: str, fields: Mapping[str, Any]) -> int:
        values = {segment.name: segment.value for segment in self._bundle.segments}
        known = ", ".join(f"{value} ({name})" for name, value in values.items())
        if "segment" in fields and "label" in fields:
            fail(where, "it has both segment and label: keep one of them")
        if "segment" in fields:
            if fields["segment"] not in values:
                fail(where, f"the model {self._bundle.name} has no segment {fields['segment']!r:.60}, only {known}")
            return values[fields["segment"]]
        if "label" in fields:
            if fields["label"] not in values.values():
                fail(where, f"the model {self._bundle.name} has no label {fields['label']}, only {known}")
            return int(fields["label"])
        if len(values) > 1:
            fail(where, f"it names no segment, and the model {self._bundle.name} has several: {known}")
        return next(iter(values.values()))

    def _voxel(self, position: Sequence[float], coordinates: str) -> NDArray[np.float64]:
        """`(i, j, k)` of the volume that is segmented."""
        point = np.array(position, np.float64)
        if coordinates != "ijk":
            lps = point * (-1, -1, 1) if coordinates == "ras" else point
            affine = self._volume.affine
            return np.asarray(np.linalg.solve(affine[:3, :3], lps - affine[:3, 3]))
        point[2 - self._grid.axis] -= self._first
        return point

    def _add_point(
        self, points: dict[int, tuple[Point, ...]], position: Sequence[float], coordinates: str, *, positive: bool
    ) -> None:
        frame, point = self._grid.point(self._voxel(position, coordinates).tolist(), positive=positive)
        points[frame] = (*points.get(frame, ()), point)

    def _box(self, where: str, corners: Sequence[Sequence[float]], coordinates: str, label: int) -> tuple[int, Box]:
        # A voxel of index n spans n - 0.5 to n + 0.5; bounds count from the edge of the first voxel.
        ends = np.sort([self._voxel(corner, coordinates) + 0.5 for corner in corners], axis=0)
        place = 2 - self._grid.axis
        first, last = (int(np.floor(end[place] + 1e-6)) for end in ends)
        if first != last:
            fail(where, f"its corners lie on the slices {first + self._first} and {last + self._first}, not on one")
        if min(np.delete(ends[1] - ends[0], place)) < 1e-3:
            fail(where, "it has no area")
        bounds = [float(edge) for pair in ends.T for edge in pair]
        return self._grid.box(first, bounds, 1.0, label)

    def _masks(self, where: str, fields: Mapping[str, Any]) -> dict[int, EditedMask]:
        path = self._path.parent / fields["path"]
        image = read_volume(path)
        if image.channels > 1 or not self._volume.same_grid(image):
            fail(where, f"the mask {path} does not lie on the grid of the volume: resample it")
        inside = image.array == fields["value"] if "value" in fields else image.array != 0
        inside = inside.reshape(self._volume.shape)
        axis = self._grid.axis
        others = tuple(other for other in range(3) if other != axis)
        wanted = [index - self._first for index in fields.get("slices", [])] or np.flatnonzero(inside.any(others))
        found = {}
        for index in wanted:
            frame, _ = self._grid.frame_range((int(index), int(index)))
            pixels = np.take(inside, int(index), axis)
            if not pixels.any():
                fail(where, f"the mask {path} has no voxels on slice {int(index) + self._first}: list it as empty")
            found[frame] = EditedMask(self._grid.frame_mask(pixels))
        if not found:
            fail(where, f"the mask {path} has no voxels" + (f" of {fields['value']}" if "value" in fields else ""))
        return found

    def _frame(self, index: int) -> int:
        return self._grid.frame_range((index - self._first, index - self._first))[0]

    def _shown(self, frame: int) -> int:
        return self._grid.slice_index(frame) + self._first
