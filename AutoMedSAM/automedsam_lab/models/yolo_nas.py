"""YOLO-NAS, and its S with scaled channel widths, always from scratch.

The published weights may not be redistributed or changed (LICENSE.YOLONAS.md), so none are ever loaded;
the architecture's code is Apache-2.0.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from automedsam.errors import AutoMedSAMError
from automedsam_lab.models import super_gradients_compat

_WIDTHS = ("out_channels", "hidden_channels", "output_channels", "inter_channels")


SIZES = ("s", "m", "l")


def build_detector(classes: int, width: float) -> torch.nn.Module:
    """A YOLO-NAS-S with random weights.

    Args:
        classes: Number of classes.
        width: Factor of the channel widths, 1 for YOLO-NAS-S; widths are rounded to multiples of 8.

    Returns:
        The model. It takes `(B, 3, H, W)` in 0..1, H and W multiples of 32.

    Raises:
        AutoMedSAMError: super-gradients is not installed.
    """
    return build_yolo_nas("s", classes, width)


def build_yolo_nas(size: str, classes: int, width: float = 1.0) -> torch.nn.Module:
    """A YOLO-NAS of size "s", "m" or "l" with random weights; see `build_detector`."""
    super_gradients_compat.install()
    from super_gradients.training.models.arch_params_factory import get_arch_params
    from super_gradients.training.models.detection_models.yolo_nas.yolo_nas_variants import YoloNAS

    plan = copy.deepcopy(dict(get_arch_params(f"yolo_nas_{size}_arch_params")))
    if width != 1:
        _scale(plan, width)
    model: torch.nn.Module = YoloNAS(
        backbone=plan["backbone"],
        neck=plan["neck"],
        heads=plan["heads"],
        num_classes=classes,
        bn_eps=float(plan["bn_eps"]),
        bn_momentum=plan["bn_momentum"],
        inplace_act=True,
        in_channels=3,
    )
    return model


def load_detector(checkpoint: Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Rebuild a trained detector with its averaged weights.

    Args:
        checkpoint: A file that `train_detector` wrote.

    Returns:
        The model in evaluation mode, and the settings that it was trained with: "task", "width",
        "input_size" and "classes"; "size" where it is not S.

    Raises:
        AutoMedSAMError: The file is missing or no such checkpoint.
    """
    stored = read_checkpoint(checkpoint)
    settings: dict[str, Any] = stored["settings"]
    model = build_yolo_nas(settings.get("size", "s"), len(settings["classes"]), settings["width"])
    model.load_state_dict(stored["average"])
    return model.eval(), settings


def fuse(model: torch.nn.Module, size: Sequence[int]) -> None:
    """Makes each re-parametrized block one convolution, in place; `size` is the input's height and width."""
    fused: Any = model
    # Anchors are traced as constants of this one size: smaller and faster, and the batch stays free.
    fused.prep_model_for_conversion(input_size=(1, 3, *size))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without unpickling code.

    Raises:
        AutoMedSAMError: The file is missing or no detector checkpoint.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        message = f"There is no checkpoint {path}; train the detector first."
        raise AutoMedSAMError(message) from error
    except Exception as error:
        message = f"{path} cannot be read as a detector checkpoint; train the detector again."
        raise AutoMedSAMError(message) from error
    if not isinstance(stored, dict) or not {"settings", "average", "model"} <= stored.keys():
        message = f"{path} is no detector checkpoint; give one that 'train detector' wrote."
        raise AutoMedSAMError(message)
    return stored


def _scale(node: Any, width: float) -> None:
    if isinstance(node, dict):
        for name, value in list(node.items()):
            if name in _WIDTHS and isinstance(value, int | float):
                node[name] = max(8, round(value * width / 8) * 8)
            else:
                _scale(value, width)
    elif isinstance(node, list | tuple):
        for value in node:
            _scale(value, width)
