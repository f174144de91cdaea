"""The Medical Segmentation Decathlon: `imagesTr`, `labelsTr` and a `dataset.json` that names labels and channels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.readers.base import (
    AnnotatedImage,
    ArchiveEntry,
    ReaderOptions,
    SkippedEntry,
    relative,
    safe_name,
)
from automedsam_lab.data.readers.volumes import read_labeled, slices

# What each task's dataset.json says, for a copy that came without it: by the prefix of its file names.
_TASKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "BRATS": (("FLAIR", "T1w", "T1gd", "T2w"), ("edema", "non-enhancing tumor", "enhancing tumour")),
    "la": (("MRI",), ("left atrium",)),
    "liver": (("CT",), ("liver", "cancer")),
    "hippocampus": (("MRI",), ("Anterior", "Posterior")),
    "prostate": (("T2", "ADC"), ("PZ", "TZ")),
    "lung": (("CT",), ("cancer",)),
    "pancreas": (("CT",), ("pancreas", "cancer")),
    "hepaticvessel": (("CT",), ("Vessel", "Tumour")),
    "spleen": (("CT",), ("spleen",)),
    "colon": (("CT",), ("colon cancer primaries",)),
}
# MedSAM's window for CT, level 40 and width 400 in Hounsfield units.
_CT_WINDOW = (-160.0, 240.0)


class Decathlon:
    """One task's folder."""

    def __init__(self, root: Path, choices: ReaderOptions) -> None:
        self._root = root
        described = self._described()
        self.license = str(described.get("licence") or described.get("license") or "MSD, CC BY-SA 4.0")
        self._training = described.get("training")
        try:
            self._modalities = [str(name) for _, name in sorted(described["modality"].items())]
            named = choices.labels or {int(value): str(name) for value, name in described["labels"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"{root / 'dataset.json'} names no modalities or labels ({error!r}); restore it from the archive."
            raise AutoMedSAMError(message) from error
        self.labels = {value: name for value, name in sorted(named.items()) if value > 0}
        self._channel = self._chosen_channel(choices.modality)
        ct = self._modalities[self._channel].upper() == "CT"
        self._choices = replace(choices, window=_CT_WINDOW) if ct and choices.window is None else choices

    def sources(self) -> Iterator[ArchiveEntry | SkippedEntry]:
        for entry in self._pairs():
            try:
                image, label = (self._root / self._inside(entry[part]) for part in ("image", "label"))
            except (KeyError, TypeError, ValueError):
                yield SkippedEntry(
                    "dataset.json", f"{self._root / 'dataset.json'} lists {entry!r}, no image with its label."
                )
                continue
            missing = next((path for path in (image, label) if not path.is_file()), None)
            if missing is not None:
                yield SkippedEntry(
                    relative(missing, self._root), f"{missing} does not exist; restore it from the archive."
                )
                continue
            case = safe_name(image.name.removesuffix(".gz").removesuffix(".nii"))
            yield ArchiveEntry(
                case=case,
                patient=self._choices.patient_of(case, case),
                images=(relative(image, self._root),),
                label=relative(label, self._root),
                scheme="msd_task04_hippocampus" if case.startswith("hippocampus_") else None,
                modality=self._modalities[self._channel],
                values={value: value for value in self.labels},
            )

    def pictures(self, source: ArchiveEntry) -> Iterator[AnnotatedImage]:
        yield from slices(*read_labeled(self._root, source, self._channel), self._choices)

    def _described(self) -> dict[str, Any]:
        """What `dataset.json` says, or what is known of the task that the files' names begin with."""
        path = self._root / "dataset.json"
        if path.is_file():
            try:
                described = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                message = f"{path} cannot be read ({error}); restore it from the archive."
                raise AutoMedSAMError(message) from error
            if isinstance(described, dict):
                return described
            message = f"{path} is not a Decathlon task's description; restore it from the archive."
            raise AutoMedSAMError(message)
        first = next(iter(sorted((self._root / "imagesTr").glob("[!.]*.nii*"))), None)
        prefix = first.name.split("_")[0] if first else ""
        if prefix not in _TASKS:
            message = (
                f"{self._root} holds neither a dataset.json nor the imagesTr of a Decathlon task; "
                "give the folder of one task, such as Task04_Hippocampus."
            )
            raise AutoMedSAMError(message)
        modalities, labels = _TASKS[prefix]
        return {
            "modality": {str(index): name for index, name in enumerate(modalities)},
            "labels": {str(index): name for index, name in enumerate(labels, start=1)},
        }

    def _pairs(self) -> Iterator[Any]:
        if self._training is not None:
            yield from self._training
            return
        for image in sorted((self._root / "imagesTr").glob("[!.]*.nii*")):
            yield {"image": f"imagesTr/{image.name}", "label": f"labelsTr/{image.name}"}

    @staticmethod
    def _inside(listed: str) -> Path:
        path = Path(listed)
        if path.is_absolute() or ".." in path.parts:
            message = f"{listed} leads out of the task's folder"
            raise ValueError(message)
        return path

    def _chosen_channel(self, wanted: str | None) -> int:
        if wanted is None:
            return 0
        known = [name.lower() for name in self._modalities]
        if wanted.lower() not in known:
            message = f"{self._root} has no modality {wanted}; choose one of {', '.join(self._modalities)}."
            raise AutoMedSAMError(message)
        return known.index(wanted.lower())
