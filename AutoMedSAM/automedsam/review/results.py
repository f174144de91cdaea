"""What the review page shows of a cohort; nothing outside its output folder is read."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.cohort.case import file_stem
from automedsam.cohort.manifest import Manifest
from automedsam.cohort.output_folder import OutputFolder
from automedsam.cohort.worker import DONE
from automedsam.core.volume import Plane, Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume
from automedsam.review.decisions import Decisions

_KEPT_VOLUMES = 6


class Results:
    """The cases of a cohort with the decisions on them; may be used from several threads.

    Args:
        path: The output folder of `automedsam cohort`.

    Raises:
        AutoMedSAMError: If it is not one.
    """

    def __init__(self, path: Path) -> None:
        self._folder = OutputFolder(path.resolve())
        self._folder.check_is_one()
        self.decisions = Decisions(self._folder)
        self._lock = threading.RLock()
        self._changed = -1
        self._manifest = Manifest(self._folder)
        self._volumes: OrderedDict[tuple[str, float], Volume] = OrderedDict()

    def summary(self) -> dict[str, Any]:
        """The title, and a line for each case, most doubtful first; failed cases come before all others."""
        manifest = self._current()
        self.decisions.refresh()
        settings = manifest.settings
        title = "" if settings is None else f"{settings.model_name} {settings.model_version}"
        cases = [self._line(record) for record in manifest.records()]
        cases.sort(key=lambda line: (line["state"] == DONE, -line["doubt"], line["name"]))
        model = "" if settings is None else settings.model
        return {"title": title, "folder": self._folder.path.name, "model": model, "cases": cases}

    def details(self, name: str) -> dict[str, Any]:
        """What the viewer needs of a case beside its voxels.

        `shape` and `spacing` (mm) are those of the axial frames: slices from inferior to superior, rows from anterior
        to posterior, columns from right to left. `confidence` lists slice, confidence and reason on `plane`.

        Raises:
            KeyError: If there is no such case.
            AutoMedSAMError: If a file of the case is missing or damaged.
        """
        record = self._current().record(name)
        line = self._line(record)
        found = line | {"figures": record.get("figures", {}), "warnings": record.get("warnings", [])}
        found |= {"notes": record.get("notes", []), "seconds": record.get("seconds")}
        if record["state"] != DONE:
            return found
        path = self._inside(self._folder.details(file_stem(name)))
        try:
            details = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            message = f"{path} cannot be read: run the same 'automedsam cohort' again."
            raise AutoMedSAMError(message) from error
        volume = self._volume(self._segmentation(record))
        spacing = volume.frame_spacing(Plane.AXIAL)
        return found | {
            "segments": details["segments"],
            "confidence": details["confidence"],
            "plane": record["figures"]["plane"],
            "shape": volume.to_frames(Plane.AXIAL).shape[1:],
            "spacing": spacing,
            "has_image": self._folder.image(file_stem(name)).is_file(),
        }

    def voxels(self, name: str, kind: str) -> bytes:
        """The voxels of a case's image or labels as bytes `(slices, rows, columns)` of the axial frames.

        Raises:
            KeyError: If there is no such case.
            AutoMedSAMError: If the file is missing or damaged.
        """
        record = self._current().record(name)
        path = self._segmentation(record) if kind == "labels" else self._folder.image(file_stem(name))
        frames = self._volume(self._inside(path)).to_frames(Plane.AXIAL)[0]
        return np.ascontiguousarray(frames, np.uint8).tobytes()

    def thumbnail(self, name: str) -> bytes:
        """The PNG of a case.

        Raises:
            KeyError: If there is no such case.
            OSError: If it has none.
        """
        self._current().record(name)
        return self._inside(self._folder.thumbnail(file_stem(name))).read_bytes()

    def decide(self, name: str, decision: str, note: str) -> dict[str, Any]:
        """Saves a decision on a case as it is now; the case's line comes back.

        Raises:
            KeyError: If there is no such case.
            AutoMedSAMError: If it is no decision, or cannot be saved.
        """
        record = self._current().record(name)
        self.decisions.save(name, decision, note, record.get("output", {}).get("sha256", ""))
        return self._line(record)

    def _line(self, record: dict[str, Any]) -> dict[str, Any]:
        figures = record.get("figures", {})
        decided = self.decisions.of(record["case"])
        output = record.get("output", {}).get("sha256", "")
        return {
            "name": record["case"],
            "state": record["state"],
            "message": record["message"],
            "doubt": figures.get("doubt", 1.0),
            "objects": figures.get("objects"),
            "volume_ml": figures.get("volume_ml", {}),
            "dice": figures.get("dice", {}),
            "warned": bool(record.get("warnings")),
            "decision": decided.get("decision", ""),
            "note": decided.get("note", ""),
            # The decision was on another segmentation than the one that is there now.
            "outdated": bool(decided.get("decision")) and decided.get("segmentation") != output,
        }

    def _current(self) -> Manifest:
        """The manifest as it is now: the cohort may still be running."""
        with self._lock:
            size = self._folder.manifest.stat().st_size
            if size != self._changed:
                self._manifest, self._changed = Manifest(self._folder), size
            return self._manifest

    def _segmentation(self, record: dict[str, Any]) -> Path:
        path = self._inside(self._folder.path / record["output"]["path"])
        if not path.is_file():
            message = f"{path.name} was removed: run the same 'automedsam cohort' again."
            raise AutoMedSAMError(message)
        return path

    def _volume(self, path: Path) -> Volume:
        with self._lock:
            key = (str(path), path.stat().st_mtime if path.exists() else 0.0)
            if key not in self._volumes:
                read = read_volume(path, check_voxels=False)
                self._volumes[key] = replace(read, array=read.array.astype(np.uint8, copy=False))
            self._volumes.move_to_end(key)
            while len(self._volumes) > _KEPT_VOLUMES:
                self._volumes.popitem(last=False)
            return self._volumes[key]

    def _inside(self, path: Path) -> Path:
        """A path, if neither it nor a link in it leads out of the folder."""
        resolved = path.resolve()
        if not resolved.is_relative_to(self._folder.path):
            message = f"{path.name} leads out of the output folder, and is not read."
            raise AutoMedSAMError(message)
        return resolved
