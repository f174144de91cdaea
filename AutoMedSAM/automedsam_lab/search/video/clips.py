"""What the search of the video part learns from: clips of volumes, by patient in two halves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.clips import Clip
from automedsam_lab.data.segmenter_clips import ClipSource, validation_clips
from automedsam_lab.data.sets.clip_sets import TRACKING_SHARES, ClipSet, clip_sets
from automedsam_lab.data.sets.images import Part

# Single images stand still in a clip, and tell nothing about memories. What is left of the shares is generated.
VOLUME_SHARES = {
    name: TRACKING_SHARES[name] for name in ("hippocampus", "glioma_flair", "glioma_t1c", "acdc", "ct_lesion")
}
# The sixth frame is the first that has the prompted and four tracked slices behind it.
FRAMES, VALIDATION_FRAMES, VALIDATION_CLIPS = 6, 8, 12


@dataclass(frozen=True)
class VideoData:
    """Clips to search, train and compare with.

    Attributes:
        training: volumes of the training patients.
        validation: fixed clips of patients that are not trained on, by set.
    """

    training: Sequence[ClipSet]
    validation: dict[str, list[Clip]]

    @classmethod
    def read(cls, root: Path, image_size: int) -> VideoData:
        """Reads the volumes of a folder of datasets.

        Raises:
            AutoMedSAMError: if there are none of training or validation patients.
        """
        training = clip_sets(root, Part.TRAIN, VOLUME_SHARES)
        validation = validation_clips(
            root, image_size, frames=VALIDATION_FRAMES, count=VALIDATION_CLIPS, shares=VOLUME_SHARES
        )
        if not training or not validation:
            message = f"{root} has no volumes of {', '.join(VOLUME_SHARES)}: give the folder that holds the datasets."
            raise AutoMedSAMError(message)
        return cls(training, validation)

    def halves(self, seed: int) -> tuple[list[ClipSet], list[ClipSet]]:
        """The training volumes, by patients in two halves: for weights, and for the architecture.

        Raises:
            AutoMedSAMError: if there are fewer than two patients.
        """
        halves: tuple[list[ClipSet], list[ClipSet]] = ([], [])
        for place, one in enumerate(self.training):
            patients = sorted({volume.patient for volume in one.volumes})
            order = np.random.default_rng((seed, place)).permutation(len(patients))
            half = {patients[index]: rank % 2 for rank, index in enumerate(order)}
            for number, kept in enumerate(halves):
                volumes = [volume for volume in one.volumes if half[volume.patient] == number]
                if volumes:
                    kept.append(replace(one, volumes=volumes))
        if not all(halves):
            message = "A search needs volumes of at least two training patients: add some to the folder of datasets."
            raise AutoMedSAMError(message)
        return halves


def clips_of_step(sets: Sequence[ClipSet], seed: tuple[int, ...], count: int, frames: int, size: int) -> list[Clip]:
    """The clips of a step, the same whenever they are asked for."""
    source = ClipSource(sets, np.random.default_rng(seed))
    return [source.clip(frames, size) for _ in range(count)]
