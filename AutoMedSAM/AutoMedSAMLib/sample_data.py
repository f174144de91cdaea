"""Sample data: a phantom from the release page, and one that is made on the spot without a network."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import slicer

from AutoMedSAMLib.engine import Engine
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.exchange import Exchange
from AutoMedSAMLib.run import Message

# Where the releases are, as owner/name on GitHub.
REPOSITORY = "REPOSITORY"
# What `automedsam demo` writes as phantom.nii.gz.
ASSET = "automedsam-phantom-flair.nii.gz"
ASSET_SHA256 = "8386c2c555380c74dff15f7c6d7d3bad1b5c557e738384dcd66305e77db32ce6"

_CATEGORY = "AutoMedSAM"
_ICONS = Path(__file__).resolve().parents[1] / "Resources" / "Icons"
_PATIENCE_SECONDS = 60


def register() -> None:
    """Adds the sample data to Slicer's Sample Data module. Called once Slicer has started."""
    import SampleData

    add = SampleData.SampleDataLogic.registerCustomSampleDataSource
    thumbnail = str(_ICONS / "AutoMedSAM.png")
    add(
        category=_CATEGORY,
        sampleName="AutoMedSAM phantom FLAIR",
        thumbnailFileName=thumbnail,
        uris=f"https://github.com/{REPOSITORY}/releases/download/v0.1.0/{ASSET}",
        fileNames=ASSET,
        nodeNames="Phantom FLAIR",
        checksums=f"SHA256:{ASSET_SHA256}",
    )
    add(
        category=_CATEGORY,
        sampleName="AutoMedSAM phantom (generated)",
        thumbnailFileName=thumbnail,
        customDownloader=lambda _source: [_show(make_phantom())],
    )


def make_phantom(name: str = "Phantom FLAIR") -> slicer.vtkMRMLScalarVolumeNode:
    """Has the engine make up a head with three lesions, which is nobody's image, and adds it to the scene.

    Waits for it, a few seconds; the window stays live meanwhile.

    Raises:
        AutoMedSAMError: If the engine cannot.
    """
    engine, exchange = Engine(), Exchange()
    answers: list[Message] = []
    try:
        path = exchange.new_path("phantom")
        engine.ask(
            {"op": "phantom", "path": str(path)}, answers.append, lambda details: answers.append({"died": details})
        )
        until = time.monotonic() + _PATIENCE_SECONDS
        while not answers and time.monotonic() < until:
            slicer.app.processEvents()
            time.sleep(0.005)
        if not answers or answers[0].get("event") != "phantom":
            message = "The engine could not make the phantom; see the details, or use the one to download."
            raise AutoMedSAMError(message, str(answers))
        return _add_volume(np.load(path, allow_pickle=False), answers[0]["volume"], name)
    finally:
        engine.kill(wait_ms=1000)
        exchange.close()


def _show(volume: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLScalarVolumeNode:
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    return volume


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
