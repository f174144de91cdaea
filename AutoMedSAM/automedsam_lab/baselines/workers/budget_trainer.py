"""nnU-Net's own training on a budget of computing time instead of a thousand epochs."""

from __future__ import annotations

import csv
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

CHECKPOINT = "training.pt"
LOG = "training.csv"
_POWER = 0.9  # Of nnU-Net's polynomial schedule.


@dataclass
class Budget:
    """Computing time that is used up.

    Attributes:
        minutes: all there is.
        on_cpu: whether it is counted as this process's CPU time, of all threads and ended children; else by the clock.
        before: minutes that were used before this process began.
    """

    minutes: float
    on_cpu: bool
    before: float = 0.0
    _began: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._began = self._now()

    def used(self) -> float:
        """Minutes so far."""
        return self.before + (self._now() - self._began) / 60

    def share(self) -> float:
        """The part that is used, from 0 up; 1 and more is the end."""
        return self.used() / self.minutes

    def _now(self) -> float:
        if not self.on_cpu:
            return time.monotonic()
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system


class BudgetTrainer(nnUNetTrainer):
    """Trains with nnU-Net's network, loss, augmentation and optimizer until a budget is used up.

    The learning rate falls with the used share of the budget as nnU-Net's does with the epochs. The last weights are
    kept, as nnU-Net keeps them, so nothing is selected on the validation patients.
    """

    iterations_an_epoch = 25
    validations_an_epoch = 2
    bfloat16 = False

    def plot_network_architecture(self) -> None:
        """Draws nothing."""

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step, with the network in bfloat16 on a CPU where that is asked for; on a GPU nnU-Net's own."""
        if self.device.type != "cpu":
            return super().train_step(batch)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            outputs = self.network(batch["data"])
        # The sums of the Dice loss are over a whole patch: too long for eight bits.
        loss = self.loss([output.float() for output in outputs], batch["target"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        self.optimizer.step()
        return {"loss": loss.detach().numpy()}

    def run_within(self, budget: Budget, folder: Path) -> dict[str, Any]:
        """Trains, going on from the checkpoint in `folder` if there is one.

        Args:
            budget: how long; what the checkpoint says was used is added to it.
            folder: for the checkpoint (tensors and numbers alone) and the log.

        Returns:
            What was used and reached, as JSON values.
        """
        self.initialize()
        step, epoch, walled = 0, 0, 0.0
        if (folder / CHECKPOINT).exists():
            stored = torch.load(folder / CHECKPOINT, map_location=self.device, weights_only=True)
            self.network.load_state_dict(stored["network"])
            self.optimizer.load_state_dict(stored["optimizer"])
            step, epoch, walled = stored["step"], stored["epoch"], stored["wall_minutes"]
            budget.before = stored["used_minutes"]
        self.on_train_start()
        began, scores = time.monotonic(), []
        while budget.share() < 1:
            self.network.train()
            losses = []
            for _ in range(self.iterations_an_epoch):
                rate = self.initial_lr * max(0.0, 1 - budget.share()) ** _POWER
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                losses.append(float(self.train_step(next(self.dataloader_train))["loss"]))
                if budget.share() >= 1:
                    break
            step, epoch = step + len(losses), epoch + 1
            scores = self._pseudo_dice()
            state = {
                "step": step,
                "epoch": epoch,
                "used_minutes": budget.used(),
                "wall_minutes": walled + (time.monotonic() - began) / 60,
            }
            self._save(folder / CHECKPOINT, state)
            _log(folder / LOG, {**state, "rate": rate, "loss": float(np.mean(losses)), "pseudo_dice": scores})
        return {
            "iterations": step,
            "epochs": epoch,
            "used_minutes": round(budget.used(), 2),
            "wall_minutes": round(walled + (time.monotonic() - began) / 60, 2),
            "pseudo_dice": scores,
        }

    def _pseudo_dice(self) -> list[float]:
        """Dice by label over a few patches of the validation patients: a sign of life, not a result."""
        self.network.eval()
        counts = np.zeros((3, self.label_manager.num_segmentation_heads - 1))
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            for _ in range(self.validations_an_epoch):
                found = self.validation_step(next(self.dataloader_val))
                counts += [found["tp_hard"], found["fp_hard"], found["fn_hard"]]
        true, false, missed = counts
        return [round(float(score), 4) for score in 2 * true / np.maximum(2 * true + false + missed, 1)]

    def _save(self, path: Path, state: dict[str, Any]) -> None:
        axes = self.inference_allowed_mirroring_axes
        content = {
            **state,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "mirror_axes": None if axes is None else [int(axis) for axis in axes],
        }
        unfinished = path.with_name(f".{path.name}")
        torch.save(content, unfinished)
        unfinished.replace(path)


def _log(path: Path, row: dict[str, Any]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow({key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()})
