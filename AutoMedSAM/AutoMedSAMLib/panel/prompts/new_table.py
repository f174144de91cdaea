"""A box table for prompts where no run has made one."""

from __future__ import annotations

from AutoMedSAMLib.model.box_record import ObjectGroup
from AutoMedSAMLib.model.box_table import BoxTable
from AutoMedSAMLib.model.run import RunRequest
from AutoMedSAMLib.scene.geometry import ijk_to_ras, shape_of
from AutoMedSAMLib.scene.planes import PLANES, default_plane, slice_axis


def new_table(request: RunRequest, axis: int | None) -> BoxTable:
    """An empty table for prompts alone.

    Args:
        request: the volume, the model and the settings of the runs to come.
        axis: the slice axis in `(K, J, I)`, where the request leaves the plane open; that of the volume's acquisition
            if None.
    """
    volume = request.volumes[0]
    shape, matrix = shape_of(volume), ijk_to_ras(volume)
    plane = request.plane
    if plane is None and axis is not None:
        plane = next(name for name in PLANES if slice_axis(name, matrix) == axis)
    plane = plane or default_plane(shape, matrix, request.model.plane)
    along = slice_axis(plane, matrix)
    slices = request.slices or (0, shape[along] - 1)
    threshold = request.model.threshold if request.threshold is None else request.threshold
    table = BoxTable(along, plane, slices, request.model.hash, threshold)
    table.is_linked = table.is_new = True
    return table


def is_prompted(group: ObjectGroup, at: int) -> bool:
    """Whether an object has a prompt on a slice, and may be there."""
    if group.prompts is not None and not group.prompts.allows(at):
        return False
    return at in group.prompted or any(box.slice == at and box.id in group.accepted for box in group.boxes)
