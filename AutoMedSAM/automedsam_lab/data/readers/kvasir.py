"""Kvasir-SEG: endoscopy images and masks saved as JPEG."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.readers.base import (
    AnnotatedImage,
    ArchiveEntry,
    ReaderOptions,
    SkippedEntry,
    relative,
    safe_name,
)
from automedsam_lab.data.readers.images import STILL_SUFFIXES, read_mask, read_still
from automedsam_lab.data.readers.mask_boxes import outlines


class Kvasir:
    """`images/*.jpg` and `masks/*.jpg` of the same names. Whose image it is the archive does not tell.

    Masks, not `kavsir_bboxes.json`, give the boxes, so that the two agree.
    """

    license = "Kvasir-SEG: research and education only"

    def __init__(self, root: Path, choices: ReaderOptions) -> None:
        self.labels = {1: "polyp"}
        self._root, self._choices = root, choices

    def sources(self) -> Iterator[ArchiveEntry | SkippedEntry]:
        images, masks = self._root / "images", self._root / "masks"
        if not images.is_dir() or not masks.is_dir():
            message = f"{self._root} has no folders images and masks; give the folder of Kvasir-SEG that holds them."
            raise AutoMedSAMError(message)
        for image in sorted(path for path in images.iterdir() if path.suffix.lower() in STILL_SUFFIXES):
            mask = next((m for m in (masks / f"{image.stem}{s}" for s in STILL_SUFFIXES) if m.is_file()), None)
            if mask is None:
                yield SkippedEntry(relative(image, self._root), f"{image} has no mask in {masks}.")
                continue
            case = safe_name(image.stem)
            yield ArchiveEntry(
                case=case,
                patient=self._choices.patient_of(case, case),
                images=(relative(image, self._root),),
                label=relative(mask, self._root),
                modality="endoscopy",
                values={255: 1},
            )

    def pictures(self, source: ArchiveEntry) -> Iterator[AnnotatedImage]:
        pixels = read_still(self._root / source.images[0])
        labels = read_mask(self._root / str(source.label), pixels.shape).astype("uint8")
        yield AnnotatedImage(pixels, labels, outlines(labels))
