"""A prepared dataset, as `automedsam-lab prepare` leaves it: read with every check that a training relies on.

```
OUT/manifest.json                        what it is, the patients of each part, the native cases
OUT/images/{train,val,test}/<id>.png     letterboxed to one size, 8 bit, grey or RGB
OUT/masks/{train,val,test}/<id>.png      label maps; absent for a dataset with boxes alone
OUT/annotations/{train,val,test}.json    COCO, with the patient and the letterbox of each image
```
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box
from automedsam.core.letterbox import Letterbox
from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.manifest_files import read_json_object
from automedsam_lab.data.prepared.manifest import ManifestCase, PreparedManifest, read_prepared_manifest
from automedsam_lab.data.splits import SPLITS, split_name

_AGAIN = "prepare the dataset again"


@dataclass(frozen=True)
class PreparedImage:
    """One picture or slice of a prepared dataset.

    Attributes:
        name: its id, which no other image of the dataset has.
        part: "train", "val" or "test".
        patient: whom it is of.
        path: the PNG.
        mask_path: the label map's PNG; None in a dataset with boxes alone.
        boxes: in letterboxed pixels; `label` is the label value.
        letterbox: the way back to native pixels.
        source: the native file, relative to the archive's root.
        slice: the index among the native volume's frames of `plane`, or of a video; None for a picture.
        plane: "axial", "coronal" or "sagittal"; None where the source is no volume.
    """

    name: str
    part: str
    patient: str
    path: Path
    mask_path: Path | None
    boxes: tuple[Box, ...]
    letterbox: Letterbox
    source: str
    slice: int | None
    plane: str | None

    def read(self) -> NDArray[np.uint8]:
        """The pixels, `(H, W)` grey or `(H, W, 3)` RGB uint8.

        Raises:
            AutoMedSAMError: if the file is damaged, or not of the letterbox's size.
        """
        return _read_png(self.path, self.letterbox.size)

    def read_mask(self) -> NDArray[np.uint8] | None:
        """The label values `(H, W)` uint8, None in a dataset with boxes alone.

        Raises:
            AutoMedSAMError: if the file is damaged, not of the letterbox's size, or in colour.
        """
        if self.mask_path is None:
            return None
        labels = _read_png(self.mask_path, self.letterbox.size)
        if labels.ndim != 2:
            message = f"{self.mask_path} is in colour, not a map of label values; {_AGAIN}."
            raise AutoMedSAMError(message)
        return labels


@dataclass(frozen=True)
class PreparedCase:
    """One volume, video or picture at its native resolution.

    Attributes:
        name: of the case.
        patient: whom it is of.
        part: "train", "val" or "test".
        images: its files, one for each channel.
        label: the native labels; None where there are boxes alone, or a mask file for each object.
        scheme: what the native label values mean, as `LabelScheme` names it; None where the archive has but one.
        modality: in a bundle's words.
        values: the dataset's label value of each native one, 0 for those that are no object.
        masks: mask files that hold one object each, with its label value.
    """

    name: str
    patient: str
    part: str
    images: tuple[Path, ...]
    label: Path | None
    scheme: str | None
    modality: str
    values: Mapping[int, int] = field(default_factory=dict)
    masks: Mapping[Path, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared dataset that was checked; make it with `PreparedDataset.open`.

    Attributes:
        folder: where it is.
        name: of the dataset.
        root: the archive that it was made of.
        size: side of its images in pixels.
        labels: names by label value.
        license: the terms of the data, which the weights inherit.
        manifest: the whole manifest.
    """

    folder: Path
    name: str
    root: Path
    size: int
    labels: Mapping[int, str]
    license: str
    manifest: PreparedManifest
    _images: Mapping[str, tuple[PreparedImage, ...]]
    _cases: Mapping[str, tuple[PreparedCase, ...]]

    @classmethod
    def open(cls, folder: Path, root: Path | None = None) -> PreparedDataset:
        """Reads the manifest and the annotations, and sees that nothing is missing; no image is opened.

        Args:
            folder: what `automedsam-lab prepare` wrote.
            root: where the archive is now, if not where it was when the dataset was prepared.

        Raises:
            AutoMedSAMError: if the folder is no such dataset, a file is missing or was changed, an annotation names
                what is not there, or a patient is in two parts.
        """
        manifest = read_prepared_manifest(folder)
        found = manifest.root if root is None else root
        _check_annotations(folder, manifest.files)
        images = {part: _images_of(folder, part, manifest.labels) for part in SPLITS}
        cases = _cases_of(manifest.cases, found)
        listed = [(patient, part) for part, patients in manifest.patients.items() for patient in patients]
        pictured = [(image.patient, part) for part in SPLITS for image in images[part]]
        _check_patients(folder, [*listed, *pictured, *((case.patient, case.part) for case in manifest.cases)])
        _check_names(folder, [image for part in SPLITS for image in images[part]])
        return cls(
            folder,
            manifest.dataset,
            found,
            manifest.size,
            manifest.labels,
            manifest.license,
            manifest,
            images,
            cases,
        )

    def is_empty(self, split: str) -> bool:
        """Whether a split has no cases."""
        return not self._cases[split_name(split, SPLITS)]

    def part(self, name: str) -> tuple[PreparedImage, ...]:
        """The images of "train", "val" or "test".

        Raises:
            AutoMedSAMError: if there is no such part, or it is empty.
        """
        return self._of(self._images, name, "images")

    def cases(self, part: str) -> tuple[PreparedCase, ...]:
        """The native cases of a part.

        Raises:
            AutoMedSAMError: if there is no such part, it is empty, or its files are not where the archive was.
        """
        cases = self._of(self._cases, part, "cases")
        for case in cases:
            absent = next(
                (path for path in (*case.images, case.label, *case.masks) if path and not path.exists()), None
            )
            if absent is not None:
                message = (
                    f"{absent} of the dataset {self.folder} is not there; give the folder of the archive as it is now, "
                    f"in which {absent.name} lies."
                )
                raise AutoMedSAMError(message)
        return cases

    def _of(self, parts: Mapping[str, tuple[Any, ...]], name: str, what: str) -> tuple[Any, ...]:
        name = split_name(name, SPLITS)
        if not parts[name]:
            message = (
                f"The split {name} of {self.folder} has no {what}; prepare more patients, or choose another dataset."
            )
            raise AutoMedSAMError(message)
        return parts[name]


def _read_json(path: Path) -> dict[str, Any]:
    return read_json_object(path, missing="give a folder that 'automedsam-lab prepare' wrote", repair=_AGAIN)


def _check_annotations(folder: Path, digests: Mapping[str, str]) -> None:
    """Sees that the annotations are those that were written; images would take minutes, and are not read here."""
    for part in SPLITS:
        path = folder / "annotations" / f"{part}.json"
        wanted = digests.get(f"annotations/{part}.json")
        if not path.is_file():
            message = f"There is no {path}; {_AGAIN}."
            raise AutoMedSAMError(message)
        if wanted is not None and hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            message = f"{path} is not the file that the manifest tells of (another SHA-256); {_AGAIN}."
            raise AutoMedSAMError(message)


def _images_of(folder: Path, part: str, labels: Mapping[int, str]) -> tuple[PreparedImage, ...]:
    path = folder / "annotations" / f"{part}.json"
    coco = _read_json(path)
    try:
        boxes: dict[int, list[Box]] = {int(entry["id"]): [] for entry in coco["images"]}
        if len(boxes) != len(coco["images"]):
            message = f"{path} gives one id to two images; {_AGAIN}."
            raise AutoMedSAMError(message)
        for entry in coco["annotations"]:
            x, y, width, height = (float(value) for value in entry["bbox"])
            label = int(entry["category_id"])
            if int(entry["image_id"]) not in boxes or label not in labels or not (width > 0 and height > 0):
                message = (
                    f"{path} has a box (id {entry['id']}) of an image or label that is not there, or without area; "
                    f"{_AGAIN}."
                )
                raise AutoMedSAMError(message)
            boxes[int(entry["image_id"])].append(Box(x, y, width, height, label=label))
        masks = {file.name for file in (folder / "masks" / part).glob("*.png")}
        images = tuple(_image(folder, part, entry, boxes[int(entry["id"])], bool(masks)) for entry in coco["images"])
    except (KeyError, TypeError, ValueError) as error:
        message = f"{path} lacks or garbles what an annotation has ({error!r}); {_AGAIN}."
        raise AutoMedSAMError(message) from error
    there = {file.name for file in (folder / "images" / part).glob("*.png")}
    for image in images:
        if image.path.name not in there or (image.mask_path is not None and image.mask_path.name not in masks):
            gone = image.path if image.path.name not in there else image.mask_path
            message = f"{gone} is missing; {_AGAIN}: what is there already is kept."
            raise AutoMedSAMError(message)
    return images


def _image(folder: Path, part: str, entry: Mapping[str, Any], boxes: Sequence[Box], masked: bool) -> PreparedImage:
    file = str(entry["file_name"])
    if Path(file).name != file:
        message = f"{folder / 'annotations' / part}.json names the file {file}, outside its folder; {_AGAIN}."
        raise AutoMedSAMError(message)
    letterbox = Letterbox.from_json(entry)
    height, width = letterbox.size
    for box in boxes:
        x0, y0, x1, y1 = box.corners
        # Rounded coordinates may be a hair outside.
        if min(x0, y0) < -0.5 or x1 > width + 0.5 or y1 > height + 0.5:
            message = f"A box of {file} in {folder} reaches beyond its {height} x {width} pixels; {_AGAIN}."
            raise AutoMedSAMError(message)
    return PreparedImage(
        name=Path(file).stem,
        part=part,
        patient=str(entry["patient"]),
        path=folder / "images" / part / file,
        mask_path=folder / "masks" / part / file if masked else None,
        boxes=tuple(boxes),
        letterbox=letterbox,
        source=str(entry["source"]),
        slice=None if entry["slice"] is None else int(entry["slice"]),
        plane=entry["plane"],
    )


def _cases_of(entries: Iterable[ManifestCase], root: Path) -> dict[str, tuple[PreparedCase, ...]]:
    cases: dict[str, list[PreparedCase]] = {part: [] for part in SPLITS}
    for entry in entries:
        cases[entry.part].append(
            PreparedCase(
                name=entry.case,
                patient=entry.patient,
                part=entry.part,
                images=tuple(root / path for path in entry.images),
                label=None if entry.label is None else root / entry.label,
                scheme=entry.scheme,
                modality=entry.modality or "any",
                values=entry.values,
                masks={root / path: value for path, value in entry.masks.items()},
            )
        )
    return {part: tuple(found) for part, found in cases.items()}


def _check_patients(folder: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """A patient in two parts would be trained and tested on."""
    part_of: dict[str, str] = {}
    for patient, part in pairs:
        if part_of.setdefault(patient, part) != part:
            message = f"The patient {patient} of {folder} is in two parts, {part_of[patient]} and {part}; {_AGAIN}."
            raise AutoMedSAMError(message)


def _check_names(folder: Path, images: Sequence[PreparedImage]) -> None:
    seen: set[str] = set()
    for image in images:
        if image.name in seen:
            message = f"The dataset {folder} has two images {image.name}; {_AGAIN}."
            raise AutoMedSAMError(message)
        seen.add(image.name)


def _read_png(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises each of them for a damaged PNG.
        message = f"{path} cannot be read as an image ({error}); {_AGAIN}."
        raise AutoMedSAMError(message) from error
    if pixels.dtype != np.uint8 or pixels.shape[:2] != size or pixels.shape[2:] not in ((), (3,)):
        message = f"{path} is {pixels.shape} {pixels.dtype}, not {size[0]} x {size[1]} grey or RGB of 8 bit; {_AGAIN}."
        raise AutoMedSAMError(message)
    return pixels
