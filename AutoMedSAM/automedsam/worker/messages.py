"""The worker's messages: requests as they are asked for, and the parts of events that several share.

Slices are voxel indices along the slice axis and boxes are voxel bounds, both of the volume as given; see
`core.ijk_boxes`. The fields of a request have been checked by `contract.request_fields` when they come here; a
FieldError is a fault of the program that sent it, not of its user.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.contract.backends import Backend
from automedsam.contract.checks import fail, shown
from automedsam.core.boxes import Box, Tracklet
from automedsam.core.ijk_boxes import IjkBoxConverter
from automedsam.core.prompts import EditedMask, Point
from automedsam.core.volume import Plane, Volume, Voxels
from automedsam.detection.linking import seed_slice
from automedsam.errors import AutoMedSAMError
from automedsam.sam2.propagation import CropBox
from automedsam.worker.label_file import UNREADABLE, read_mask_file

_NUMBERS = "biuf"
_PROMPT_FIELDS = ("points", "masks", "empty", "limits")


@dataclass(frozen=True)
class RunRequest:
    """What `segment`, `propagate` and `preview` share.

    Attributes:
        volume: the "volume" object as it came.
        model: a built-in bundle's name, or a bundle's folder.
        backend: what computes.
        device: "auto", "cpu", "cuda" or "mps".
        threshold: the confidence; the bundle's own if None.
        plane: the plane of the slices; the volume's own if None.
        slices: first and last voxel index along the slice axis; all if None.
        names: of each channel "name" and DICOM tags by keyword, for the input check; empty if not given.
    """

    volume: dict[str, Any]
    model: str
    backend: Backend
    device: str
    threshold: float | None
    plane: Plane | None
    slices: tuple[int, int] | None
    names: tuple[dict[str, str], ...] = ()

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> RunRequest:
        """Takes a request apart that `check_request` has checked."""
        slices = request.get("slices")
        threshold = request.get("threshold")
        return cls(
            dict(request["volume"]),
            request["model"],
            Backend(request.get("backend", Backend.INT8.value)),
            request.get("device", "auto"),
            None if threshold is None else float(threshold),
            read_plane(request),
            None if slices is None else (slices[0], slices[1]),
            read_names(request),
        )


def read_plane(request: Mapping[str, Any]) -> Plane | None:
    """The plane that a request names, if it names one."""
    plane = request.get("plane")
    return None if plane is None else Plane(plane)


def read_names(request: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    """The "names" of the channels: for each "name" and DICOM tags by keyword."""
    return tuple(dict(one) for one in request.get("names", []))


def with_names(volume: Volume, request: Mapping[str, Any]) -> Volume:
    """The volume with the "names" of a request."""
    return replace(volume, described=read_names(request))


def read_crops(request: Mapping[str, Any], size: tuple[int, int]) -> dict[str, CropBox]:
    """The "crops" of an earlier "finished" or "cancelled" event, sent back unchanged; see `ObjectTracker`.

    Args:
        request: the request.
        size: height and width of a slice in pixels.

    Raises:
        FieldError: if one is not a part of a slice.
    """
    crops = {key: CropBox(*region) for key, region in request.get("crops", {}).items()}
    for key, crop in crops.items():
        if not (0 <= crop.top < crop.bottom <= size[0] and 0 <= crop.left < crop.right <= size[1]):
            fail("crops", f"{shown(key)} is not a part of a slice of {size[0]} x {size[1]} pixels: {tuple(crop)}")
    return crops


def volume_fingerprint(fields: Mapping[str, Any]) -> tuple[object, ...]:
    """A key that is equal for two messages if they mean the same voxels on the same grid.

    Raises:
        AutoMedSAMError: if the file is gone.
    """
    path = str(fields.get("path"))
    try:
        found = os.stat(path)
    except OSError as error:
        message = f"The voxels of {fields.get('name') or 'the volume'} are no longer at {path}: run it again."
        raise AutoMedSAMError(message) from error
    grid = (tuple(fields.get(key, ())) for key in ("spacing", "origin", "direction"))
    return path, found.st_size, found.st_mtime_ns, *grid


def read_volume(fields: Mapping[str, Any]) -> Volume:
    """Maps a volume's voxels from its `.npy` file.

    Args:
        fields: "path", "spacing", "origin" and "direction" in mm, LPS, and perhaps "name".

    Raises:
        AutoMedSAMError: if the file cannot be read, or the grid is impossible.
        FieldError: if a field is missing.
    """
    if "path" not in fields:
        fail("volume", "path is missing")
    path, name = fields["path"], fields.get("name", "")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except UNREADABLE as error:
        message = f"The voxels of {name or 'the volume'} cannot be read from {path}: run it again."
        raise AutoMedSAMError(message) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in _NUMBERS:
        message = f"The file {path} holds no array of numbers: run it again."
        raise AutoMedSAMError(message)
    return _on_grid(array, fields, name)


def read_grid(fields: Mapping[str, Any]) -> Volume:
    """A volume whose voxels nobody looks at: of the "shape" `(K, J, I)` given, or else of its file's.

    Raises:
        AutoMedSAMError: if there is no shape and the file cannot be read, or the grid is impossible.
        FieldError: if a field is missing.
    """
    if "shape" not in fields:
        return read_volume(fields)
    # One voxel stands for all: no memory is taken.
    return _on_grid(np.broadcast_to(np.uint8(0), fields["shape"]), fields, "")


def _on_grid(array: Voxels, fields: Mapping[str, Any], name: str) -> Volume:
    spacing, origin, direction = (tuple(map(float, fields[key])) for key in ("spacing", "origin", "direction"))
    (sx, sy, sz), (ox, oy, oz) = spacing, origin
    return Volume(array, (sx, sy, sz), (ox, oy, oz), direction, name)


class MessageCodec:
    """Boxes and tracklets of one volume and plane as messages have them, each box under its number.

    Args:
        volume: the volume.
        plane: the plane of the frames.
    """

    def __init__(self, volume: Volume, plane: Plane) -> None:
        self.grid = IjkBoxConverter(volume, plane)
        self._numbers: dict[int, int] = {}
        self._boxes: list[Box] = []
        self._prompts: dict[int, tuple[Tracklet, dict[str, Any]]] = {}

    def boxes(self, frame: int, boxes: Sequence[Box]) -> list[dict[str, Any]]:
        """Messages of the boxes of a frame, which get the next numbers from 1 on."""
        return [
            {
                "id": self._register(box, len(self._boxes) + 1),
                "slice": self.grid.slice_index(frame),
                "bounds": self.grid.to_ijk_bounds(frame, box),
                "score": box.score,
                "label": box.label,
                "drawn": box.drawn,
            }
            for box in boxes
        ]

    def tracklets(self, tracklets: Sequence[Tracklet]) -> list[dict[str, Any]]:
        """Messages of tracklets of boxes that are known here."""
        return [
            {
                "label": tracklet.label,
                "seed": self.grid.slice_index(tracklet.seed),
                "score": tracklet.score,
                "boxes": [self._numbers[id(box)] for box in tracklet.boxes.values()],
                "gaps": sorted(self.grid.slice_index(index) for index in tracklet.gaps),
                # What a user marked comes back as it came.
                **(self._prompts[id(tracklet)][1] if id(tracklet) in self._prompts else {}),
            }
            for tracklet in tracklets
        ]

    def read_boxes(self, messages: Sequence[Mapping[str, Any]]) -> dict[int, tuple[int, Box]]:
        """The frame and the box of each message, by number; boxes drawn by a person have the score 1.

        Raises:
            AutoMedSAMError: if a box lies outside the volume.
        """
        found = {}
        for message in messages:
            number = message["id"]
            score = 1.0 if message.get("drawn") else float(message["score"])
            bounds = [float(edge) for edge in message["bounds"]]
            index, label = message["slice"], message.get("label", 1)
            frame, box = self.grid.box(index, bounds, score, label)
            self._register(box, number)
            found[number] = frame, box
        return found

    def read_tracklets(
        self, messages: Sequence[Mapping[str, Any]], boxes: Mapping[int, tuple[int, Box]]
    ) -> list[Tracklet]:
        """Tracklets of numbered boxes.

        Raises:
            AutoMedSAMError: if an object has two boxes or two masks on one slice, or a prompt that is not in the
                volume, or a mask that cannot be read.
            FieldError: if a tracklet has a box that is not there.
        """
        found = []
        for message in messages:
            unknown = [number for number in message["boxes"] if number not in boxes]
            if unknown:
                fail("tracklets", f"there is no box {unknown[0]}")
            members = sorted((boxes[number] for number in message["boxes"]), key=lambda member: member[0])
            label, seed = message["label"], message.get("seed")
            chain = dict(members)
            if len(chain) < len(members):
                text = "An object has two boxes on one slice: reject one of them."
                raise AutoMedSAMError(text)
            frame = self.grid.slice_index(seed) if seed is not None else None
            points, masks = self._read_points(message), self._read_masks(message)
            if frame is None or frame not in {**chain, **points, **masks}:
                frame = seed_slice(chain) if chain else min(masks or points)
            limits = message.get("limits")
            tracklet = Tracklet(
                label,
                chain,
                frame,
                points,
                masks,
                frozenset(self._frame(index) for index in message.get("empty", [])),
                None if limits is None else self.grid.frame_range(limits),
            )
            self._prompts[id(tracklet)] = tracklet, {key: message[key] for key in _PROMPT_FIELDS if message.get(key)}
            found.append(tracklet)
        return found

    def _read_points(self, message: Mapping[str, Any]) -> dict[int, tuple[Point, ...]]:
        found: dict[int, tuple[Point, ...]] = {}
        for one in message.get("points", []):
            frame, point = self.grid.point(one["position"], positive=one["positive"])
            found[frame] = (*found.get(frame, ()), point)
        return found

    def _read_masks(self, message: Mapping[str, Any]) -> dict[int, EditedMask]:
        found = {}
        for one in message.get("masks", []):
            frame = self._frame(one["slice"])
            if frame in found:
                text = f"An object has two masks on slice {one['slice']}: keep one of them."
                raise AutoMedSAMError(text)
            found[frame] = EditedMask(self.grid.frame_mask(read_mask_file(Path(one["path"]))))
        return found

    def _frame(self, index: int) -> int:
        return self.grid.frame_range((index, index))[0]

    def _register(self, box: Box, number: int) -> int:
        # Boxes are distinguished by identity: two slices may hold equal ones. The list keeps them alive.
        self._boxes.append(box)
        self._numbers[id(box)] = number
        return number
