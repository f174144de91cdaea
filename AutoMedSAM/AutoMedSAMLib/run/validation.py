"""What can be known to be wrong with a request before it is run."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import slicer

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.bundle_info import PANEL_BACKENDS
from AutoMedSAMLib.model.run import RunRequest
from AutoMedSAMLib.scene.geometry import check_transform, ijk_to_ras, ijk_to_segmentation, shape_of, to_world
from AutoMedSAMLib.scene.segment_writer import check_segmentation

_GEOMETRY_TOLERANCE = 0.1


def check_request(request: RunRequest) -> None:
    """Finds out before a run whether it can be.

    Raises:
        AutoMedSAMError: If it cannot, with what to do about it.
    """
    if request.backend not in PANEL_BACKENDS:
        message = f"There is no backend {request.backend}: choose INT8 or FP32."
        raise AutoMedSAMError(message)
    if request.backend not in request.model.precisions:
        message = (
            f"The files of {request.model.name} for {request.backend.upper()} are not here; choose another backend."
        )
        raise AutoMedSAMError(message)
    if request.threshold is not None and not 0 < request.threshold <= 1:
        message = f"The threshold {request.threshold} is not a score: give a number above 0 and at most 1."
        raise AutoMedSAMError(message)
    check_volumes(request.volumes, request.model.modalities)
    if request.segmentation is not None:
        check_segmentation(request.segmentation)
        ijk_to_segmentation(request.volumes[0], request.segmentation)


def check_volumes(volumes: Sequence[slicer.vtkMRMLScalarVolumeNode | None], modalities: Sequence[str]) -> None:
    """Finds out before a run whether the volumes are what a model wants.

    Raises:
        AutoMedSAMError: If one is missing, empty, coloured or under a non-linear transform, or they do not lie on one
            grid, or one volume stands for two modalities.
    """
    for index, modality in enumerate(modalities):
        volume = volumes[index] if index < len(volumes) else None
        if volume is None:
            message = f"Choose the {modality} volume first."
            raise AutoMedSAMError(message)
        image = volume.GetImageData()
        if image is None or image.GetNumberOfPoints() == 0:
            message = f"{volume.GetName()} has no voxels; choose another {modality} volume."
            raise AutoMedSAMError(message)
        if image.GetNumberOfScalarComponents() != 1:
            message = f"{volume.GetName()} is a colour volume; turn it into grey values with Vector to Scalar Volume."
            raise AutoMedSAMError(message)
        # Boxes are straight along the voxels, and so are the slices: a gantry tilt, say, bends both.
        check_transform(volume)
    if len(volumes) > len(modalities):
        message = f"The model takes {len(modalities)} volume ({', '.join(modalities)}), not {len(volumes)}."
        raise AutoMedSAMError(message)
    first = volumes[0]
    for index, other in enumerate(volumes[1:], start=1):
        if other in volumes[:index]:
            earlier = modalities[list(volumes).index(other)]
            message = f"{other.GetName()} is chosen as {earlier} and as {modalities[index]}: choose a volume for each."
            raise AutoMedSAMError(message)
        if not _same_grid(first, other):
            message = (
                f"{other.GetName()} does not lie on the voxels of {first.GetName()}; resample it to them first, "
                "with Resample Scalar/Vector/DWI Volume."
            )
            raise AutoMedSAMError(message)


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
