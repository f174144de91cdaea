"""SAM 2's interactive training on clips: prompts on a frame or two, corrections by clicks, memory for the rest.

After Ravi et al. (2024, arXiv:2408.00714, appendix D.2), with the numbers of MedSAM2's published fine-tuning. The
step that sees a clip is a module, so that `DistributedDataParallel` can wrap it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from automedsam_lab.data.clips import normalize
from automedsam_lab.training.segmenter.losses import candidates_loss, hard_dice

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

Points = dict[str, Tensor]


@dataclass(frozen=True)
class Interaction:
    """How a clip is prompted while training.

    Attributes:
        box_share: the probability that a clip is prompted by boxes; else by the masks themselves, as MedSAM2 is run
            (a box on one slice makes the mask that starts the volume). A single frame always has boxes.
        conditioning: prompted frames, at most; 1 to so many are drawn.
        corrected: frames that get correction clicks, at most.
        clicks: on each corrected frame.
        from_gt_probability: the probability that a click is drawn from the object rather than from what was got wrong.
        jitter: a box's corners are off by up to this share of its sides, as in SAM.
    """

    box_share: float = 0.5
    conditioning: int = 2
    corrected: int = 2
    clicks: int = 7
    from_gt_probability: float = 0.1
    jitter: float = 0.1


class Heads(NamedTuple):
    """What SAM 2's heads give for one prompt: candidates `(O, M, ...)`, the chosen mask, its pointer, its presence."""

    low_candidates: Tensor
    candidates: Tensor
    ious: Tensor
    low: Tensor
    high: Tensor
    pointer: Tensor
    presence: Tensor


class ClipStep(nn.Module):
    """A clip's loss.

    Args:
        network: SAM 2, in training mode.
        interaction: how clips are prompted.
    """

    def __init__(self, network: SAM2Base, interaction: Interaction) -> None:
        super().__init__()
        self.network = network
        self._interaction = interaction

    def forward(self, frames: Tensor, masks: Tensor, seed: int) -> Tensor:
        """The terms of the loss, summed over frames and clicks: focal, Dice, IoU, presence and their weighted total.

        Args:
            frames: `(T, 1, S, S)` in 0..1.
            masks: `(T, O, S, S)` bool; every object is on the first frame.
            seed: of what is drawn.

        Returns:
            `(5,)`, of which the last is to be minimised.
        """
        chosen, rng = self._interaction, np.random.default_rng(seed)
        length, device = len(frames), masks.device
        boxes = length == 1 or rng.random() < chosen.box_share
        conditioning = _frames(rng, [0], min(chosen.conditioning, length), length)
        corrected = _frames(rng, conditioning, max(chosen.corrected, len(conditioning)), length) if boxes else []
        losses = torch.zeros(5, device=device)
        walk = _ClipTracker(self.network, frames, masks.shape[1])
        for index in [*conditioning, *(other for other in range(length) if other not in conditioning)]:
            reference = masks[index]
            prompted = index in conditioning
            points = _boxes(reference, chosen.jitter) if prompted and boxes else None
            given = reference[:, None].float() if prompted and not boxes else None
            heads = walk.predict_frame(index, prompted, points, given)
            if given is None:  # a given mask is the answer itself, and teaches nothing
                losses = losses + _terms(heads, reference)
            for _ in range(chosen.clicks if index in corrected else 0):
                wrong = None if rng.random() < chosen.from_gt_probability else heads.high > 0
                points = _with_click(points, reference[:, None], wrong)
                heads = walk.refine(points, heads.low, prompted)
                losses = losses + _terms(heads, reference)
            walk.remember(index, heads, points, conditioning=prompted or index in corrected)
        return losses

    @torch.no_grad()
    def evaluate(self, frames: Tensor, masks: Tensor) -> tuple[float, float]:
        """Mean Dice of the first frame, prompted by exact boxes, and of those that follow; NaN if none do."""
        was_training = self.training
        self.eval()
        walk, dices = _ClipTracker(self.network, frames, masks.shape[1]), []
        for index in range(len(frames)):
            points = _boxes(masks[0], 0.0) if index == 0 else None
            heads = walk.predict_frame(index, index == 0, points, None)
            present = masks[index].flatten(1).any(1).float()
            dices.append(hard_dice(heads.low, masks[index][:, None].float(), present))
            walk.remember(index, heads, points, conditioning=index == 0)
        self.train(was_training)
        later = [dice for dice in dices[1:] if not np.isnan(dice)]
        return dices[0], float(np.mean(later)) if later else float("nan")


class _ClipTracker:
    """One pass through a clip, frame by frame, with what it remembers."""

    def __init__(self, network: SAM2Base, frames: Tensor, objects: int) -> None:
        self._network: Any = network
        self._length, self._objects = len(frames), objects
        features = self._network.forward_image(normalize(frames))
        _, self._vision, self._positions, self._sizes = self._network._prepare_backbone_features(features)
        self._memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        self._output: dict[str, Any] = {}
        self._fine: list[Tensor] | None = None
        self._fused = frames

    def predict_frame(self, index: int, prompted: bool, points: Points | None, given: Tensor | None) -> Heads:
        """A frame in the light of the memory and of a prompt, if there is one."""
        self._output, heads, self._fine, self._fused = self._network._track_step(
            index,
            prompted,
            self._of(self._vision, index),
            self._of(self._positions, index),
            self._sizes,
            points,
            given,
            self._memory,
            self._length,
            False,
            None,
        )
        return Heads(*heads)

    def refine(self, points: Points, low: Tensor, prompted: bool) -> Heads:
        """The same frame once more, with one more click and the mask that it is to correct."""
        return Heads(
            *self._network._forward_sam_heads(
                backbone_features=self._fused,
                point_inputs=points,
                mask_inputs=low,
                high_res_features=self._fine,
                multimask_output=self._network._use_multimask(prompted, points),
            )
        )

    def remember(self, index: int, heads: Heads, points: Points | None, *, conditioning: bool) -> None:
        self._output.update(pred_masks=heads.low, obj_ptr=heads.pointer)
        vision = self._of(self._vision, index)
        self._network._encode_memory_in_output(
            vision, self._sizes, points, True, heads.high, heads.presence, self._output
        )
        self._memory["cond_frame_outputs" if conditioning else "non_cond_frame_outputs"][index] = self._output

    def _of(self, levels: list[Tensor], index: int) -> list[Tensor]:
        """A frame's features `(HW, O, C)`, the same for every object."""
        return [level[:, index : index + 1].expand(-1, self._objects, -1) for level in levels]


def _frames(rng: np.random.Generator, sure: list[int], most: int, length: int) -> list[int]:
    """The sure frames and some others: as many as they are, up to `most`."""
    more = int(rng.integers(0, max(0, min(most, length) - len(sure)) + 1))
    others = [index for index in range(length) if index not in sure]
    return sorted([*sure, *(int(index) for index in rng.permutation(others)[:more])])


def _boxes(masks: Tensor, jitter: float) -> Points:
    """The corners of each object's box; an object that is not on the frame has none, but a padding point."""
    from sam2.modeling.sam2_utils import sample_box_points

    corners, labels = sample_box_points(masks[:, None], noise=jitter)
    absent = ~masks.flatten(1).any(1)
    corners, labels = corners.float(), labels.clone()
    corners[absent], labels[absent] = 0.0, -1
    return {"point_coords": corners, "point_labels": labels}


def _with_click(points: Points | None, reference: Tensor, wrong: Tensor | None) -> Points:
    """One more click of each object where its mask is wrong: on what was missed, or off what was too much."""
    from sam2.modeling.sam2_utils import get_next_point

    coordinates, labels = get_next_point(reference, wrong, "uniform")
    if points is None:
        return {"point_coords": coordinates, "point_labels": labels}
    return {
        "point_coords": torch.cat([points["point_coords"], coordinates], 1),
        "point_labels": torch.cat([points["point_labels"], labels], 1),
    }


def _terms(heads: Heads, reference: Tensor) -> Tensor:
    loss = candidates_loss(heads.candidates.float(), heads.ious.float(), heads.presence.float(), reference)
    return torch.stack([loss.focal, loss.dice, loss.iou, loss.presence, loss.total])
