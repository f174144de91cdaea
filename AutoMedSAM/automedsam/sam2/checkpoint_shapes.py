"""The keys and shapes of a network's weights, and how a checkpoint differs from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.build import build_sam2

Shapes = Mapping[str, tuple[int, ...]]

_SHOWN = 3

# A key that only this model has, for those that people mistake for SAM 2's.
_OTHER_MODELS = {
    "SAM 1 or MedSAM": "image_encoder.blocks.0.attn.rel_pos_h",
    "MobileSAM or LiteMedSAM": "image_encoder.layers.0.blocks.0.conv1.c.weight",
    "EfficientTAM": "image_encoder.neck.convs.0.conv_1x1.weight",
    "YOLO-NAS, which is given as --detector": "heads.head1.cls_pred.weight",
    "the lab's own segmenter, which is not converted but exported": "image_encoder.trunk.stem.0.weight",
}
_WIDTHS_OF_SAM2 = {144: "SAM 2 large, which is too slow on a CPU and not read"}
_PATCHES = "image_encoder.trunk.patch_embed.proj.weight"


@dataclass(frozen=True)
class Mismatch:
    """What of a checkpoint does not fit a network.

    Attributes:
        missing: keys of the network that the checkpoint lacks.
        unknown: keys of the checkpoint that the network lacks.
        misshapen: key to the shape in the checkpoint and the shape in the network.
    """

    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    misshapen: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unknown or self.misshapen)

    def lines(self) -> list[str]:
        """Every key that does not fit, one a line."""
        return [
            *(f"missing    {key}" for key in self.missing),
            *(f"unknown    {key}" for key in self.unknown),
            *(f"misshapen  {key}: {found}, not {wanted}" for key, (found, wanted) in self.misshapen.items()),
        ]

    def summary(self) -> str:
        """The same in a clause: how many, in which parts, and the first few."""
        shapes = [f"{key} is {found}, not {wanted}" for key, (found, wanted) in self.misshapen.items()]
        clauses = [
            _clause("missing", self.missing, self.missing),
            _clause("unknown", self.unknown, self.unknown),
            _clause("of another shape", shapes, list(self.misshapen)),
        ]
        return "; ".join(clause for clause in clauses if clause)


def compare(found: Shapes, wanted: Shapes) -> Mismatch:
    """Holds the shapes of a checkpoint against those of a network."""
    return Mismatch(
        tuple(key for key in wanted if key not in found),
        tuple(key for key in found if key not in wanted),
        {key: (found[key], wanted[key]) for key in wanted if key in found and found[key] != wanted[key]},
    )


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor."""
    return {key: tuple(value.shape) for key, value in state.items()}


def network_shapes(architecture: Sam2Architecture, absent: Iterable[str] = ()) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of a network's checkpoints; no memory is allocated for the weights.

    Args:
        architecture: The network.
        absent: Keys that its published checkpoints lack.
    """
    with MetaTensorMode():
        shapes = shapes_of(build_sam2(architecture).state_dict())
    return {key: shape for key, shape in shapes.items() if key not in absent}


def other_model(state: Mapping[str, Tensor]) -> str | None:
    """The name of the model that people mistake for SAM 2 and whose weights these are; None if it is not known."""
    if _PATCHES in state and len(state[_PATCHES]) in _WIDTHS_OF_SAM2:
        return _WIDTHS_OF_SAM2[len(state[_PATCHES])]
    return next((name for name, key in _OTHER_MODELS.items() if key in state), None)


def _clause(what: str, found: list[str] | tuple[str, ...], keys: list[str] | tuple[str, ...]) -> str:
    if not found:
        return ""
    parts = Counter(key.partition(".")[0] for key in keys)
    counted = ", ".join(parts if len(parts) == 1 else (f"{part} {count}" for part, count in parts.items()))
    where = f" in {counted}" if len(found) > _SHOWN else ""
    return f"{len(found)} {what}{where} ({_some(found)})"


def _some(items: Iterable[str]) -> str:
    every = list(items)
    return ", ".join(every[:_SHOWN]) + (f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else "")


class MetaTensorMode(TorchFunctionMode):
    """A context in which networks are built with weights that have a shape and no memory (the meta device).

    `torch.device("meta")` does not do: SAM 2's trunk reads numbers from a tensor while it is built.
    """

    _MAKERS = (torch.empty, torch.zeros, torch.ones, torch.randn)

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function in self._MAKERS and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return function(*args, **kwargs)
