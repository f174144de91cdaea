"""SAM 2 over the slices of a volume: a prompt on one slice becomes masks on all that the object reaches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box
from automedsam.core.resize import resize_linear
from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.memory_bank import Memory, MemoryBank
from automedsam.sam2.networks import (
    BOX_CORNER_LABELS,
    NO_OBJECT_LOGIT,
    NO_POINT_LABEL,
    DecoderPrompt,
    Floats,
    ImageEmbedding,
    MaskPrediction,
    Sam2Networks,
)

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
STABILITY_DELTA, STABILITY_THRESHOLD = 0.05, 0.98
EMBEDDING_BYTES = 400_000_000


class CropBox(NamedTuple):
    """The part of every slice that the network sees: half-open rows and columns in native pixels."""

    top: int
    left: int
    bottom: int
    right: int


class Prompt(NamedTuple):
    """A prompt in native pixels of its slice: exactly one of a box, points or a mask.

    Attributes:
        box: a rectangle.
        points: `(P, 3)` rows of x, y and 1 (on the object) or 0 (off it).
        mask: `(H, W)` bool.
    """

    box: Box | None = None
    points: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None


class VideoSegmenter(Protocol):
    """Follows prompted objects through slices. Objects are named by integers of the caller's choice."""

    def prompt(self, frame: int, obj: int, prompt: Prompt) -> None:
        """Adds a prompt; nothing is computed yet."""
        ...

    def propagate(self, obj: int, seed: int, first: int, last: int) -> Iterator[tuple[int, Floats]]:
        """Yields `(slice, logits (H, W))`: the seed, then upwards to `last`, then downwards to `first`.

        The object is where the logits are above 0. Slices after the object's end may be left out.
        """
        ...


@dataclass(frozen=True)
class SegmenterSettings:
    """How a bundle's SAM 2 is run.

    Attributes:
        image_size: side S of the network's square input, in pixels.
        num_maskmem: memories that the model was trained with, the conditioning one included.
        max_pointers: object pointers.
        multimask: whether ambiguous prompts and tracking choose among three masks, as Meta's checkpoints do.
        box_as_mask: whether a box is also shown filled, as a mask prompt; the starter model was trained so.
        max_empty_slices: propagation stops after this many slices in a row without the object.
        memories: how many a slice attends to, the conditioning one included; all of `num_maskmem` if None. Time
            grows with them.
        memory_stride: slices between the remembered ones, but for the last slice, which is always remembered.

    Raises:
        AutoMedSAMError: if there are more memories than the model was trained with, or less than one.
    """

    image_size: int
    num_maskmem: int
    max_pointers: int
    multimask: bool
    box_as_mask: bool = False
    max_empty_slices: int = 3
    memories: int | None = None
    memory_stride: int = 1

    @classmethod
    def of(
        cls,
        architecture: Sam2Architecture,
        *,
        box_as_mask: bool = False,
        memories: int | None = None,
        memory_stride: int = 1,
    ) -> SegmenterSettings:
        """How a network is run; the rest as the bundle has it."""
        return cls(
            image_size=architecture.image_size,
            num_maskmem=architecture.num_maskmem,
            max_pointers=architecture.max_obj_ptrs_in_encoder,
            multimask=architecture.multimask,
            box_as_mask=box_as_mask,
            memories=memories,
            memory_stride=memory_stride,
        )

    def __post_init__(self) -> None:
        if self.memories is not None and not 1 <= self.memories <= self.num_maskmem:
            most = self.num_maskmem
            message = f"The segmenter knows {most} memories: use 1 to {most}, not {self.memories}."
            raise AutoMedSAMError(message)
        if self.memory_stride < 1:
            message = f"A memory every {self.memory_stride} slices cannot be kept: choose a stride of 1 or more."
            raise AutoMedSAMError(message)


class Sam2Segmenter:
    """A `VideoSegmenter` on the parts of any backend.

    Args:
        networks: the networks.
        settings: how the bundle's model is run.
        slices: `(N, H, W)` uint8 gray levels, or `(N, 3, H, W)` where each input channel has its own image.
        region: what the network sees; the whole slice if None.
    """

    def __init__(
        self,
        networks: Sam2Networks,
        settings: SegmenterSettings,
        slices: NDArray[np.uint8],
        region: CropBox | None = None,
    ) -> None:
        self._networks, self._settings, self._slices = networks, settings, slices
        self._region = region or CropBox(0, 0, *slices.shape[-2:])
        self._prompts: dict[int, dict[int, Prompt]] = {}
        self._embeddings: dict[int, ImageEmbedding] = {}
        self.encoded_slices = 0

    def prompt(self, frame: int, obj: int, prompt: Prompt) -> None:
        self._prompts.setdefault(obj, {})[frame] = prompt

    def propagate(self, obj: int, seed: int, first: int, last: int) -> Iterator[tuple[int, Floats]]:
        settings, prompts = self._settings, self._prompts[obj]
        bank = MemoryBank(
            settings.num_maskmem,
            settings.max_pointers,
            len(self._slices),
            memories=settings.memories or settings.num_maskmem,
            stride=settings.memory_stride,
        )
        logits, memory = self._condition(seed, prompts[seed])
        bank.conditioning[seed] = memory
        yield seed, self._native(logits)
        for step, end in ((1, last), (-1, first)):
            bank.start_direction()
            empty = 0
            for index in range(seed + step, end + step, step):
                logits, memory = self._track(index, step, bank, prompts.get(index))
                bank.tracked[index] = memory
                bank.prune(index, step)
                yield index, self._native(logits)
                empty = 0 if bool((logits > 0).any()) else empty + 1
                if empty >= settings.max_empty_slices and not any((at - index) * step > 0 for at in prompts):
                    break

    def _condition(self, index: int, prompt: Prompt) -> tuple[Floats, Memory]:
        embedding = self._embed(index)
        if prompt.mask is not None:
            return self._condition_on_mask(embedding, prompt.mask)
        decoded = self._networks.decode(
            embedding.features, embedding, self._decoder_prompt(prompt), memory_conditioned=False
        )
        clicks = 0 if prompt.points is None else len(prompt.points)
        logits, pointer = self._select_mask(decoded, among_three=self._settings.multimask and clicks == 1)
        memory = self._networks.remember(embedding.features, logits, decoded.object_score_logits, binarise=True)
        return logits, Memory(_bfloat16(memory), pointer)

    def _condition_on_mask(self, embedding: ImageEmbedding, mask: NDArray[np.bool_]) -> tuple[Floats, Memory]:
        """A given mask is the answer itself; the decoder only makes its pointer (SAM 2, `_use_mask_as_output`)."""
        side = self._settings.image_size
        cropped = mask[self._region.top : self._region.bottom, self._region.left : self._region.right]
        shown = (resize_linear(cropped, (side, side)) >= 0.5).astype(np.float32)[None, None]
        none = DecoderPrompt(np.zeros((1, 1, 2), np.float32), np.full((1, 1), NO_POINT_LABEL, np.int32), shown)
        decoded = self._networks.decode(embedding.features, embedding, none, memory_conditioned=True)
        logits = resize_linear(shown * 20 - 10, (side // 4, side // 4))
        presence = np.full((1, 1), 10.0 if shown.any() else -10.0, np.float32)
        memory = self._networks.remember(embedding.features, logits, presence, binarise=True)
        return logits, Memory(_bfloat16(memory), decoded.object_pointers[:, 0])

    def _track(self, index: int, step: int, bank: MemoryBank, prompt: Prompt | None) -> tuple[Floats, Memory]:
        """One slice in the light of the memories, and of a further prompt if there is one."""
        embedding = self._embed(index)
        features = self._networks.attend(embedding.features, *bank.recall(index, step))
        prompted = prompt is not None and prompt.mask is None
        decoder_prompt = self._decoder_prompt(prompt) if prompted and prompt is not None else self._empty_prompt()
        decoded = self._networks.decode(features, embedding, decoder_prompt, memory_conditioned=True)
        logits, pointer = self._select_mask(decoded, among_three=self._settings.multimask and not prompted)
        memory = self._networks.remember(embedding.features, logits, decoded.object_score_logits, binarise=prompted)
        return logits, Memory(_bfloat16(memory), pointer)

    def _select_mask(self, decoded: MaskPrediction, *, among_three: bool) -> tuple[Floats, Floats]:
        """The mask and its pointer: the best of three, or the single one unless it is unstable.

        `MaskDecoder._dynamic_multimask_via_stability` of SAM 2; the pointer stays the single mask's there.
        """
        best = 1 + int(decoded.iou_predictions[0, 1:].argmax())
        if among_three:
            return decoded.logits[:, best : best + 1], decoded.object_pointers[:, best]
        single = decoded.logits[:, :1]
        if self._settings.multimask:
            wide = int((single > -STABILITY_DELTA).sum())
            narrow = int((single > STABILITY_DELTA).sum())
            if wide and narrow / wide < STABILITY_THRESHOLD:
                single = decoded.logits[:, best : best + 1]
        return single, decoded.object_pointers[:, 0]

    def _decoder_prompt(self, prompt: Prompt) -> DecoderPrompt:
        """A box or points in pixels of the network's input."""
        region, side = self._region, self._settings.image_size
        scale = np.array([side / (region.right - region.left), side / (region.bottom - region.top)], np.float32)
        corner = np.array([region.left, region.top], np.float32)
        if prompt.points is not None:
            points = (prompt.points[:, :2] - corner) * scale
            return DecoderPrompt(points[None].astype(np.float32), prompt.points[None, :, 2].astype(np.int32))
        if prompt.box is None:
            message = "A prompt needs a box, points or a mask."
            raise ValueError(message)
        points = (np.array(prompt.box.corners, np.float32).reshape(2, 2) - corner) * scale
        labels = np.array([BOX_CORNER_LABELS], np.int32)
        filled = _filled(points, side) if self._settings.box_as_mask else None
        return DecoderPrompt(points[None].astype(np.float32), labels, filled)

    def _empty_prompt(self) -> DecoderPrompt:
        return DecoderPrompt(np.zeros((1, 1, 2), np.float32), np.full((1, 1), NO_POINT_LABEL, np.int32))

    def _embed(self, index: int) -> ImageEmbedding:
        """The image embedding of a slice, computed once however many objects ask."""
        if index not in self._embeddings:
            side, region = self._settings.image_size, self._region
            seen = self._slices[index, ..., region.top : region.bottom, region.left : region.right]
            image = resize_linear(seen, (side, side)) / np.float32(255)
            # One gray image becomes all three channels.
            embedding = self._networks.encode_image(((image - IMAGENET_MEAN) / IMAGENET_STD)[None])
            self.encoded_slices += 1
            size = sum(part.nbytes for part in embedding)
            while self._embeddings and (len(self._embeddings) + 1) * size > EMBEDDING_BYTES:
                del self._embeddings[next(iter(self._embeddings))]
            self._embeddings[index] = embedding
        return self._embeddings[index]

    def _native(self, logits: Floats) -> Floats:
        """Logits `(H, W)` at native resolution; what the network did not see is not the object."""
        region = self._region
        full = np.full(self._slices.shape[-2:], NO_OBJECT_LOGIT, np.float32)
        size = (region.bottom - region.top, region.right - region.left)
        full[region.top : region.bottom, region.left : region.right] = resize_linear(
            logits[0, 0], size, antialias=False
        )
        return full


def _filled(corners: Floats, side: int) -> Floats:
    """Each pixel's share `(1, 1, S, S)` that lies in a box of corners `(2, 2)` as x, y."""
    edge = np.arange(side, dtype=np.float32)
    share = np.minimum(edge + 1, corners[1][:, None]) - np.maximum(edge, corners[0][:, None])
    columns, rows = np.clip(share, 0, 1)
    filled: Floats = (rows[:, None] * columns[None, :])[None, None].astype(np.float32)
    return filled


def _bfloat16(values: Floats) -> Floats:
    """Rounds to bfloat16, as SAM 2's predictor stores its memories (round half to even)."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32)
