"""Micro-batches from shards, read in order by the loader's workers."""

from __future__ import annotations

import math
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate, get_worker_info

from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.data.shards.index import REMEDY, Shard
from automedsam_lab.data.shards.order import EpochOrder, Stretch
from automedsam_lab.data.shards.sample import ShardSample, decode

# Makes a training example of an image, tensors of the same shapes for all; None if the image cannot be trained on.
MakeExample = Callable[[ShardSample, np.random.Generator], dict[str, Tensor] | None]


@dataclass(frozen=True)
class MicroBatch:
    """What one lane gives to one step.

    Attributes:
        step: in the epoch, from 0.
        lane: of the epoch's order.
        tensors: of the examples, stacked; none if there is no example.
        examples: how many; fewer than usual at the end of an epoch.
        images: how many images were read for it.
        error: why reading ended; one sentence.
    """

    step: int
    lane: int
    tensors: dict[str, Tensor] | None = None
    examples: int = 0
    images: int = 0
    error: str | None = None


class LaneStream(IterableDataset[MicroBatch]):
    """The micro-batches of some lanes from a step of an epoch on, step by step and in each step lane by lane.

    Each image is read once, except that a lane which begins within a shard reads over the first part of it.

    Args:
        folder: of the shards.
        order: of the epoch.
        lanes: which lanes; the workers of a loader share them.
        make: makes the examples, with a generator that depends on the image's place in the epoch alone.
        first_step: the step to begin with.
    """

    def __init__(
        self, folder: Path, order: EpochOrder, lanes: Sequence[int], make: MakeExample, first_step: int = 0
    ) -> None:
        self._folder, self._order, self._lanes, self._make = folder, order, lanes, make
        self._first_step = first_step

    def loader(self, workers: int) -> DataLoader[MicroBatch]:
        """A loader with so many processes, or fewer: each must have as many lanes as the others.

        A loader asks its workers in turn, which keeps the lanes in their order.
        """
        return DataLoader(self, None, num_workers=math.gcd(len(self._lanes), workers) if workers else 0)

    def __iter__(self) -> Iterator[MicroBatch]:
        worker = get_worker_info()
        own = self._lanes if worker is None else self._lanes[worker.id :: worker.num_workers]
        readers = {lane: self._lane(lane) for lane in own}
        for step in range(self._first_step, self._order.steps):
            for lane, reader in readers.items():
                try:
                    yield self._next(step, lane, reader)
                except AutoMedSAMError as error:
                    # Raised in a worker, it would reach the user in a traceback.
                    yield MicroBatch(step, lane, error=str(error))
                    return

    def _next(self, step: int, lane: int, reader: Iterator[ShardSample]) -> MicroBatch:
        order, images = self._order, 0
        examples: list[dict[str, Tensor]] = []
        while images < order.batch and (sample := next(reader, None)) is not None:
            rng = np.random.default_rng((order.seed, order.epoch, step, lane, images))
            example = self._make(sample, rng)
            images += 1
            if example is not None:
                examples.append(example)
        tensors = default_collate(examples) if examples else None
        return MicroBatch(step, lane, tensors, len(examples), images)

    def _lane(self, lane: int) -> Iterator[ShardSample]:
        reader = _ShardReader(self._folder)
        for stretches, positions in self._order.windows(lane, self._first_step * self._order.batch):
            group = [sample for stretch in stretches for sample in reader.read(stretch)]
            yield from (group[position] for position in positions)


class _ShardReader:
    """Reads one shard after the other from its beginning."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shard: Shard | None = None
        self._samples: Iterator[dict[str, Any]] = iter(())
        self._at = 0

    def read(self, stretch: Stretch) -> list[ShardSample]:
        """The samples of a stretch.

        Raises:
            AutoMedSAMError: if the shard is missing or damaged.
        """
        if stretch.shard is not self._shard or stretch.first < self._at:
            # Before its first image trains, and at a small part of the time that its images take.
            stretch.shard.check_content(self._folder)
            self._shard, self._at = stretch.shard, 0
            self._samples = read_tar(self._folder / stretch.shard.file)
        path = self._folder / stretch.shard.file
        samples: list[ShardSample] = []
        while len(samples) < stretch.count:
            stored = next(self._samples, None)
            if stored is None:
                message = f"The shard {path} ends after {self._at} images and not {stretch.shard.images}; {REMEDY}"
                raise AutoMedSAMError(message)
            if self._at >= stretch.first:
                samples.append(decode(stored, path))
            self._at += 1
        return samples


def read_tar(path: Path) -> Iterator[dict[str, Any]]:
    """The samples of a shard as WebDataset groups them: files by extension, and `__key__`.

    Raises:
        AutoMedSAMError: if the file cannot be read or breaks off.
    """
    with require("train", "Reading shards"):
        from webdataset.tariterators import group_by_keys, tar_file_expander
    try:
        with path.open("rb") as file:
            yield from group_by_keys(tar_file_expander([{"url": str(path), "stream": file}]))
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        message = f"The shard {path} breaks off or is damaged ({type(error).__name__}); {REMEDY}"
        raise AutoMedSAMError(message) from error
