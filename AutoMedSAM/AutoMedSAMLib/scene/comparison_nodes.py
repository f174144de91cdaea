"""The nodes that a comparison of INT8 with FP32 leaves: a table, and a segmentation of where the two differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from AutoMedSAMLib.model.comparison import COLUMNS, cells
from AutoMedSAMLib.scene.geometry import ijk_to_segmentation, shape_of
from AutoMedSAMLib.scene.output_segmentation import new_segmentation, put_beside
from AutoMedSAMLib.scene.shared_labelmap import BINARY_LABELMAP, SharedLabelmap


def add_table(volume: slicer.vtkMRMLScalarVolumeNode, model: str, rows: Sequence[dict[str, Any]]) -> Any:
    """Adds a table node beside the volume, a row for each measure; numbers are text, so that cells can be empty."""
    scene = slicer.mrmlScene
    name = _("{volume} {model} INT8 and FP32").format(volume=volume.GetName(), model=model)
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
    table = [cells(row) for row in rows]
    for place, title in enumerate(COLUMNS):
        column = vtk.vtkStringArray()
        column.SetName(title)
        for line in table:
            column.InsertNextValue(line[place])
        node.AddColumn(column)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    put_beside(volume, node)
    return node


def add_difference(
    volume: slicer.vtkMRMLScalarVolumeNode, model: str, labels: Path, segments: Sequence[dict[str, Any]]
) -> slicer.vtkMRMLSegmentationNode:
    """Adds a segmentation of where the two differ.

    Args:
        volume: the volume that was segmented.
        model: the model's name.
        labels: the engine's `.npy` file `(K, J, I)` of label values.
        segments: `value`, `name` and `color` of each.
    """
    scene = slicer.mrmlScene
    name = _("{volume} {model} difference").format(volume=volume.GetName(), model=model)
    node = new_segmentation(volume, name)
    try:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        put_beside(volume, node)
        shared = SharedLabelmap(shape_of(volume), ijk_to_segmentation(volume, node))
        shared.array[:] = np.load(labels, allow_pickle=False)
        for entry in segments:
            segment = slicer.vtkSegment()
            segment.SetName(entry["name"])
            segment.SetColor(*entry["color"])
            segment.SetLabelValue(entry["value"])
            segment.AddRepresentation(BINARY_LABELMAP, shared.image)
            node.GetSegmentation().AddSegment(segment, f"AutoMedSAM_difference_{entry['value']}")
    except Exception:
        scene.RemoveNode(node)
        raise
    return node
