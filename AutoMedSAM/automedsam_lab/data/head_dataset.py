"""Gliomas in heads with skull, and heads without glioma, as a dataset to evaluate on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automedsam.core.volume import Plane, Volume
from automedsam_lab.data.builtin_tasks import GLIOMA, GLIOMA_WITH_SKULL, TASK_SPECS, Case, cases_if_any
from automedsam_lab.data.dataset import DatasetCase, LoadedCase
from automedsam_lab.data.sets.images import Part, part_of
from automedsam_lab.data.sets.whole_heads import WholeHead, composite, head_names, whole_heads
from automedsam_lab.data.splits import UNSEEN, split_name


@dataclass(frozen=True)
class HeadDataset:
    """Composites of the gliomas and the heads of the same part, and the heads themselves, whose reference is empty.

    Attributes:
        root: The folder that contains the published datasets.
    """

    root: Path

    @property
    def name(self) -> str:
        return GLIOMA_WITH_SKULL

    @property
    def title(self) -> str:
        return "the gliomas in heads with skull"

    @property
    def labels(self) -> Mapping[int, str]:
        return TASK_SPECS[GLIOMA].labels

    @property
    def patients(self) -> Mapping[str, Sequence[str]]:
        return {part.value: [*(case.patient for case in self._gliomas(part)), *head_names(part)] for part in Part}

    def cases(self, split: str) -> list[DatasetCase]:
        split = split_name(split)
        part = Part.TEST if split == UNSEEN else Part(split)
        heads = whole_heads(self.root, part)
        found = [self._case(head.name, head.name, partial(_healthy, head)) for head in heads]
        for number, case in enumerate(self._gliomas(part) if heads else []):
            head = heads[number % len(heads)]
            made = self._case(f"{case.patient}_in_{head.name}", case.patient, partial(_with_glioma, head, case))
            found.append(made)
        return sorted(found, key=lambda case: case.name)

    def describe(self, split: str, count: int) -> str:
        return f"{split} split of {self.name}, {count} case{'' if count == 1 else 's'} made of files in {self.root}"

    def _gliomas(self, part: Part) -> list[Case]:
        return [case for case in cases_if_any(GLIOMA, self.root) if part_of(case.patient) is part and case.expert]

    def _case(self, name: str, patient: str, load: partial[LoadedCase]) -> DatasetCase:
        return DatasetCase(name, patient, "FLAIR", load, plane=Plane.AXIAL)


def _healthy(head: WholeHead) -> LoadedCase:
    return LoadedCase(_volume(head.frames, head.spacing, head.name), np.zeros(head.frames.shape, np.uint8))


def _with_glioma(head: WholeHead, case: Case) -> LoadedCase:
    made = composite(head, case)
    return LoadedCase(_volume(made.frames, made.spacing, made.name), made.tumor.astype(np.uint8))


def _volume(frames: NDArray[np.uint8], spacing: tuple[float, float, float], name: str) -> Volume:
    """Axial frames in canonical orientation are voxels in LPS order, but for the sense of the slices."""
    between, rows, columns = spacing
    return Volume(frames, (columns, rows, between), (0.0, 0.0, 0.0), _DIRECTION, name)


_DIRECTION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
