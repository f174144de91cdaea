"""The memory bank: what SAM 2 remembers of one object while it walks through the slices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from automedsam.sam2.networks import Floats


class Memory(NamedTuple):
    """What one slice leaves behind.

    Attributes:
        features: `(1, M, f, f)` from the memory encoder.
        pointer: `(1, C)`, the object pointer.
    """

    features: Floats
    pointer: Floats


class MemoryReadout(NamedTuple):
    """The memories that a slice attends to, see `Sam2Networks.attend` for the shapes."""

    memories: Floats
    ages: NDArray[np.int64]
    pointers: Floats
    distances: Floats


@dataclass
class MemoryBank:
    """The conditioning slices, and the slices tracked since in one direction.

    It chooses as `SAM2Base._prepare_memory_conditioned_features` does in evaluation: every conditioning slice,
    the `memories - 1` nearest tracked ones, `stride` slices apart (`memory_temporal_stride_for_eval`), and the
    pointers of the past.

    Attributes:
        num_maskmem: memories of the model, the conditioning one included.
        max_pointers: the model's limit of object pointers.
        slices: the number of slices in the volume.
        memories: how many of the model's are used.
        stride: slices from one remembered slice to the next, but for the last slice, which always is.
        conditioning: memories of prompted slices, by slice.
        tracked: memories of propagated slices, by slice.
    """

    num_maskmem: int
    max_pointers: int
    slices: int
    memories: int
    stride: int = 1
    conditioning: dict[int, Memory] = field(default_factory=dict)
    tracked: dict[int, Memory] = field(default_factory=dict)

    def start_direction(self) -> None:
        """Forgets what was tracked, so that one direction does not lean on the other."""
        self.tracked.clear()

    def recall(self, index: int, step: int) -> MemoryReadout:
        """What slice `index` remembers when slices are walked through in steps of +1 or -1."""
        memories = [memory.features for memory in self.conditioning.values()]
        ages = [self.num_maskmem - 1] * len(memories)
        for age in range(self.memories - 2, -1, -1):
            found = self.tracked.get(self._remembered(index, step, age))
            if found is not None:
                memories.append(found.features)
                ages.append(age)

        limit = min(self.slices, self.max_pointers)
        past = [
            ((index - at) * step, memory.pointer)
            for at, memory in self.conditioning.items()
            if (index - at) * step >= 0
        ]
        for distance in range(1, limit):
            found = self.tracked.get(index - step * distance)
            if found is not None:
                past.append((distance, found.pointer))
        distances = np.array([distance for distance, _ in past], np.float32) / max(limit - 1, 1)
        return MemoryReadout(
            np.concatenate(memories),
            np.array(ages, np.int64),
            np.concatenate([pointer for _, pointer in past]),
            distances.astype(np.float32),
        )

    def _remembered(self, index: int, step: int, age: int) -> int:
        """The slice whose memory has this age: the last one, then multiples of the stride before it."""
        if age == 0:
            return index - step
        return step * ((index * step - 2) // self.stride - age + 1) * self.stride

    def prune(self, index: int, step: int) -> None:
        """Drops tracked memories that no later slice of this direction will ask for."""
        reach = max(self.memories * self.stride, self.max_pointers)
        for at in [at for at in self.tracked if (index - at) * step > reach]:
            del self.tracked[at]
