"""An oblique volume, a segmentation on it, a model of two labels, and labels to write."""

from typing import Any

import numpy as np
import pytest

from segment_writing import OBLIQUE, SHAPE


@pytest.fixture
def volume(add_volume: Any) -> Any:
    return add_volume(np.zeros(SHAPE, np.int16), OBLIQUE, "T1 Größe 頭")


@pytest.fixture
def segmentation(scene: Any, volume: Any) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return node


@pytest.fixture
def model() -> Any:
    from AutoMedSAMLib.model.bundle_info import find_model

    return find_model("hippocampus")


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:6, 4:9, 5:11] = 1
    labels[5:9, 10:14, 5:11] = 2
    return labels
