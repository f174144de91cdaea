"""What a built-in task's detector trains on: its patients, and for gliomas heads with skull."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from automedsam_lab.data.builtin_tasks import GLIOMA, cases_if_any, check_task
from automedsam_lab.data.detector_slices import DetectorTask, FrameStack, make_stack, read_stack
from automedsam_lab.data.sets.images import Part, part_of
from automedsam_lab.data.sets.whole_heads import composite, whole_heads

# How often a patient is drawn: as stripped, in a head with skull, and a head without glioma.
COMPOSITE_WEIGHT, HEAD_WEIGHT = 0.6, 1.5


def detector_stacks(task: DetectorTask, root: Path, part: Part) -> list[FrameStack]:
    """The stacks of a part of the split.

    For gliomas, each patient stands there twice: skull-stripped, and with the brain in one of the heads of the same
    part; the heads themselves are there without glioma.

    Args:
        task: the detector's task.
        root: the folder of datasets.
        part: the part.

    Raises:
        AutoMedSAMError: if the task is unknown, or a file cannot be read.
    """
    check_task(task.name)
    cases = [case for case in cases_if_any(task.name, root) if part_of(case.patient) is part]
    stacks = [read_stack(task, case) for case in cases]
    if task.name != GLIOMA:
        return stacks
    heads = whole_heads(root, part)
    for head in heads:
        nothing = np.zeros(head.frames.shape, np.uint8)
        stacks.append(make_stack(task, head.name, head.frames, nothing, head.spacing[0], HEAD_WEIGHT))
    for number, case in enumerate(cases if heads else []):
        made = composite(heads[number % len(heads)], case)
        labels = made.tumor.astype(np.uint8)
        stack = make_stack(task, made.name, made.frames, labels, made.spacing[0], COMPOSITE_WEIGHT)
        stacks.append(stack if case.expert else replace(stack, weight=COMPOSITE_WEIGHT / 2))
    return stacks
