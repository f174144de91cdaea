"""All video parts of a space with shared weights.

Each `d_model` has a network of its own, since no weight has the same shape in two of them. Within one, shallower memory
attention is the first layers of the deepest, and fewer memories are the nearest ones. The trunk of the image encoder is
one for all, and does not learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.efficient_trunk import EfficientTrunk
from automedsam_lab.models.starter_segmenter import build_trainable
from automedsam_lab.search.video.space import VideoChoice, VideoSpace

TRUNK = "image_encoder.trunk."


class FrozenTrunk(nn.Module):
    """A trunk that stays as it is, batch norms included.

    It keeps its last answer: options that are compared on the same clips share it.

    Args:
        trunk: of the image encoder.
    """

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.inner = trunk.requires_grad_(False).eval()
        self.channel_list = trunk.channel_list
        self._last: tuple[Tensor, list[Tensor]] | None = None

    def train(self, mode: bool = True) -> FrozenTrunk:
        """Does nothing."""
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        """`(B, 3, S, S)` to the maps at strides 4, 8, 16 and 32."""
        if self._last is None or not torch.equal(image, self._last[0]):
            with torch.no_grad():
                self._last = (image, self.inner(image))
        return list(self._last[1])


class SharedVideo(nn.Module):
    """A video model of one `d_model` that runs at any depth and any number of memories.

    Args:
        architecture: the deepest, with the most memories.
        trunk: of the image encoder.
    """

    def __init__(self, architecture: Sam2Architecture, trunk: nn.Module) -> None:
        super().__init__()
        self.model: Any = build_trainable(architecture)
        self.model.image_encoder.trunk = trunk
        self.layers = self.model.memory_attention.layers
        # Rows: tracked slices by their age, and last the prompted slice's.
        self.ages = nn.Parameter(self.model.maskmem_tpos_enc.detach().clone())
        del self.model.maskmem_tpos_enc
        self.set_path(architecture.memory_layers, architecture.num_maskmem - 1)

    def set_path(self, layers: int, memories: int) -> None:
        """Chooses what the next forward pass runs; after each step of the optimiser, choose again."""
        self.model.memory_attention.layers = self.layers[:layers]
        self.model.maskmem_tpos_enc = self.ages[[*range(memories), len(self.ages) - 1]]
        self.model.num_maskmem = memories + 1


class VideoSupernet(nn.Module):
    """The networks of all `d_model` of a space.

    Args:
        space: the space.
        trunk: weights of an image encoder's trunk by their names there, random if None.
    """

    def __init__(self, space: VideoSpace, trunk: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        inner = EfficientTrunk(space.encoder.widths, space.encoder.stages)
        if trunk is not None:
            inner.load_state_dict(dict(trunk))
        frozen = FrozenTrunk(inner)
        self._most = (space.memory_layers[-1], space.memories[-1])
        self.networks = nn.ModuleDict(
            {
                str(width): SharedVideo(space.network(VideoChoice(width, *self._most)), frozen)
                for width in space.d_models
            }
        )

    def path(self, choice: VideoChoice) -> Any:
        """The SAM 2 model of a choice, to be run before another is asked for."""
        shared = self.networks[str(choice.d_model)]
        assert isinstance(shared, SharedVideo)
        shared.set_path(choice.memory_layers, choice.memories)
        return shared.model

    def open_all(self) -> None:
        """Every layer is in its place again, as for `state_dict`."""
        for width in self.networks:
            self.path(VideoChoice(int(width), *self._most))

    def trunk(self) -> dict[str, Tensor]:
        """The weights of the trunk, by their names there."""
        first = next(iter(self.networks.values()))
        assert isinstance(first, SharedVideo)
        weights: dict[str, Tensor] = first.model.image_encoder.trunk.inner.state_dict()
        return weights
