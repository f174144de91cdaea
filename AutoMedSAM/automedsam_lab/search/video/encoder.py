"""The image encoder round which the video part is searched: only its trunk, since all else depends on `d_model`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.torch_networks import load_model
from automedsam_lab.models.student.architecture import PRESETS, StudentArchitecture
from automedsam_lab.models.student.network import load_student
from automedsam_lab.search.video.supernet import TRUNK

Encoder = tuple[StudentArchitecture, dict[str, Tensor] | None]


def random_encoder() -> Encoder:
    """Size M without weights."""
    return PRESETS["m"], None


def student_encoder(path: Path) -> Encoder:
    """Of a `student.pt`.

    Raises:
        AutoMedSAMError: if it is none.
    """
    student = load_student(path)
    return student.architecture, _trunk(student.state_dict())


def segmenter_encoder(path: Path) -> Encoder:
    """Of a `segmenter.pt`, or of a bundle's `segmenter.safetensors`.

    Raises:
        AutoMedSAMError: if it is none, or not of the recipe universal.
    """
    model, network = load_model(path)
    if network.trunk != "efficient":
        message = f"{path} has no encoder of a student: give a segmenter of the recipe universal."
        raise AutoMedSAMError(message)
    built = StudentArchitecture(network.widths, network.operations, decoder_feedforward=network.decoder_feedforward)
    return built, _trunk(model.state_dict())


def _trunk(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(TRUNK): tensor for name, tensor in weights.items() if name.startswith(TRUNK)}
