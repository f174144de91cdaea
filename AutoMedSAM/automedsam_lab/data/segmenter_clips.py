"""What a segmenter trains on: clips of training patients and of generated volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.clips import Clip, LabeledVolume, normalize, sample_clip
from automedsam_lab.data.sets.clip_sets import STARTER_SHARES, ClipSet, clip_sets
from automedsam_lab.data.sets.images import Part
from automedsam_lab.data.synthetic_volumes import generate

SYNTHETIC_POOL = 64


def training_clips(root: Path, shares: Mapping[str, float] = STARTER_SHARES) -> ClipSource:
    """Clips of the training patients; each start draws others, so a resumed run repeats none.

    Args:
        root: the folder of datasets.
        shares: of each set; the rest is generated.

    Raises:
        AutoMedSAMError: if the folder has none of the sets.
    """
    sets = clip_sets(root, Part.TRAIN, shares)
    if not sets:
        message = f"No cases were found in {root} of {', '.join(shares)}; give the folder that holds the datasets."
        raise AutoMedSAMError(message)
    return ClipSource(sets, np.random.default_rng())


def validation_clips(
    root: Path, size: int, *, frames: int = 6, count: int = 32, shares: Mapping[str, float] = STARTER_SHARES
) -> dict[str, list[Clip]]:
    """The same clips in every run, of patients that are not trained on, by set.

    Args:
        root: the folder of datasets.
        size: the side of a frame in pixels.
        frames: the frames of a clip; single images stand still.
        count: the number of clips of a set.
        shares: the wanted sets.
    """
    rng = np.random.default_rng(5)
    return {
        one.name: [
            sample_clip(one.volumes[int(rng.integers(len(one.volumes)))], frames, size, rng) for _ in range(count)
        ]
        for one in clip_sets(root, Part.VALIDATION, shares)
    }


def calibration_slices(
    root: Path, size: int, count: int = 64, shares: Mapping[str, float] = STARTER_SHARES
) -> np.ndarray:
    """Slices of training patients `(count, 3, size, size)` float32, normalised as the image encoder takes them."""
    rng = np.random.default_rng(9)
    sets = clip_sets(root, Part.TRAIN, shares)
    frames = []
    for index in range(count):
        volumes = sets[index % len(sets)].volumes
        frames.append(sample_clip(volumes[int(rng.integers(len(volumes)))], 1, size, rng).frames)
    return np.ascontiguousarray(normalize(torch.cat(frames)).numpy())


class ClipSource:
    """Draws training clips of sets by their shares; the rest is generated.

    Args:
        sets: shares of more than 1 together leave nothing to be generated.
        rng: the source of every choice.
    """

    def __init__(self, sets: Sequence[ClipSet], rng: np.random.Generator) -> None:
        self._sets, self._rng = sets, rng
        self._generated = [generate(rng)]

    def clip(self, frames: int, size: int) -> Clip:
        """One clip of `frames` frames of `size` x `size` pixels."""
        return sample_clip(self._volume(), frames, size, self._rng)

    def _volume(self) -> LabeledVolume:
        draw = self._rng.random()
        for one in self._sets:
            draw -= one.share
            if draw < 0:
                return one.volumes[int(self._rng.integers(len(one.volumes)))]
        return self._synthetic()

    def _synthetic(self) -> LabeledVolume:
        """A fresh volume every tenth time; else one of the last few, cut along another plane."""
        if len(self._generated) < SYNTHETIC_POOL or self._rng.random() < 0.1:
            self._generated.append(generate(self._rng))
            del self._generated[:-SYNTHETIC_POOL]
            return self._generated[-1]
        return self._generated[int(self._rng.integers(len(self._generated)))]
