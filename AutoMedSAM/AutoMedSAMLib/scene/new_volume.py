"""A new volume node from voxels that the engine wrote."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from AutoMedSAMLib.model.run import Message


def new_volume(array: NDArray[Any], grid: Message, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Adds a volume to the scene.

    Args:
        array: voxels `(K, J, I)`.
        grid: "spacing" (I, J, K) in mm, and "origin" and row-major "direction" in LPS.
        name: the node's name.
    """
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(volume, array)
    direction = np.diag([-1.0, -1.0, 1.0]) @ np.reshape(grid["direction"], (3, 3))
    volume.SetIJKToRASDirections(*direction.ravel().tolist())
    volume.SetSpacing(*grid["spacing"])
    x, y, z = grid["origin"]
    volume.SetOrigin(-x, -y, z)
    volume.CreateDefaultDisplayNodes()
    return volume
