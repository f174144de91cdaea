"""SA-Med2D-20M: PNG images, a PNG mask for each object, and JSON indexes of millions of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.readers.base import (
    AnnotatedImage,
    AnnotatedObject,
    ArchiveEntry,
    ReaderOptions,
    SkippedEntry,
    safe_name,
)
from automedsam_lab.data.readers.images import read_mask, read_still
from automedsam_lab.data.readers.mask_boxes import outlines

_INDEX, _CLASSES = "SAMed2D_v1.json", "SAMed2D_v1_class_mapping_id.json"
# Those of SAM-Med2D's demonstration: image to masks, and mask to image.
_TO_MASKS, _TO_IMAGE = "image2label_*.json", "label2image_*.json"
# `ct_00--AbdomenCT1K--Case_00011--x_0040--0000_001`: modality, dataset, case, slice, class and instance.
_MASK = re.compile(r"^(?P<image>.+?--.+?--.+?--.+?)--(?P<kind>\d+)_\d+$")
# `amos_0004_75_inferior_vena_cava_000`: after the image's name the class and the instance.
_INSTANCE = re.compile(r"_\d+$")
_SLICE = re.compile(r"_\d+$")
# The object is the union of others, which have masks of their own.
_UNION = "union_"
_READ_AT_ONCE = 1 << 20
# Of one image with its masks, in characters.
_LONGEST = 16 << 20
_PAUSE, _COLON = re.compile(r"[\s,]*"), re.compile(r"\s*:\s*")


class SaMed2d:
    """The folder `SAMed2Dv1`, or the demonstration's. Labels are the classes' names, whatever dataset they are of."""

    license = "SA-Med2D-20M: CC BY-NC-SA 4.0, and the terms of each source"

    def __init__(self, root: Path, choices: ReaderOptions) -> None:
        self._root, self._choices = root, choices
        self.labels: dict[int, str] = {}
        self._kinds = self._read_kinds()

    def sources(self) -> Iterator[ArchiveEntry | SkippedEntry]:
        # Values go by the names' order, so the index is read twice rather than held.
        names = {kind for _, masks in self._entries() for mask in masks if (kind := self._kind(mask))}
        if len(names) > 255:
            message = f"{self._root} has {len(names)} classes; a mask of 8 bits holds 255, so prepare parts of it."
            raise AutoMedSAMError(message)
        self.labels = dict(enumerate(sorted(names), start=1))
        values = {name: value for value, name in self.labels.items()}
        # Only the demonstration is small enough to remember every name.
        is_demonstration = not (self._root / _INDEX).is_file()
        count, listed = 0, set()
        for image, masks in self._entries():
            count += 1
            if is_demonstration:
                listed.add(Path(image).name)
            yield self._entry(image, masks, values)
        if not count:
            message = f"{self._root} holds no {_INDEX}; give the folder SAMed2Dv1 in which it lies."
            raise AutoMedSAMError(message)
        # Its indexes leave an image out.
        if is_demonstration:
            for path in sorted((self._root / "images").glob("*.png")):
                if path.name not in listed:
                    reason = f"{path} is in no index, so that its masks are not known."
                    yield SkippedEntry(f"images/{path.name}", reason)

    def _entry(self, image: str, masks: Iterable[str], values: Mapping[str, int]) -> ArchiveEntry | SkippedEntry:
        path = self._there(image)
        if path is None:
            return SkippedEntry(image, f"{self._root / image} does not exist, though the index lists it.")
        given: dict[str, int] = {}
        for mask in masks:
            kind, at = self._kind(mask), self._there(mask)
            if at is None:
                return SkippedEntry(
                    path, f"The mask {self._root / mask} of {path} does not exist; restore the archive."
                )
            if kind is not None:
                given[at] = values[kind]
        return self._source(path, given)

    def pictures(self, source: ArchiveEntry) -> Iterator[AnnotatedImage]:
        pixels = read_still(self._root / source.images[0])
        labels = np.zeros(pixels.shape[:2], dtype=np.uint8)
        found: list[AnnotatedObject] = []
        masks = [(read_mask(self._root / path, pixels.shape), value) for path, value in source.masks.items()]
        # Where objects overlap the smaller one shows; each keeps its own boxes.
        for mask, value in sorted(masks, key=lambda entry: -int(entry[0].sum())):
            labels[mask] = value
            pieces = outlines(mask.astype(np.uint8))
            found += [replace(piece, box=replace(piece.box, label=value)) for piece in pieces]
        found.sort(key=lambda piece: (piece.box.label, piece.box.y, piece.box.x))
        yield AnnotatedImage(pixels, labels, tuple(found))

    def _source(self, image: str, masks: dict[str, int]) -> ArchiveEntry:
        case = safe_name(Path(image).stem)
        parts = case.split("--")
        patient = "--".join(parts[1:3]) if len(parts) == 4 else _SLICE.sub("", case)
        modality = parts[0].split("_")[0].upper() if len(parts) == 4 else None
        return ArchiveEntry(
            case=case,
            patient=self._choices.patient_of(case, patient),
            images=(image,),
            modality=modality,
            masks=masks,
        )

    def _entries(self) -> Iterator[tuple[str, list[str]]]:
        """Images with their masks, as the indexes name them."""
        index = self._root / _INDEX
        if index.is_file():
            yield from _streamed(index)
            return
        for path in sorted(self._root.glob(_TO_MASKS)):
            yield from _streamed(path)
        for path in sorted(self._root.glob(_TO_IMAGE)):
            by_image: dict[str, list[str]] = {}
            for mask, image in _streamed(path):
                by_image.setdefault(image, []).append(mask)
            yield from by_image.items()

    def _there(self, listed: str) -> str | None:
        """A listed path as it is below the root: the demonstration's begin with a folder that may not be there."""
        for path in (listed, listed.partition("/")[2]):
            if path and ".." not in Path(path).parts and (self._root / path).is_file():
                return path
        return None

    def _kind(self, mask: str) -> str | None:
        """The name of a mask's class; None for a union of others."""
        stem = Path(mask).stem
        if match := _MASK.match(stem):
            dataset = match["image"].split("--")[1]
            name = self._kinds.get(dataset, {}).get(int(match["kind"]), f"{dataset} class {match['kind']}")
            return None if name.startswith(_UNION) else name
        without = _INSTANCE.sub("", stem)
        # The image's name ends in the number of its slice; what follows is the class.
        found = re.match(r"^[A-Za-z]+\d*(?:_\d+)+_(.+)$", without)
        return found[1] if found else without

    def _read_kinds(self) -> dict[str, dict[int, str]]:
        """Names of classes by dataset and number, from `{dataset: {name: number}}`."""
        path = self._root / _CLASSES
        if not path.is_file():
            return {}
        try:
            stored: Any = json.loads(path.read_text(encoding="utf-8"))
            return {
                str(dataset): {int(number): str(name) for name, number in kinds.items()}
                for dataset, kinds in stored.items()
            }
        except (OSError, ValueError, TypeError, AttributeError) as error:
            message = f"{path} is not SA-Med2D's list of classes ({error}); restore it from the archive."
            raise AutoMedSAMError(message) from error


def _streamed(path: Path) -> Iterator[tuple[str, Any]]:
    """The pairs of a JSON object, read a megabyte at a time: the whole index is gigabytes.

    Raises:
        AutoMedSAMError: if it is not one JSON object.
    """
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8") as stream:
            text, at = stream.read(_READ_AT_ONCE).lstrip(), 1
            if not text.startswith("{"):
                reason = "it does not begin with {"
                raise ValueError(reason)
            while True:
                try:
                    at = _end_of(_PAUSE, text, at)
                    if text.startswith("}", at):
                        return
                    key, colon = decoder.raw_decode(text, at)
                    value, end = decoder.raw_decode(text, _end_of(_COLON, text, colon))
                except ValueError:
                    # The entry goes on beyond what was read, or is broken for good.
                    more = stream.read(_READ_AT_ONCE)
                    if not more or len(text) - at > _LONGEST:
                        reason = f"it breaks off or is broken near {text[at : at + 60]!r}"
                        raise ValueError(reason) from None
                    text, at = text[at:] + more, 0
                    continue
                at = end
                yield key, value
    except (OSError, ValueError) as error:
        message = f"{path} is not a JSON index of images ({error}); restore it from the archive."
        raise AutoMedSAMError(message) from error


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    if found is None:
        reason = f"{pattern.pattern!r} is missing"
        raise ValueError(reason)
    return found.end()
