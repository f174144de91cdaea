"""Which image is trained on when: a function of the seed, the epoch and the step, and of nothing else.

The shards of an epoch, in an order drawn with the seed, are one long sequence of images. It is cut into as many equal
lanes as a step has micro-batches; a step takes the next micro-batch of every lane. Processes share the lanes among
themselves, so the images of a step are the same for any number of processes that divides the number of lanes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.shards.index import Shard

# Images are shuffled within so many: encoded, they take a few MB a lane.
WINDOW = 256


@dataclass(frozen=True)
class Stretch:
    """Consecutive images of one shard: from `first`, `count` of them."""

    shard: Shard
    first: int
    count: int


@dataclass(frozen=True)
class EpochOrder:
    """The order of one epoch.

    Attributes:
        shards: of the part, as the index lists them.
        lanes: micro-batches in a step.
        batch: images in a micro-batch.
        seed: of the order.
        epoch: counted from 0.
        shuffle: as training needs it; otherwise images come as they were written.
    """

    shards: Sequence[Shard]
    lanes: int
    batch: int
    seed: int
    epoch: int
    shuffle: bool = True

    @property
    def images(self) -> int:
        """How many images an epoch has."""
        return sum(shard.images for shard in self.shards)

    @property
    def steps(self) -> int:
        """How many steps an epoch has; the last one may be smaller."""
        longest = -(-self.images // self.lanes)
        return -(-longest // self.batch)

    def lane_bounds(self, lane: int) -> tuple[int, int]:
        """The first image of a lane in the sequence, and the one after its last."""
        return self.images * lane // self.lanes, self.images * (lane + 1) // self.lanes

    def windows(self, lane: int, first: int = 0) -> Iterator[tuple[list[Stretch], list[int]]]:
        """The images of a lane, in groups within which they are shuffled.

        Args:
            lane: from 0.
            first: images of the lane to pass over.

        Yields:
            Where the images of a group are, and which of them come next, in their order: positions in the group.
        """
        start, end = self.lane_bounds(lane)
        for number, low in enumerate(range(start, end, WINDOW)):
            high = min(low + WINDOW, end)
            if high - start <= first:
                continue
            order = np.arange(high - low)
            if self.shuffle:
                order = np.random.default_rng((self.seed, self.epoch, lane, number)).permutation(high - low)
            yield self._stretches(low, high), order[max(0, first - (low - start)) :].tolist()

    def _stretches(self, low: int, high: int) -> list[Stretch]:
        """Where images `low` to `high` of the sequence are."""
        found, at = [], 0
        for shard in self._in_order():
            first, last = max(low, at), min(high, at + shard.images)
            if first < last:
                found.append(Stretch(shard, first - at, last - first))
            at += shard.images
        return found

    def _in_order(self) -> list[Shard]:
        if not self.shuffle:
            return list(self.shards)
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.shards))
        return [self.shards[index] for index in order]


def lanes_of(rank: int, processes: int, lanes: int) -> list[int]:
    """The lanes of a process.

    Raises:
        AutoMedSAMError: if the processes do not share the lanes evenly.
    """
    if lanes % processes:
        fitting = [count for count in range(1, lanes + 1) if lanes % count == 0]
        message = (
            f"{lanes} lanes cannot be shared evenly by {processes} processes; start {_choice(fitting)} processes, or "
            f"give --lanes a multiple of {processes}."
        )
        raise AutoMedSAMError(message)
    return list(range(rank, lanes, processes))


def _choice(numbers: Sequence[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} or {last}" if most else last
