"""The four names that TinyViT's published code imports from timm, none of which matters for inference.

timm itself asks for a torchvision of PyTorch's version; where that does not fit, its import fails.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from torch import nn

_MODULES = ("timm", "timm.models", "timm.models.layers", "timm.models.registry")


class DropPath(nn.Module):
    """Stochastic depth of rate 0, which is how LiteMedSAM is built: the input as it is."""

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, inputs: Any) -> Any:
        """Any tensor, unchanged."""
        return inputs


def to_2tuple(value: Any) -> tuple[Any, ...]:
    """A pair of a single value; a pair as it is."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def register_model(function: Callable[..., Any]) -> Callable[..., Any]:
    """Timm keeps a list of models; here the function is only handed back."""
    return function


@contextmanager
def timm_names() -> Iterator[None]:
    """Stands in for timm within the block; what was imported before is there again afterwards."""
    before = {name: sys.modules.get(name) for name in _MODULES}
    stand_ins = {name: ModuleType(name) for name in _MODULES}
    layers: Any = stand_ins["timm.models.layers"]
    layers.DropPath, layers.to_2tuple, layers.trunc_normal_ = DropPath, to_2tuple, nn.init.trunc_normal_
    registry: Any = stand_ins["timm.models.registry"]
    registry.register_model = register_model
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
