"""Batches of a distillation: images, prompts, references where there are any, and what the teacher made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from automedsam_lab.distillation.augmentation import OUTSIDE_LOGIT, Move, draw_move, vary_intensity
from automedsam_lab.distillation.pack import SIDE, Pack, tight_box, unit_range
from automedsam_lab.distillation.prompts import jitter_box, points_in
from automedsam_lab.distillation.targets import LOGIT_SIDE, PROMPTS, Targets
from automedsam_lab.models.student.network import NO_POINT, Prompts, filled_boxes

PER_IMAGE, POINTS = 2, 3
MASK_SIDE = 128
EXACT_SHARE, WIDE_SHARE, WIDE_JITTER = 0.4, 0.2, 0.2
POINTS_SHARE, NEGATIVE_SHARE = 0.4, 0.3
# Sets are drawn by this power of their size: the largest would else be nearly all that is seen.
BALANCE = 0.5


@dataclass(frozen=True)
class Batch:
    """B images with two prompts each, n = 2 B; weights of 0 mark what is not known.

    Attributes:
        images: `(B, 3, 256, 256)` in 0..1.
        prompts: of n objects.
        masks: `(n, 128, 128)` references in 0..1.
        mask_weight: `(n,)`.
        logits: `(n, 64, 64)` of the teacher.
        logit_weight: `(n,)`, how far the teacher is trusted.
        embedding: `(B, 256, 32, 32)` of the teacher.
        attention: `(B, 32, 32)` of the teacher.
        map_weight: `(B,)` of `embedding` and `attention`.
    """

    images: Tensor
    prompts: Prompts
    masks: Tensor
    mask_weight: Tensor
    logits: Tensor
    logit_weight: Tensor
    embedding: Tensor
    attention: Tensor
    map_weight: Tensor


@dataclass
class _Prompt:
    """One prompt with what is known of its object."""

    box: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None
    labels: tuple[int, ...] = ()
    mask: Tensor | None = None
    logits: Tensor | None = None
    trust: float = 0.0


class BatchSource:
    """Draws batches; that of a step depends on the step, the seed and the targets that are there, on nothing before it.

    Args:
        pack: the images.
        rows: those that are drawn.
        targets: of the teacher; None teaches from references alone.
        seed: of all chance.
        augment: move images and vary their intensities.
    """

    def __init__(
        self, pack: Pack, rows: Sequence[int], targets: Targets | None, *, seed: int = 0, augment: bool = True
    ) -> None:
        self.pack, self.rows, self.targets, self.seed, self.augment = pack, np.array(rows), targets, seed, augment
        names, index = np.unique([pack.images[row].set for row in rows], return_inverse=True)
        sizes = np.bincount(index, minlength=len(names))
        chance = sizes[index] ** (BALANCE - 1.0)
        self._chance = chance / chance.sum()

    def batch(self, step: int, size: int) -> Batch:
        """The batch of a step."""
        rng = np.random.default_rng((self.seed, step))
        drawn = rng.choice(self.rows, size, p=self._chance)
        samples = [self._sample(int(row), rng) for row in drawn]
        images, prompts, maps = zip(*samples, strict=True)
        flat = [one for some in prompts for one in some]
        embedding, attention, weight = zip(*maps, strict=True)
        masks = [torch.zeros(MASK_SIDE, MASK_SIDE) if one.mask is None else one.mask for one in flat]
        logits = [torch.zeros(LOGIT_SIDE, LOGIT_SIDE) if one.logits is None else one.logits for one in flat]
        return Batch(
            torch.stack(images),
            _stacked(flat),
            torch.stack(masks),
            torch.tensor([float(one.mask is not None) for one in flat]),
            torch.stack(logits),
            torch.tensor([one.trust for one in flat]),
            torch.stack(embedding),
            torch.stack(attention),
            torch.tensor(weight),
        )

    def _sample(self, row: int, rng: np.random.Generator) -> tuple[Tensor, list[_Prompt], tuple[Tensor, Tensor, float]]:
        described = self.pack.images[row]
        image = torch.from_numpy(unit_range(self.pack.pixels[row], described.content))
        masks = torch.from_numpy(self.pack.masks(row)).float()
        move = draw_move(rng, described.content) if self.augment else Move()
        moved = move.apply(torch.cat([image, masks])[None])[0]
        image, masks = moved[:3], moved[3:] > 0.5
        if self.augment:
            image = vary_intensity(image, rng)
        known = self.targets is not None and bool(self.targets.done[row])
        prompts: list[_Prompt] = []
        if known:
            prompts.append(self._taught(row, rng, move, masks))
        objects = [mask for mask in masks if mask.any()]
        while len(prompts) < PER_IMAGE:
            if not objects:
                # Nothing is known of another prompt; the first once more keeps the shape.
                prompts.append(prompts[0] if prompts else _Prompt(box=np.array([0, 0, SIDE, SIDE], np.float32)))
                continue
            mask = objects[int(rng.integers(len(objects)))]
            draw = self._points if len(prompts) == PER_IMAGE - 1 and rng.random() < POINTS_SHARE else self._box
            prompts.append(draw(mask, rng))
        return image, prompts, self._maps(row, known and move.is_identity)

    def _taught(self, row: int, rng: np.random.Generator, move: Move, masks: Tensor) -> _Prompt:
        """A box whose mask the teacher has drawn."""
        assert self.targets is not None
        which = int(rng.integers(PROMPTS))
        found = int(self.targets.objects[row, which])
        logits = torch.from_numpy(self.targets.logits[row, which].astype(np.float32))
        logits = move.apply(logits[None, None], OUTSIDE_LOGIT)[0, 0]
        box = move.boxes(np.array(self.targets.boxes[row, which])[None])[0]
        # Of a box that has moved out of the frame, or nearly so, nothing can be learnt.
        visible = bool((box[2:] - box[:2] >= 4).all())
        mask = _small(masks[found]) if found >= 0 and visible and masks[found].any() else None
        return _Prompt(box, mask=mask, logits=logits, trust=self.targets.kd_weight(row, which) if visible else 0.0)

    def _box(self, mask: Tensor, rng: np.random.Generator) -> _Prompt:
        exact = tight_box(mask.numpy())
        if (chance := rng.random()) < EXACT_SHARE:
            return _Prompt(exact.astype(np.float32), mask=_small(mask))
        share = {"share": WIDE_JITTER} if chance > 1 - WIDE_SHARE else {}
        return _Prompt(jitter_box(exact, rng, (SIDE, SIDE), **share), mask=_small(mask))

    def _points(self, mask: Tensor, rng: np.random.Generator) -> _Prompt:
        count = int(rng.integers(1, POINTS))
        points, labels = points_in(mask.numpy(), rng, count), (1,) * count
        if rng.random() < NEGATIVE_SHARE and not mask.all():
            points, labels = np.concatenate([points, points_in(~mask.numpy(), rng, 1)]), (*labels, 0)
        return _Prompt(points=points[:POINTS], labels=labels[:POINTS], mask=_small(mask))

    def _maps(self, row: int, known: bool) -> tuple[Tensor, Tensor, float]:
        if not known or self.targets is None:
            return torch.zeros(256, 32, 32), torch.zeros(32, 32), 0.0
        read = (self.targets.embeddings[row], self.targets.attention[row])
        embedding, attention = (torch.from_numpy(one.astype(np.float32)) for one in read)
        return embedding, attention, 1.0


def _small(mask: Tensor) -> Tensor:
    return F.avg_pool2d(mask[None].float(), SIDE // MASK_SIDE)[0]


def _stacked(prompts: Sequence[_Prompt]) -> Prompts:
    """Boxes as two corners, a filled mask and points that are none; points as they are."""
    points = np.zeros((len(prompts), POINTS, 2), np.float32)
    labels = np.full((len(prompts), POINTS), NO_POINT, np.int32)
    boxes = np.zeros((len(prompts), 4), np.float32)
    for place, prompt in enumerate(prompts):
        if prompt.box is not None:
            points[place, :2], labels[place, :2], boxes[place] = prompt.box.reshape(2, 2), (2, 3), prompt.box
        elif prompt.points is not None:
            points[place, : len(prompt.points)], labels[place, : len(prompt.labels)] = prompt.points, prompt.labels
    has_box = torch.tensor([float(prompt.box is not None) for prompt in prompts])
    filled = filled_boxes(torch.from_numpy(boxes))[:, None]
    return Prompts(torch.from_numpy(points), torch.from_numpy(labels), filled, has_box)
