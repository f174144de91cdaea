"""One run after the other on the images of the scene, with one model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from AutoMedSAMLib.engine.input_check import names_of
from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.model.run import Outcome, RunInfo
from AutoMedSAMLib.model.volume_roles import match
from AutoMedSAMLib.qt_timers import SingleShot
from AutoMedSAMLib.scene.object_tables import volumes_table
from AutoMedSAMLib.scene.segment_ownership import managed_segments


class SceneRuns:
    """Runs the model on each image that has no result of it yet; at the end a table of volumes is in the scene.

    Args:
        begin: starts a run on an image; gives a sentence if it cannot.
        show_status: shows a sentence in the status line.
    """

    def __init__(self, begin: Callable[[Any], str], show_status: Callable[[str], None]) -> None:
        self._begin, self._show_status = begin, show_status
        self._model: Model | None = None
        self._left: list[Any] = []
        self._rows: list[dict[str, Any]] = []
        self._now: Any = None
        self._next_soon = SingleShot(0, self._next)

    @property
    def is_active(self) -> bool:
        """Whether there are images left, or one is being segmented."""
        return self._now is not None or bool(self._left)

    def start(self, model: Model) -> None:
        """Starts with the first image; does nothing but explain if there is none."""
        if len(model.modalities) != 1:
            text = _("The model {model} takes several images of a patient: use Run on with a folder.")
            self._show_status(text.format(model=model.name))
            return
        self._model, self._rows = model, []
        self._left = images_without_result(model)
        if not self._left:
            text = _("Every {modality} image of the scene has a result of {model}.")
            self._show_status(text.format(modality=model.modalities[0], model=model.name))
            return
        self._next()

    def finished(self, run: RunInfo | None, outcome: Outcome) -> None:
        """A run has ended; the next begins soon, unless the user cancelled this one."""
        if self._now is None:
            return
        name, self._now = self._now.GetName(), None
        self._rows.append(_row(name, run, outcome))
        if outcome.status == "cancelled":
            self._left = []
        self._next_soon.start()

    def stop(self) -> None:
        """Forgets what is left."""
        self._next_soon.stop()
        self._left, self._now = [], None

    def _next(self) -> None:
        while self._left:
            volume = self._left.pop(0)
            if not slicer.mrmlScene.IsNodePresent(volume):
                continue
            self._now = volume
            problem = self._begin(volume)
            if not problem:
                return
            self._now = None
            self._rows.append({"image": volume.GetName(), "state": problem})
        self._finish()

    def _finish(self) -> None:
        model, rows = self._model, self._rows
        if model is None or not rows:
            return
        self._rows = []
        node = volumes_table(rows, [one["name"] for one in model.segments], f"{model.name} volumes")
        done = sum(one["state"] == "finished" for one in rows)
        text = _("{done} of {count} images segmented; their volumes are in the table {table}.")
        self._show_status(text.format(done=done, count=len(rows), table=node.GetName()))


def images_without_result(model: Model) -> list[Any]:
    """The images of the scene that are named like the model's modality, or all if none is, without those done."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    images = [node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
    named = [node for node in images if match(model.roles, [None], [names_of(node)])[0] is not None]
    results = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [
        node for node in named or images if not any(managed_segments(result, model.name, node) for result in results)
    ]


def _row(name: str, run: RunInfo | None, outcome: Outcome) -> dict[str, Any]:
    row = {"image": name, "state": "finished" if outcome.status == "finished" else outcome.message}
    if run is not None:
        row["warnings"] = " ".join(one["sentence"] for one in run.warnings)
    if outcome.report:
        row |= {"objects": outcome.report["objects"], **outcome.report["volume_ml"]}
    return row
