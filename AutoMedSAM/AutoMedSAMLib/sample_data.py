"""Sample data: a phantom that is generated on the spot, without a network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from AutoMedSAMLib.engine.client import EngineClient
from AutoMedSAMLib.engine.shared_files import SharedFiles
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.run import Message

_CATEGORY = "AutoMedSAM"
_ICONS = Path(__file__).resolve().parents[1] / "Resources" / "Icons"
_PATIENCE_SECONDS = 60


def register() -> None:
    """Adds the sample data to Slicer's Sample Data module. Called once Slicer has started."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=_CATEGORY,
        sampleName="AutoMedSAM phantom (generated)",
        thumbnailFileName=str(_ICONS / "AutoMedSAM.png"),
        # Nothing is downloaded, but Slicer counts these lists: without them it raises a TypeError.
        uris=[],
        fileNames=[],
        customDownloader=_show_phantom,
    )


def make_phantom(name: str = "Phantom FLAIR") -> slicer.vtkMRMLScalarVolumeNode:
    """Has the engine make up a head with three lesions, which is nobody's image, and adds it to the scene.

    Waits for it, a few seconds; the window stays live meanwhile.

    Raises:
        AutoMedSAMError: If the engine cannot.
    """
    engine, exchange = EngineClient(), SharedFiles()
    answers: list[Message] = []
    try:
        path = exchange.new_path("phantom")
        engine.send(
            {"op": "phantom", "path": str(path)}, answers.append, lambda details: answers.append({"died": details})
        )
        until = time.monotonic() + _PATIENCE_SECONDS
        while not answers and time.monotonic() < until:
            slicer.app.processEvents()
            time.sleep(0.005)
        if not answers or answers[0].get("event") != "phantom":
            message = "The engine could not generate the phantom; see the details, or load an image of your own."
            raise AutoMedSAMError(message, str(answers))
        return _add_volume(np.load(path, allow_pickle=False), answers[0]["volume"], name)
    finally:
        engine.kill(wait_ms=1000)
        exchange.close()


def _show_phantom(_source: Any = None) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """What a click on the tile does; there is a person to read what went wrong."""
    try:
        volume = make_phantom()
    except AutoMedSAMError as error:
        slicer.util.errorDisplay(str(error), detailedText=error.details or None)
        return []
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    return [volume]


def _add_volume(array: np.ndarray, grid: Message, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Voxels `(K, J, I)` and a grid in LPS as a new volume node."""
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(volume, array)
    direction = np.diag([-1.0, -1.0, 1.0]) @ np.reshape(grid["direction"], (3, 3))
    volume.SetIJKToRASDirections(*direction.ravel().tolist())
    volume.SetSpacing(*grid["spacing"])
    x, y, z = grid["origin"]
    volume.SetOrigin(-x, -y, z)
    volume.CreateDefaultDisplayNodes()
    return volume
