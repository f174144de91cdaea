"""Checks of a request before it is run."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import slicer
from slicer.i18n import tr as _

from automedsam.contract.roles import Role
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.bundle_info import PANEL_BACKENDS
from AutoMedSAMLib.model.run import RunRequest
from AutoMedSAMLib.scene.geometry import check_transform, ijk_to_segmentation
from AutoMedSAMLib.scene.resampling import another_grid, same_grid
from AutoMedSAMLib.scene.segment_writer import check_segmentation

VolumeNodes: TypeAlias = Any
"""A scalar volume node, a sequence of them, or a mapping from modality to node; see `in_order`."""


def in_order(volumes: VolumeNodes, roles: Sequence[Role]) -> tuple[slicer.vtkMRMLScalarVolumeNode, ...]:
    """Volumes as a script gives them, in the order of a model's modalities.

    Args:
        volumes: a volume, a sequence of them in the model's order, or volumes by modality.
        roles: the model's modalities.

    Raises:
        AutoMedSAMError: If a volume is given for a modality that the model does not have, or two for one.
    """
    if isinstance(volumes, slicer.vtkMRMLNode):
        return (volumes,)
    if not isinstance(volumes, Mapping):
        return tuple(volumes)
    found: dict[int, slicer.vtkMRMLScalarVolumeNode] = {}
    for word, volume in volumes.items():
        places = [place for place, role in enumerate(roles) if role.is_called(word)]
        if len(places) != 1 or places[0] in found:
            message = _("{word} is not one of the modalities that the model takes, each once ({names}).")
            raise AutoMedSAMError(message.format(word=word, names=", ".join(role.name for role in roles)))
        found[places[0]] = volume
    return tuple(found.get(place) for place in range(len(roles)))


def check_request(request: RunRequest) -> None:
    """Checks a request before it is run.

    Raises:
        AutoMedSAMError: If it cannot be run, with what to do about it.
    """
    if request.backend not in PANEL_BACKENDS:
        message = _("There is no backend {backend}: choose INT8 or FP32.")
        raise AutoMedSAMError(message.format(backend=request.backend))
    if request.backend not in request.model.backends:
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
        if not same_grid(nodes[0], other):
            raise AutoMedSAMError(another_grid(other, nodes[0]))
