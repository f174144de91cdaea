"""Checks of a request before it is run."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.bundle_info import PANEL_BACKENDS
from AutoMedSAMLib.model.run import RunRequest
from AutoMedSAMLib.scene.geometry import check_transform, ijk_to_ras, ijk_to_segmentation, shape_of, to_world
from AutoMedSAMLib.scene.segment_writer import check_segmentation

_GEOMETRY_TOLERANCE = 0.1


def check_request(request: RunRequest) -> None:
    """Checks a request before it is run.

    Raises:
        AutoMedSAMError: If it cannot be run, with what to do about it.
    """
    if request.backend not in PANEL_BACKENDS:
        message = _("There is no backend {backend}: choose INT8 or FP32.")
        raise AutoMedSAMError(message.format(backend=request.backend))
    if request.backend not in request.model.precisions:
        message = _("The model {model} has no {backend} files here; choose the other backend.")
        raise AutoMedSAMError(message.format(model=request.model.name, backend=request.backend.upper()))
    if request.threshold is not None and not 0 < request.threshold <= 1:
        message = _("The threshold (min score) {score} is out of range: give a number above 0 and at most 1.")
        raise AutoMedSAMError(message.format(score=request.threshold))
    check_volumes(request.volumes, request.model.modalities)
    if request.segmentation is not None:
        check_segmentation(request.segmentation)
        ijk_to_segmentation(request.volumes[0], request.segmentation)


def check_volumes(volumes: Sequence[slicer.vtkMRMLScalarVolumeNode | None], modalities: Sequence[str]) -> None:
    """Checks before a run whether the volumes are what a model needs.

    Raises:
        AutoMedSAMError: If one is missing, empty, in color or under a non-linear transform, if they do not have one
            grid, or if one volume stands for two modalities.
    """
    for index, modality in enumerate(modalities):
        volume = volumes[index] if index < len(volumes) else None
        if volume is None:
            raise AutoMedSAMError(_("Choose the {modality} volume first.").format(modality=modality))
        image = volume.GetImageData()
        if image is None or image.GetNumberOfPoints() == 0:
            message = _("{volume} has no voxels; choose another {modality} volume.")
            raise AutoMedSAMError(message.format(volume=volume.GetName(), modality=modality))
        if image.GetNumberOfScalarComponents() != 1:
            message = _("{volume} is a color volume; convert it with Vector to Scalar Volume first.")
            raise AutoMedSAMError(message.format(volume=volume.GetName()))
        # Boxes and slices are straight along the voxels; a non-linear transform, as for a gantry tilt, bends both.
        check_transform(volume)
    if len(volumes) > len(modalities):
        one, several = (
            _("The model takes 1 volume ({names}), not {given}."),
            _("The model takes {count} volumes ({names}), not {given}."),
        )
        message = one if len(modalities) == 1 else several
        raise AutoMedSAMError(message.format(count=len(modalities), names=", ".join(modalities), given=len(volumes)))
    nodes: list[Any] = list(volumes)
    for index, other in enumerate(nodes[1:], start=1):
        if other in nodes[:index]:
            message = _("{volume} is chosen as {one} and as {other}: choose a volume for each.")
            earlier = modalities[nodes.index(other)]
            raise AutoMedSAMError(message.format(volume=other.GetName(), one=earlier, other=modalities[index]))
        if not _same_grid(nodes[0], other):
            message = _(
                "{volume} does not have the same voxel grid as {reference}; resample it first, with Resample "
                "Scalar/Vector/DWI Volume."
            )
            raise AutoMedSAMError(message.format(volume=other.GetName(), reference=nodes[0].GetName()))


def _same_grid(one: slicer.vtkMRMLScalarVolumeNode, other: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether two volumes have their voxels at the same points in the world, to a tenth of the finest spacing."""
    if shape_of(one) != shape_of(other):
        return False
    first, second = ijk_to_ras(one), ijk_to_ras(other)
    if one.GetParentTransformNode() != other.GetParentTransformNode():
        first, second = to_world(one) @ first, to_world(other) @ second
    corners = np.array([(*corner, 1) for corner in product(*((0, n) for n in reversed(shape_of(one))))]).T
    apart = np.linalg.norm((first - second) @ corners, axis=0).max()
    return bool(apart <= _GEOMETRY_TOLERANCE * min(one.GetSpacing()))
