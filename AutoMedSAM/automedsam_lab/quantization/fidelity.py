"""How well a quantized segmenter agrees with its FP32 original on short clips that both follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box
from automedsam.errors import AutoMedSAMError
from automedsam.sam2.networks import DecoderPrompt, Floats, ImageEmbedding, MaskPrediction, Sam2Networks
from automedsam.sam2.propagation import Prompt, Sam2Segmenter, SegmenterSettings
from automedsam_lab.data.dataset import CaseFrames, Dataset, selection_cases
from automedsam_lab.metrics.masks import dice
from automedsam_lab.metrics.reference_boxes import tight_box

if TYPE_CHECKING:
    from automedsam_lab.quantization.calibration import Calibration

# Beyond this a sigmoid is 0 or 1, whatever the logit.
LOGIT_CLIP = 10.0
# Fewer pixels are no object to track.
_SMALLEST_OBJECT = 30


@dataclass(frozen=True)
class PromptedClip:
    """Neighbouring slices, and what a person boxed on the first of them.

    Attributes:
        frames: `(F, H, W)` uint8 grey levels.
        box: in pixels of the first slice.
    """

    frames: NDArray[np.uint8]
    box: Box


class Fidelity(NamedTuple):
    """Of two segmenters on the same clips.

    Attributes:
        dice: mean Dice of a clip's masks, 0 to 1.
        worst: the least Dice of a clip.
        logits: mean difference of the mask logits, both clipped to -10 and 10; it differs even where the Dice is 1.
    """

    dice: float
    worst: float
    logits: float


class CachedEncoder:
    """Parts that encode no slice twice, for comparisons in which the image encoder stays the same.

    Args:
        parts: what computes.
        embeddings: those of slices already seen; it is added to, and may be shared between such parts.
    """

    def __init__(self, parts: Sam2Networks, embeddings: dict[str, ImageEmbedding]) -> None:
        self._parts, self._embeddings = parts, embeddings

    def encode_image(self, image: Floats) -> ImageEmbedding:
        key = sha256(np.ascontiguousarray(image).data).hexdigest()
        if key not in self._embeddings:
            self._embeddings[key] = self._parts.encode_image(image)
        return self._embeddings[key]

    def attend(self, *inputs: Any) -> Floats:
        return self._parts.attend(*inputs)

    def decode(
        self, features: Floats, embedding: ImageEmbedding, prompt: DecoderPrompt, *, memory_conditioned: bool
    ) -> MaskPrediction:
        return self._parts.decode(features, embedding, prompt, memory_conditioned=memory_conditioned)

    def remember(self, features: Floats, logits: Floats, presence: Floats, *, binarise: bool) -> Floats:
        return self._parts.remember(features, logits, presence, binarise=binarise)


def propagate_clips(parts: Sam2Networks, settings: SegmenterSettings, clips: Iterable[PromptedClip]) -> list[Floats]:
    """The mask logits `(F, H, W)` of each clip, from the box on its first slice to its last slice."""
    answers = []
    for clip in clips:
        segmenter = Sam2Segmenter(parts, settings, clip.frames)
        segmenter.prompt(0, 1, Prompt(box=clip.box))
        logits = np.full(clip.frames.shape, -LOGIT_CLIP, np.float32)
        for index, answer in segmenter.propagate(1, 0, 0, len(clip.frames) - 1):
            logits[index] = answer
        answers.append(logits)
    return answers


def agreement(reference: Sequence[Floats], found: Sequence[Floats]) -> Fidelity:
    """Compares what two segmenters answered to the same clips.

    Answers that are not numbers agree with nothing.

    Args:
        reference: logits `(F, H, W)` of each clip, of FP32.
        found: the other's.
    """
    shares, differences = [], []
    for wanted, got in zip(reference, found, strict=True):
        finite = bool(np.isfinite(got).all())
        shares.append(dice(wanted > 0, got > 0) if finite else 0.0)
        apart = np.abs(np.clip(wanted, -LOGIT_CLIP, LOGIT_CLIP) - np.clip(got, -LOGIT_CLIP, LOGIT_CLIP)).mean()
        differences.append(float(apart) if finite else 2 * LOGIT_CLIP)
    return Fidelity(float(np.mean(shares)), float(np.min(shares)), float(np.mean(differences)))


def clips_of_calibration(calibration: Calibration) -> list[PromptedClip]:
    """The calibration's own slices, with a box around the largest bright thing on each clip's first slice.

    Nobody has drawn anything on them: the box only makes the segmenter follow something with an edge.
    """
    clips = [
        PromptedClip(clip.frames, box) for clip in calibration.clips if (box := _brightest_component(clip.frames[0]))
    ]
    return [clip for clip in clips if len(clip.frames) > 1] or clips


def phantom_clips(count: int, frames: int = 6, seed: int = 0) -> list[PromptedClip]:
    """Clips of made-up heads that start in the middle of a lesion; three lesions a head.

    Args:
        count: how many clips.
        frames: slices of a clip, 2.5 mm apart.
        seed: of the first head.
    """
    from scipy import ndimage

    from automedsam.core.intensity import to_uint8
    from automedsam.demo.phantom import phantom_head

    clips: list[PromptedClip] = []
    while len(clips) < count:
        volume, truth = phantom_head(seed)
        gray, (lesions, found) = to_uint8(volume.array), ndimage.label(truth)
        for lesion in range(1, found + 1):
            mask = lesions == lesion
            first = min(int(np.count_nonzero(mask, axis=(1, 2)).argmax()), len(gray) - frames)
            if mask[first].any():
                clips.append(PromptedClip(gray[first : first + frames], tight_box(mask[first])))
        seed += 1
    return clips[:count]


def patient_clips(root: Path, size: int, count: int) -> list[PromptedClip]:
    """Clips of hippocampus patients that nothing is trained on, see `segmenter_clips.validation_clips`."""
    from automedsam_lab.data.segmenter_clips import validation_clips

    clips = []
    for clip in validation_clips(root, size, count=count, shares={"hippocampus": 1.0}).get("hippocampus", []):
        frames = np.round(clip.frames[:, 0].numpy() * 255).astype(np.uint8)
        clips.append(PromptedClip(frames, tight_box(clip.masks[0, 0].numpy() > 0)))
    return clips


def dataset_clips(dataset: Dataset, count: int, frames: int = 6, seed: int = 0) -> list[PromptedClip]:
    """Clips of cases that may select a setting, prompted with the reference box of one label.

    Args:
        dataset: The dataset; see `automedsam_lab.data.dataset.selection_cases`.
        count: Number of clips.
        frames: Maximum number of slices of a clip.
        seed: Random seed of the choice of cases, labels and slices.

    Raises:
        AutoMedSAMError: There are no such cases, or none has an object on two neighbouring slices.
    """
    cases, _ = selection_cases(dataset)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(cases))
    clips: list[PromptedClip] = []
    for position in range(count * len(cases)):
        case = cases[int(order[position % len(cases)])]
        if (clip := _labelled_clip(case.load_frames(), frames, rng)) is not None:
            clips.append(clip)
        if len(clips) == count or (position == len(cases) - 1 and not clips):
            break
    if not clips:
        message = f"No case of {dataset.title} has an object on two neighbouring slices; choose another dataset."
        raise AutoMedSAMError(message)
    return clips


def _labelled_clip(case: CaseFrames, frames: int, rng: np.random.Generator) -> PromptedClip | None:
    """A clip from a random slice of a random label; None if no label is large enough on a slice before the last."""
    areas = {
        int(label): np.count_nonzero(case.labels[:-1] == label, axis=(1, 2))
        for label in np.unique(case.labels)
        if label
    }
    starts = {label: found for label, area in areas.items() if len(found := np.flatnonzero(area >= _SMALLEST_OBJECT))}
    if not starts:
        return None
    label = int(rng.choice(list(starts)))
    start = int(rng.choice(starts[label]))
    box = tight_box(case.labels[start] == label)
    return PromptedClip(np.ascontiguousarray(case.frames[start : start + frames]), box)


def _brightest_component(image: NDArray[np.uint8]) -> Box | None:
    """A tight box around the largest connected area above the 80th percentile of what is not black.

    Where more than a fifth is at the window's upper end, that is the area.
    """
    from scipy import ndimage

    if not image.any():
        return None
    dark = min(float(np.percentile(image[image > 0], 80)), float(image.max()) - 1)
    areas, found = ndimage.label(image > dark)
    return tight_box(areas == 1 + int(np.bincount(areas.ravel())[1:].argmax())) if found else None
