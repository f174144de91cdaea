"""The worker's messages: requests as they are asked for, and the parts of events that several share.

Slices are voxel indices along the slice axis and boxes are voxel bounds, both of the volume as given; see
`core.ijk_boxes`. Requests of another shape are a fault of the program that sent them, not of its user.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.core.boxes import Box, Tracklet
from automedsam.core.ijk_boxes import IjkBoxConverter
from automedsam.core.volume import Plane, Volume, Voxels
from automedsam.detection.linking import seed_slice
from automedsam.errors import AutoMedSAMError
from automedsam.pipeline.backends import Backend
from automedsam.sam2.propagation import CropBox


class ProtocolError(ValueError):
    """A request that the protocol does not know."""


@dataclass(frozen=True)
class RunRequest:
    """What `segment` and `propagate` share.

    Attributes:
        volume: the "volume" object as it came.
        labels: where the labels go.
        model: a built-in bundle's name, or a bundle's folder.
        backend: what computes.
        device: "auto", "cpu", "cuda" or "mps".
        threshold: the confidence; the bundle's own if None.
        plane: the plane of the slices; the volume's own if None.
        slices: first and last voxel index along the slice axis; all if None.
        names: of each channel "name" and DICOM tags by keyword, for the input check; empty if not given.
    """

    volume: dict[str, Any]
    labels: Path
    model: str
    backend: Backend
    device: str
    threshold: float | None
    plane: Plane | None
    slices: tuple[int, int] | None
    names: tuple[dict[str, str], ...] = ()

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> RunRequest:
        """Takes a request apart.

        Raises:
            ProtocolError: if a field is missing or of another kind.
        """
        try:
            slices = request.get("slices")
            threshold = request.get("threshold")
            return cls(
                dict(request["volume"]),
                Path(request["labels"]),
                str(request["model"]),
                Backend(request.get("backend", Backend.INT8.value)),
                str(request.get("device", "auto")),
                None if threshold is None else float(threshold),
                read_plane(request),
                None if slices is None else (int(slices[0]), int(slices[1])),
                read_names(request),
            )
        except (KeyError, ValueError, TypeError, IndexError) as error:
            message = f"A field is missing or wrong in a {request.get('op')} request: {error!r}"
            raise ProtocolError(message) from error


def read_plane(request: Mapping[str, Any]) -> Plane | None:
    """The plane that a request names, if it names one."""
    plane = request.get("plane")
    return None if plane is None else Plane(plane)


def read_names(request: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    """The "names" of the channels: for each "name" and DICOM tags by keyword.

    Raises:
        ValueError: if they are not objects of texts.
        TypeError: likewise.
    """
    names = request.get("names", [])
    return tuple({str(key): str(text) for key, text in dict(one).items()} for one in names)


def with_names(volume: Volume, request: Mapping[str, Any]) -> Volume:
    """The volume with the "names" of a request.

    Raises:
        ProtocolError: if they are not objects of texts.
    """
    try:
        return replace(volume, described=read_names(request))
    except (TypeError, ValueError) as error:
        message = f"The names are not a list of objects: {error!r}"
        raise ProtocolError(message) from error


def read_crops(request: Mapping[str, Any]) -> dict[str, CropBox]:
    """The "crops" that an earlier "finished" or "cancelled" event told, given back as they came; see `ObjectTracker`.

    Raises:
        ProtocolError: if they are not what was told.
    """
    try:
        return {str(key): CropBox(*(int(edge) for edge in region)) for key, region in request.get("crops", {}).items()}
    except (AttributeError, TypeError, ValueError) as error:
        message = f"The crops are not what was told: {error!r}"
        raise ProtocolError(message) from error


def volume_fingerprint(fields: Mapping[str, Any]) -> tuple[object, ...]:
    """What tells whether a message means the same voxels on the same grid as another did.

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
        ProtocolError: if a field is missing.
    """
    try:
        path, name = str(fields["path"]), str(fields.get("name", ""))
    except KeyError as error:
        message = "A volume needs a path."
        raise ProtocolError(message) from error
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        message = f"The voxels of {name or 'the volume'} cannot be read from {path}: run it again."
        raise AutoMedSAMError(message) from error
    return _on_grid(array, fields, name)


def read_grid(fields: Mapping[str, Any]) -> Volume:
    """A volume whose voxels nobody looks at: of the "shape" `(K, J, I)` given, or else of its file's.

    Raises:
        AutoMedSAMError: if there is no shape and the file cannot be read, or the grid is impossible.
        ProtocolError: if a field is missing.
    """
    if "shape" not in fields:
        return read_volume(fields)
    # One voxel stands for all: no memory is taken.
    return _on_grid(np.broadcast_to(np.uint8(0), [int(count) for count in fields["shape"]]), fields, "")


def _on_grid(array: Voxels, fields: Mapping[str, Any], name: str) -> Volume:
    try:
        spacing, origin, direction = (tuple(map(float, fields[key])) for key in ("spacing", "origin", "direction"))
        (sx, sy, sz), (ox, oy, oz) = spacing, origin
    except (KeyError, TypeError, ValueError) as error:
        message = f"A volume's grid is missing or wrong: {error!r}"
        raise ProtocolError(message) from error
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
            }
            for tracklet in tracklets
        ]

    def read_boxes(self, messages: Sequence[Mapping[str, Any]]) -> dict[int, tuple[int, Box]]:
        """The frame and the box of each message, by number; boxes drawn by a person have the score 1.

        Raises:
            AutoMedSAMError: if a box lies outside the volume.
            ProtocolError: if a message is not a box.
        """
        found = {}
        for message in messages:
            try:
                number, index, label = int(message["id"]), int(message["slice"]), int(message.get("label", 1))
                score = 1.0 if message.get("drawn") else float(message["score"])
                bounds = [float(edge) for edge in message["bounds"]]
            except (KeyError, TypeError, ValueError) as error:
                text = f"This is not a box: {message!r}"
                raise ProtocolError(text) from error
            if len(bounds) != 6:
                text = f"A box has six bounds, and box {number} has {len(bounds)}."
                raise ProtocolError(text)
            frame, box = self.grid.box(index, bounds, score, label)
            self._register(box, number)
            found[number] = frame, box
        return found

    def read_tracklets(
        self, messages: Sequence[Mapping[str, Any]], boxes: Mapping[int, tuple[int, Box]]
    ) -> list[Tracklet]:
        """Tracklets of numbered boxes.

        Raises:
            AutoMedSAMError: if an object has two boxes on one slice.
            ProtocolError: if a tracklet has no box, or one that is not there.
        """
        found = []
        for message in messages:
            try:
                members = sorted((boxes[number] for number in message["boxes"]), key=lambda member: member[0])
                seed = message.get("seed")
                label = int(message["label"])
            except (KeyError, TypeError, ValueError) as error:
                text = f"This is not a tracklet of known boxes: {message!r}"
                raise ProtocolError(text) from error
            if not members:
                text = "A tracklet needs a box."
                raise ProtocolError(text)
            chain = dict(members)
            if len(chain) < len(members):
                text = "An object has two boxes on one slice: reject one of them."
                raise AutoMedSAMError(text)
            frame = self.grid.slice_index(int(seed)) if seed is not None else None
            found.append(Tracklet(label, chain, frame if frame in chain else seed_slice(chain)))
        return found

    def _register(self, box: Box, number: int) -> int:
        # Boxes are told apart by identity: two slices may hold equal ones. The list keeps them alive.
        self._boxes.append(box)
        self._numbers[id(box)] = number
        return number
