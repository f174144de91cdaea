"""The search space of the video part: three numbers, and what each combination costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np

from automedsam.sam2.architecture import Sam2Architecture
from automedsam_lab.models.student.architecture import PRESETS, StudentArchitecture
from automedsam_lab.models.universal_segmenter import IMAGE_SIZE, universal_architecture
from automedsam_lab.search.latency_table import CostTable


class VideoChoice(NamedTuple):
    """One video part.

    Attributes:
        d_model: channels of the embedding, of memory attention and of the mask decoder.
        memory_layers: of memory attention.
        memories: tracked slices that a slice attends to, beside the prompted one.
    """

    d_model: int
    memory_layers: int
    memories: int

    def __str__(self) -> str:
        return f"{self.d_model}-{self.memory_layers}-{self.memories}"


# As in the universal segmenter of the built-in bundles.
PRESENT = VideoChoice(128, 2, 4)


@dataclass(frozen=True)
class VideoSpace:
    """Which video parts there are, round one encoder.

    Attributes:
        d_models: rising.
        memory_layers: rising.
        memories: rising.
        encoder: whose trunk all of them have.
        image_size: side of a slice in pixels.
    """

    d_models: tuple[int, ...] = (96, 128, 192)
    memory_layers: tuple[int, ...] = (1, 2, 3)
    memories: tuple[int, ...] = (1, 2, 4)
    encoder: StudentArchitecture = PRESETS["m"]
    image_size: int = IMAGE_SIZE

    @property
    def options(self) -> tuple[tuple[int, ...], ...]:
        """Of each number of a choice, what it may be."""
        return self.d_models, self.memory_layers, self.memories

    @property
    def choices(self) -> list[VideoChoice]:
        """All video parts."""
        return [VideoChoice(*numbers) for numbers in product(*self.options)]

    def student(self, choice: VideoChoice, name: str = "") -> StudentArchitecture:
        """The encoder with the numbers of a choice, as training takes it."""
        return replace(self.encoder, **choice._asdict(), name=name)

    def network(self, choice: VideoChoice) -> Sam2Architecture:
        """The SAM 2 video model of a choice."""
        return replace(universal_architecture(self.student(choice)), image_size=self.image_size)


class VideoCosts:
    """What each video part costs, from a table.

    Args:
        space: the space.
        table: of `measure_video_table`.

    Attributes:
        values: milliseconds of a propagated slice, `(d_models, memory_layers, memories)`.

    Raises:
        AutoMedSAMError: if the table lacks a part.
    """

    def __init__(self, space: VideoSpace, table: CostTable) -> None:
        from automedsam_lab.search.video.table import slice_keys

        self.space, self.unit = space, table.kind.unit
        every = [sum(table.cost(key) for key in slice_keys(space, choice)) for choice in space.choices]
        self.values = np.array(every).reshape([len(one) for one in space.options])

    def of(self, choice: VideoChoice) -> float:
        """The cost of a video part."""
        place = tuple(one.index(number) for one, number in zip(self.space.options, choice, strict=True))
        return float(self.values[place])

    def affordable(self, target: float) -> list[VideoChoice]:
        """The video parts that cost at most `target`, the dearest first."""
        inside = [choice for choice in self.space.choices if self.of(choice) <= target]
        return sorted(inside, key=self.of, reverse=True)
