"""SAM 2 over the slices of a volume: a prompt on one slice becomes masks on all that the object reaches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box
from automedsam.core.resize import resize_linear
from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.click_correction import correct_by_clicks
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
from automedsam.sam2.prompt_shapes import CropBox, bounding_box, filled_box, square
from automedsam.sam2.walk_memo import TrackedSlice, WalkMemo, walk_key

__all__ = ["CropBox", "Prompt", "Sam2Segmenter", "SegmenterSettings", "VideoSegmenter"]

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
STABILITY_DELTA, STABILITY_THRESHOLD = 0.05, 0.98
EMBEDDING_BYTES = 400_000_000

# Squares round a click, in shares of the longer side of what the network sees, from which a network that knows nothing
# but boxes is asked; the one that it rates best counts.
_SQUARES = (0.05, 0.08, 0.13, 0.2, 0.33, 0.5)
# The logits of a mask that a user gave: more certain than any network's.
_GIVEN_LOGIT = np.float32(1000)


class Prompt(NamedTuple):
    """A prompt in native pixels of its slice: a box or a mask, and points that refine it; or points alone.

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
        """Adds a prompt; nothing is computed yet. A mask is the result on its slice, wherever tracking starts."""
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
        box_as_mask: whether a box is also shown filled, as a mask prompt; the starter models were trained so.
        knows_points: whether the network was trained with clicks; others get them as a correction of the mask, and
            so do clicks beside a box that is shown filled.
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
    knows_points: bool = True
    max_empty_slices: int = 3
    memories: int | None = None
    memory_stride: int = 1

    @classmethod
    def of(
        cls,
        architecture: Sam2Architecture,
        *,
        box_as_mask: bool = False,
        knows_points: bool | None = None,
        memories: int | None = None,
        memory_stride: int = 1,
    ) -> SegmenterSettings:
        """How a network is run; one with filled boxes saw nothing else, unless `knows_points` differs from that."""
        return cls(
            image_size=architecture.image_size,
            num_maskmem=architecture.num_maskmem,
            max_pointers=architecture.max_obj_ptrs_in_encoder,
            multimask=architecture.multimask,
            box_as_mask=box_as_mask,
            knows_points=not box_as_mask if knows_points is None else knows_points,
            memories=memories,
            memory_stride=memory_stride,
        )

    def shows_points_with(self, box: Box | None) -> bool:
        """Whether clicks are shown to the network; one that sees boxes filled never saw clicks beside them."""
        return self.knows_points and not (self.box_as_mask and box is not None)

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
        kept_slices: of how many slices the results are kept for another call of `propagate`.

    Attributes:
        scores: by slice the network's own estimate of its last mask there, 0 to 1; 1 for a mask that was given.
    """

    def __init__(
        self,
        networks: Sam2Networks,
        settings: SegmenterSettings,
        slices: NDArray[np.uint8],
        region: CropBox | None = None,
        kept_slices: int = 0,
    ) -> None:
        self._networks, self._settings, self._slices = networks, settings, slices
        self._region = region or CropBox(0, 0, *slices.shape[-2:])
        self._prompts: dict[int, dict[int, Prompt]] = {}
        self._embeddings: dict[int, ImageEmbedding] = {}
        self.encoded_slices = 0
        self.scores: dict[int, float] = {}
        self._memo = WalkMemo(kept_slices)

    def prompt(self, frame: int, obj: int, prompt: Prompt) -> None:
        self._prompts.setdefault(obj, {})[frame] = prompt

    def forget(self, obj: int) -> None:
        """Forgets the prompts of an object; image embeddings stay."""
        self._prompts.pop(obj, None)

    def propagate(self, obj: int, seed: int, first: int, last: int) -> Iterator[tuple[int, Floats]]:
        settings, prompts = self._settings, self._prompts[obj]
        bank = MemoryBank(
            settings.num_maskmem,
            settings.max_pointers,
            len(self._slices),
            memories=settings.memories or settings.num_maskmem,
            stride=settings.memory_stride,
        )
        keys = {at: walk_key(at, *one) for at, one in sorted(prompts.items())}
        given = {at: keys[at] for at, one in prompts.items() if at == seed or one.mask is not None}
        # Computed once, also where nothing is kept.
        conditioned = {
            at: self._walked(at, key, partial(self._condition, at, prompts[at])) for at, key in given.items()
        }
        bank.conditioning.update({at: found.memory for at, found in conditioned.items()})
        yield seed, conditioned[seed].logits
        for step, end in ((1, last), (-1, first)):
            bank.start_direction()
            empty, history = 0, walk_key(seed, step, sorted(given.items()))
            for index in range(seed + step, end + step, step):
                if index in conditioned:
                    found = conditioned[index]
                else:
                    history = walk_key(history, index, keys.get(index))
                    track = partial(self._track, index, step, bank, prompts.get(index))
                    found = self._walked(index, history, track)
                    bank.tracked[index] = found.memory
                logits = found.logits
                bank.prune(index, step)
                yield index, logits
                empty = 0 if bool((logits > 0).any()) else empty + 1
                if empty >= settings.max_empty_slices and not any((at - index) * step > 0 for at in prompts):
                    break

    def _walked(self, index: int, key: str, compute: Callable[[], tuple[Floats, Memory]]) -> TrackedSlice:
        def computed() -> TrackedSlice:
            logits, memory = compute()
            return TrackedSlice(logits, memory, self.scores[index])

        found = self._memo.get(key, computed)
        self.scores[index] = found.score
        return found

    def drop_embeddings(self) -> None:
        """Gives the memory of the image embeddings back."""
        self._embeddings.clear()

    def find_box(self, index: int, point: tuple[float, float]) -> Box:
        """The box of what a single click on the object means, found without any memory.

        A network that was trained with clicks answers it by its mask. Another is asked with squares of several sizes
        round the click, and the mask that it rates best, among those that hold the click, counts.

        Args:
            index: the slice.
            point: x and y in native pixels, within the region.

        Returns:
            The bounding box of the mask's connected part that holds the click; if there is none, a square round it.
        """
        from scipy.ndimage import label

        x, y = int(point[0]), int(point[1])
        region = self._region
        half = max(region.bottom - region.top, region.right - region.left) / 2
        squares = [square(point, share * half, region) for share in _SQUARES]
        clicked = Prompt(points=np.array([[*point, 1]], np.float32))
        asked = [clicked] if self._settings.knows_points else [Prompt(box=box) for box in squares]
        best, found = -1.0, squares[len(squares) // 2]
        for prompt in asked:
            decoded = self._decode_alone(self._embed(index), prompt)
            logits, _, score = self._select_mask(decoded, among_three=self._settings.multimask and len(asked) == 1)
            parts, _ = label(self._native(logits) > 0)
            if score > best and parts[y, x]:
                best, found = score, bounding_box(parts == parts[y, x])
        return found

    def _condition(self, index: int, prompt: Prompt) -> tuple[Floats, Memory]:
        embedding = self._embed(index)
        if prompt.mask is not None:
            return self._condition_on_mask(index, embedding, prompt.mask, prompt.points)
        decoded = self._decode_alone(embedding, prompt)
        clicks = 0 if prompt.points is None or prompt.box is not None else len(prompt.points)
        among_three = self._settings.multimask and clicks == 1
        logits, pointer, self.scores[index] = self._select_mask(decoded, among_three=among_three)
        native, logits = self._corrected(index, logits, prompt)
        memory = self._networks.remember(embedding.features, logits, decoded.object_score_logits, binarise=True)
        return native, Memory(_bfloat16(memory), pointer)

    def _decode_alone(self, embedding: ImageEmbedding, prompt: Prompt) -> MaskPrediction:
        """The decoder's answer to a prompt, without memories."""
        asked = self._decoder_prompt(prompt)
        return self._networks.decode(embedding.features, embedding, asked, memory_conditioned=False)

    def _condition_on_mask(
        self, index: int, embedding: ImageEmbedding, mask: NDArray[np.bool_], points: NDArray[np.float32] | None
    ) -> tuple[Floats, Memory]:
        """A given mask is the answer itself; the decoder only makes its pointer (SAM 2, `_use_mask_as_output`)."""
        if points is not None:
            certain = np.where(mask, _GIVEN_LOGIT, -_GIVEN_LOGIT)
            mask = self._clicked(index, certain[self._window], points) > 0
        side = self._settings.image_size
        shown = (resize_linear(mask[self._window], (side, side)) >= 0.5).astype(np.float32)[None, None]
        none = DecoderPrompt(np.zeros((1, 1, 2), np.float32), np.full((1, 1), NO_POINT_LABEL, np.int32), shown)
        decoded = self._networks.decode(embedding.features, embedding, none, memory_conditioned=True)
        logits = resize_linear(shown * 20 - 10, (side // 4, side // 4))
        presence = np.full((1, 1), 10.0 if shown.any() else -10.0, np.float32)
        memory = self._networks.remember(embedding.features, logits, presence, binarise=True)
        self.scores[index] = 1.0
        # Shown to the user as it was given, to the pixel: not as the network's grid has it.
        native = np.where(mask, _GIVEN_LOGIT, -_GIVEN_LOGIT)
        return native, Memory(_bfloat16(memory), decoded.object_pointers[:, 0])

    def _track(self, index: int, step: int, bank: MemoryBank, prompt: Prompt | None) -> tuple[Floats, Memory]:
        """One slice in the light of the memories, and of a further prompt if there is one."""
        embedding = self._embed(index)
        features = self._networks.attend(embedding.features, *bank.recall(index, step))
        shown = prompt is not None and (prompt.box is not None or self._settings.knows_points)
        decoder_prompt = self._decoder_prompt(prompt) if prompt is not None and shown else self._empty_prompt()
        decoded = self._networks.decode(features, embedding, decoder_prompt, memory_conditioned=True)
        among_three = self._settings.multimask and not shown
        logits, pointer, self.scores[index] = self._select_mask(decoded, among_three=among_three)
        native, logits = self._corrected(index, logits, prompt)
        presence, binarise = decoded.object_score_logits, prompt is not None
        memory = self._networks.remember(embedding.features, logits, presence, binarise=binarise)
        return native, Memory(_bfloat16(memory), pointer)

    def _corrected(self, index: int, logits: Floats, prompt: Prompt | None) -> tuple[Floats, Floats]:
        """Native and network's logits; by the clicks of a prompt if the network could not be shown them."""
        native = self._native(logits)
        if prompt is None or prompt.points is None or self._settings.shows_points_with(prompt.box):
            return native, logits
        native = self._clicked(index, native[self._window], prompt.points)
        fine = resize_linear(native[self._window].clip(-10, 10), (logits.shape[2], logits.shape[3]))
        return native, fine[None, None]

    def _clicked(self, index: int, logits: Floats, points: NDArray[np.float32]) -> Floats:
        """Native logits, from those of the region and the clicks."""
        shifted = points - np.array([self._region.left, self._region.top, 0], np.float32)
        full = np.full(self._slices.shape[-2:], NO_OBJECT_LOGIT, np.float32)
        seen = self._slices[index][..., *self._window]
        gray = seen if seen.ndim == 2 else np.rint(seen.mean(0)).astype(np.uint8)
        full[self._window] = correct_by_clicks(logits, gray, shifted)
        return full

    def _select_mask(self, decoded: MaskPrediction, *, among_three: bool) -> tuple[Floats, Floats, float]:
        """The mask, its pointer and its estimated IoU: the best of three, or the single one unless it is unstable.

        `MaskDecoder._dynamic_multimask_via_stability` of SAM 2; the pointer stays the single mask's there.
        """
        scores = decoded.iou_predictions[0].clip(0, 1)
        best = 1 + int(decoded.iou_predictions[0, 1:].argmax())
        if among_three:
            return decoded.logits[:, best : best + 1], decoded.object_pointers[:, best], float(scores[best])
        single, score = decoded.logits[:, :1], float(scores[0])
        if self._settings.multimask:
            wide = int((single > -STABILITY_DELTA).sum())
            narrow = int((single > STABILITY_DELTA).sum())
            if wide and narrow / wide < STABILITY_THRESHOLD:
                single, score = decoded.logits[:, best : best + 1], float(scores[best])
        return single, decoded.object_pointers[:, 0], score

    def _decoder_prompt(self, prompt: Prompt) -> DecoderPrompt:
        """A box or points in pixels of the network's input."""
        region, side = self._region, self._settings.image_size
        scale = np.array([side / (region.right - region.left), side / (region.bottom - region.top)], np.float32)
        corner = np.array([region.left, region.top], np.float32)
        corners, labels, filled = np.zeros((0, 2), np.float32), np.zeros(0, np.int32), None
        if prompt.box is not None:
            corners = (np.array(prompt.box.corners, np.float32).reshape(2, 2) - corner) * scale
            labels = np.array(BOX_CORNER_LABELS, np.int32)
            filled = filled_box(corners, side) if self._settings.box_as_mask else None
        if prompt.points is not None and (prompt.box is None or self._settings.shows_points_with(prompt.box)):
            corners = np.concatenate([corners, (prompt.points[:, :2] - corner) * scale])
            labels = np.concatenate([labels, prompt.points[:, 2].astype(np.int32)])
        if not len(labels):
            message = "A prompt needs a box, points or a mask."
            raise ValueError(message)
        return DecoderPrompt(corners[None].astype(np.float32), labels[None], filled)

    def _empty_prompt(self) -> DecoderPrompt:
        return DecoderPrompt(np.zeros((1, 1, 2), np.float32), np.full((1, 1), NO_POINT_LABEL, np.int32))

    def _embed(self, index: int) -> ImageEmbedding:
        """The image embedding of a slice, computed once however many objects ask."""
        if index not in self._embeddings:
            side = self._settings.image_size
            image = resize_linear(self._slices[index][..., *self._window], (side, side)) / np.float32(255)
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
        full[self._window] = resize_linear(logits[0, 0], size, antialias=False)
        return full

    @property
    def _window(self) -> tuple[slice, slice]:
        region = self._region
        return slice(region.top, region.bottom), slice(region.left, region.right)


def _bfloat16(values: Floats) -> Floats:
    """Rounds to bfloat16, as SAM 2's predictor stores its memories (round half to even)."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32)
