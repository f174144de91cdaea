"""What a teacher makes of the images of a pack, computed once and kept on disk.

A student then costs what it costs itself: the teacher's encoder takes 30 times as long as the student's, and its
decoder several times. The arrays are filled image by image in a fixed random order; a run that was stopped goes on
where it was, and a training may use what is there.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.json_files import write_json
from automedsam_lab.data.sets.images import Part
from automedsam_lab.distillation.pack import Pack, unit_range
from automedsam_lab.distillation.prompts import filled_box, jitter_box
from automedsam_lab.distillation.teacher import Teacher, at_side, low_precision
from automedsam_lab.metrics.masks import dice

# Boxes of each image that the teacher's masks are kept of: exact, jittered, and jittered around another object.
PROMPTS = 3
EMBEDDING_SIDE, LOGIT_SIDE, CHANNELS = 32, 64, 256
ORDER_SEED = 20261127
_SHAPES: dict[str, tuple[tuple[int, ...], str]] = {
    "embeddings": ((CHANNELS, EMBEDDING_SIDE, EMBEDDING_SIDE), "float16"),
    "attention": ((EMBEDDING_SIDE, EMBEDDING_SIDE), "float16"),
    "logits": ((PROMPTS, LOGIT_SIDE, LOGIT_SIDE), "float16"),
    "boxes": ((PROMPTS, 4), "float32"),
    "objects": ((PROMPTS,), "int16"),
    "teacher_dice": ((PROMPTS,), "float32"),
    "box_dice": ((PROMPTS,), "float32"),
    "done": ((), "uint8"),
}

logger = logging.getLogger(__name__)


class Targets:
    """A folder of targets, mapped into memory.

    Args:
        folder: what `write_targets` wrote.
        pack: the images that it belongs to.
        writable: whether rows will be written.

    Attributes:
        embeddings: `(N, 256, 32, 32)`, means of 2 x 2 tokens.
        attention: `(N, 32, 32)`, how much the teacher's tokens are attended to.
        logits: `(N, 3, 64, 64)` of the boxes, means of 4 x 4 pixels.
        boxes: `(N, 3, 4)` in frame pixels.
        objects: `(N, 3)`, which mask of the image a box is of; -1 where there is none.
        teacher_dice: `(N, 3)` against the reference; NaN where there is none.
        box_dice: `(N, 3)`, the same of the filled box.
        done: `(N,)`, 1 where the row is written.

    Raises:
        AutoMedSAMError: if the folder holds no targets, or those of another pack.
    """

    embeddings: NDArray[np.float16]
    attention: NDArray[np.float16]
    logits: NDArray[np.float16]
    boxes: NDArray[np.float32]
    objects: NDArray[np.int16]
    teacher_dice: NDArray[np.float32]
    box_dice: NDArray[np.float32]
    done: NDArray[np.uint8]

    def __init__(self, folder: Path, pack: Pack, *, writable: bool = False) -> None:
        self.folder = folder
        try:
            self.about: dict[str, Any] = json.loads((folder / "targets.json").read_text("utf-8"))
            for name in _SHAPES:
                setattr(self, name, np.load(folder / f"{name}.npy", mmap_mode="r+" if writable else "r"))
        except (OSError, ValueError) as error:
            message = (
                f"{folder} holds no targets of a teacher ({error}): write them with `automedsam-lab train efficient`."
            )
            raise AutoMedSAMError(message) from error
        if self.about["images"] != _fingerprint(pack):
            message = f"The targets in {folder} are of other images than {pack.folder}: give the pack of their run."
            raise AutoMedSAMError(message)

    def kd_weight(self, row: int, prompt: int) -> float:
        """How far the teacher's mask is trusted: its Dice, 0 where the filled box is better, 0.5 without reference."""
        found, filled = float(self.teacher_dice[row, prompt]), float(self.box_dice[row, prompt])
        if np.isnan(found):
            return 0.5
        return found if found > filled else 0.0


def write_targets(
    pack: Pack,
    teacher: Teacher,
    folder: Path,
    parts: Sequence[Part] = (Part.TRAIN, Part.VALIDATION),
    *,
    minutes: float = float("inf"),
) -> Targets:
    """Runs the teacher on the images that have no targets yet.

    Args:
        pack: the images.
        teacher: the teacher; that of a run that is continued must be the same.
        folder: made if it is not there.
        parts: whose images are looked at.
        minutes: how long at most.

    Raises:
        AutoMedSAMError: if the folder holds targets of another teacher or pack.
    """
    if not (folder / "targets.json").is_file():
        _allocate(pack, teacher, folder)
    targets = Targets(folder, pack, writable=True)
    if targets.about["sha256"] != teacher.sha256:
        message = f"The targets in {folder} are of the teacher {targets.about['teacher']}: give another folder."
        raise AutoMedSAMError(message)
    rows = [row for row in shuffled(pack.of_part(*parts)) if not targets.done[row]]
    began = reported = time.monotonic()
    for count, row in enumerate(rows):
        if time.monotonic() - began > 60 * minutes:
            break
        _fill(pack, teacher, targets, row)
        if time.monotonic() - reported > 30:
            reported = time.monotonic()
            each = (reported - began) / (count + 1)
            logger.info(
                f"{count + 1} of {len(rows)} images, {each:.2f} s each, {(len(rows) - count) * each / 60:.0f} min left"
            )
    return targets


def shuffled(rows: list[int]) -> list[int]:
    """The rows in the fixed random order in which targets are computed."""
    order = np.random.default_rng(ORDER_SEED).permutation(len(rows))
    return [rows[place] for place in order]


def _fill(pack: Pack, teacher: Teacher, targets: Targets, row: int) -> None:
    image = pack.images[row]
    rng = np.random.default_rng((ORDER_SEED, row))
    masks = pack.masks(row)
    first = int(rng.integers(len(image.boxes)))
    other = int(rng.integers(len(image.boxes)))
    boxes = np.stack(
        [
            np.asarray(image.boxes[first], np.float32),
            jitter_box(image.boxes[first], rng, image.content),
            jitter_box(image.boxes[other], rng, image.content),
        ]
    )
    with low_precision():
        features = teacher.embed(torch.from_numpy(unit_range(pack.pixels[row], image.content))[None])
        logits = teacher.decode(features, torch.from_numpy(boxes))
    embedding = F.adaptive_avg_pool2d(features.embedding, EMBEDDING_SIDE)[0]
    targets.embeddings[row] = embedding.numpy()
    targets.attention[row] = F.adaptive_avg_pool2d(features.attention[None], EMBEDDING_SIDE)[0, 0].numpy()
    targets.logits[row] = at_side(logits, LOGIT_SIDE).clamp(-30, 30).numpy()
    targets.boxes[row] = boxes
    for prompt, which in enumerate((first, first, other)):
        has_mask = which < len(masks)
        targets.objects[row, prompt] = which if has_mask else -1
        height, width = image.content
        found = (logits[prompt] > 0).numpy()[:height, :width]
        reference = masks[which][:height, :width] if has_mask else None
        filled = filled_box(boxes[prompt])[:height, :width]
        targets.teacher_dice[row, prompt] = np.nan if reference is None else dice(reference, found)
        targets.box_dice[row, prompt] = np.nan if reference is None else dice(reference, filled)
    targets.done[row] = 1


def _allocate(pack: Pack, teacher: Teacher, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (shape, kind) in _SHAPES.items():
        open_memmap(folder / f"{name}.npy", "w+", kind, (len(pack), *shape)).flush()
    about = {"teacher": teacher.name, "sha256": teacher.sha256, "images": _fingerprint(pack)}
    write_json(about, folder / "targets.json")


def _fingerprint(pack: Pack) -> list[str | int]:
    """What tells one pack from another: how many images, and the first and last of them."""
    first, last = pack.images[0], pack.images[-1]
    return [len(pack), f"{first.set} {first.name}", f"{last.set} {last.name}"]
