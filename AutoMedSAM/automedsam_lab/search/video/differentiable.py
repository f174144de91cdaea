"""Differentiable search of the video part.

As in the search of the encoder, network weights learn on one half of the training patients and architecture weights on
the other, in first order. A video model is recurrent, so that a mixture of two of its widths, depths or memories has no
meaning within it; instead their losses are mixed. An architecture step takes one of the three numbers in turn, draws
the two others, runs all options of it on the same clips, and weights their losses by a Gumbel-softmax of their logits:
the gradient compares the options, and no network has to be differentiated for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.clips import Clip
from automedsam_lab.search.differentiable import SearchSettings, StagedSearch, gumbel
from automedsam_lab.search.video.clips import FRAMES, VideoData, clips_of_step
from automedsam_lab.search.video.space import VideoChoice, VideoCosts, VideoSpace
from automedsam_lab.search.video.supernet import VideoSupernet
from automedsam_lab.training.segmenter.clip_run import Prompting, run_clips

WEIGHTS, ARCHITECTURE = 0, 1


class VideoWeights(nn.Module):
    """Logits of the options of each number, equal at the beginning."""

    def __init__(self, costs: VideoCosts) -> None:
        super().__init__()
        self._options = costs.space.options
        self.logits = nn.ParameterList(nn.Parameter(torch.zeros(len(one))) for one in self._options)
        self._costs = torch.from_numpy(costs.values).float()

    def probabilities(self) -> list[Tensor]:
        """Of the options of each number."""
        return [one.softmax(0) for one in self.logits]

    def expected_cost(self) -> Tensor:
        """Of a video part that is drawn by the probabilities."""
        return torch.einsum("ijk,i,j,k->", self._costs, *self.probabilities())

    def entropy(self) -> Tensor:
        """The mean entropy of all numbers, as a share of that of a uniform choice."""
        every = [one for one in self.probabilities() if len(one) > 1]
        return torch.stack([-(one * one.clamp(min=1e-9).log()).sum() / math.log(len(one)) for one in every]).mean()

    def gumbel_softmax(self, number: int, temperature: float, generator: torch.Generator) -> Tensor:
        """Noisy weights of the options of a number; their sum is 1."""
        logits = self.logits[number]
        return ((logits + gumbel(len(logits), generator)) / temperature).softmax(0)

    def draw(self, generator: torch.Generator) -> VideoChoice:
        """A video part by the probabilities."""
        drawn = [int(torch.multinomial(one.detach(), 1, generator=generator)) for one in self.probabilities()]
        return VideoChoice(*(one[index] for one, index in zip(self._options, drawn, strict=True)))


class VideoSearch(StagedSearch):
    """A search of the video part in progress.

    Args:
        data: the clips.
        costs: of the space.
        settings: how; a batch is of clips, and numbers are computed in 32 bits.
        trunk: weights of the image encoder's trunk, random if None.
        frames: of a clip.
    """

    parts = ("supernet", "weights", "optimiser", "architecture")

    def __init__(
        self,
        data: VideoData,
        costs: VideoCosts,
        settings: SearchSettings,
        trunk: Mapping[str, Tensor] | None = None,
        frames: int = FRAMES,
    ) -> None:
        super().__init__(settings)
        torch.manual_seed(settings.seed)
        self.costs, self.halves, self.frames = costs, data.halves(settings.seed), frames
        self.supernet = VideoSupernet(costs.space, trunk).train()
        self.weights = VideoWeights(costs)
        self.parameters = [one for one in self.supernet.parameters() if one.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, settings.rate, weight_decay=0.02)
        self.architecture = torch.optim.Adam(self.weights.parameters(), settings.architecture_rate, betas=(0.5, 0.999))

    def warm_up(self) -> None:
        self.train_weights(fair_choice(self.costs.space, self.step, self.settings.seed))

    def search(self, phase: float) -> None:
        self.train_weights(self.weights.draw(self.generator))
        self.train_architecture(phase)

    def train_weights(self, choice: VideoChoice) -> None:
        """One step of the weights of a single video part."""
        loss = self.loss(choice, self.clips(WEIGHTS, self.step))
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()

    def train_architecture(self, phase: float) -> None:
        """One step of the logits of one number."""
        number = self.step % len(self.costs.space.options)
        clips, drawn = self.clips(ARCHITECTURE, self.step), self.weights.draw(self.generator)
        field, options = drawn._fields[number], self.costs.space.options[number]
        with torch.no_grad():
            losses = torch.stack([self.loss(drawn._replace(**{field: option}), clips) for option in options])
        # About their mean, since Adam would take the rounding of equal losses for a gradient.
        mixed = self.weights.gumbel_softmax(number, self.temperature(phase), self.generator) @ (losses - losses.mean())
        task = mixed + losses.mean()
        loss = self.regularized(phase, task, self.weights.expected_cost(), self.weights.entropy())
        self.architecture.zero_grad()
        loss.backward()
        self.architecture.step()

    def clips(self, half: int, step: int) -> list[Clip]:
        """Clips of one half of the patients, the same for each step."""
        settings, size = self.settings, self.costs.space.image_size
        return clips_of_step(self.halves[half], (settings.seed, half, step), settings.batch, self.frames, size)

    def loss(self, choice: VideoChoice, clips: list[Clip]) -> Tensor:
        """The loss of a video part on clips, whose prompts are the same for all."""
        rng = np.random.default_rng((self.settings.seed, self.step))
        loss = run_clips(self.supernet.path(choice), clips, rng, prompting=Prompting()).loss
        if not bool(loss.isfinite()):
            message = f"The loss is not finite at step {self.step}: the search diverged; give another --seed."
            raise AutoMedSAMError(message)
        return loss

    def state(self) -> dict[str, Any]:
        self.supernet.open_all()
        return super().state()

    def restore(self, state: dict[str, Any]) -> None:
        self.supernet.open_all()
        super().restore(state)


def fair_choice(space: VideoSpace, turn: int, seed: int) -> VideoChoice:
    """Video parts by turn: all of the space, in random order, before one comes again."""
    rng = np.random.default_rng((seed, turn // len(space.choices)))
    return space.choices[int(rng.permutation(len(space.choices))[turn % len(space.choices)])]
