"""The sets of single images: endoscopy, X-rays, ultrasound, and slices that were published as pictures."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.readers.images import read_mask, read_still
from automedsam_lab.data.sets.images import LabeledImage

Wanted = Callable[[str], bool]
Mask = NDArray[np.bool_]

# Equal to cju8amfdtqi4x09871tygrgqe and cju76lsehyia10987u54vn8rb.
KVASIR_DUPLICATES = ("cju886ryxnsl50801r93jai7q", "cju772304yw5t0818vbw8kkjf")
# ChestX-ray14's boxes are in pixels of 1024 x 1024, its images here have half of that.
NIH_BOX_SCALE = 0.5
# More would outweigh the sets that have masks.
NIH_IMAGES = 150
READERS_AGREE = 0.5


def kvasir(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """Polyps; each image is a patient. The 100 of validation.txt are the test part, 80 of train.txt validate."""
    folder = root / "kvasir_seg_352"
    for listed in ("train.txt", "validation.txt"):
        for name in _lines(folder / listed):
            if wanted(name) and name not in KVASIR_DUPLICATES:
                pixels = read_still(folder / "images" / f"{name}.jpg")
                mask = read_mask(folder / "masks" / f"{name}.jpg", pixels.shape)
                yield LabeledImage("kvasir", name, name, pixels, (mask,))


def busi(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """Breast lesions on ultrasound; each image is a patient."""
    for path in sorted((root / "busi_416").glob("*/*_mask.png")):
        name = path.name.removesuffix("_mask.png")
        if wanted(patient := f"busi {name}"):
            pixels = read_still(path.with_name(f"{name}.png"))
            yield LabeledImage("busi", patient, name, pixels, (read_mask(path, pixels.shape),))


def jsrt(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """Lungs, heart and clavicles on chest X-rays; each image is a patient."""
    folder = root / "jsrt_512"
    for path in sorted((folder / "images").glob("*.jpg")):
        if wanted(path.stem):
            pixels = read_still(path)
            masks = sorted((folder / "masks").glob(f"*/{path.stem}.png"))
            yield LabeledImage(
                "jsrt", path.stem, path.stem, pixels, tuple(read_mask(one, pixels.shape) for one in masks)
            )


def lungs(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """Left and right lung on four chest X-rays."""
    for path in sorted((root / "cxr_lung_masks").glob("*.jpg")):
        if wanted(patient := f"cxr_lung_{path.stem}"):
            pixels = read_still(path)
            both = read_mask(path.with_name(f"{path.stem}-mask.png"), pixels.shape)
            left = both.copy()
            left[:, both.shape[1] // 2 :] = False
            yield LabeledImage("lungs", patient, path.stem, pixels, (left, both & ~left))


def lidc(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """Lung nodules on CT crops; the mask is what at least half of the readers marked."""
    for folder in sorted((root / "lidc_idri_slices").glob("*/nodule-*")):
        patient = folder.parent.name
        if not wanted(patient):
            continue
        for path in sorted((folder / "images").glob("*.png"), key=_number):
            pixels = read_still(path)
            read = [
                read_mask(one / path.name, pixels.shape) for one in folder.glob("mask-*") if (one / path.name).is_file()
            ]
            mask = np.mean(read, 0) >= READERS_AGREE if read else np.zeros(pixels.shape[:2], np.bool_)
            yield LabeledImage("lidc", patient, f"{patient} {folder.name} {path.stem}", pixels, (mask,))


def kits19(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """Kidneys (blue) and their tumours (red) on CT slices."""
    yield from _colored(root / "kits19_slices", "kits19", wanted, (2, 0))


def msd_lung(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """Lung tumours (red) on CT slices."""
    yield from _colored(root / "msd_task06_lung_slices", "msd_lung", wanted, (0,))


def sunnybrook(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """The left ventricle on cardiac MR."""
    folder = root / "sunnybrook_segnetcmr" / "Train"
    for path in sorted((folder / "Images").glob("*/*.png")):
        patient = path.name.partition("-IM-")[0]
        if wanted(patient):
            pixels = read_still(path)
            mask = read_mask(folder / "Labels" / path.parent.name / path.name, pixels.shape)
            yield LabeledImage("sunnybrook", patient, path.stem, pixels, (mask,))


def sam_med2d(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """Organs on five CT slices."""
    folder = root / "sam_med2d_demo"
    for path in sorted((folder / "images").glob("*.png")):
        if wanted(patient := f"sam_med2d {path.stem}"):
            pixels = read_still(path)
            masks = [read_mask(one, pixels.shape) for one in sorted((folder / "masks").glob(f"{path.stem}_*.png"))]
            yield LabeledImage("sam_med2d", patient, path.stem, pixels, tuple(masks))


def nih_cxr14(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """Findings on chest X-rays, boxes only; every n-th of the images, which are in order of their patients."""
    table = root / "nih_cxr14" / "BBox_List_2017.csv.gz"
    if not table.is_file():
        return
    boxes: dict[str, list[tuple[float, float, float, float]]] = {}
    with gzip.open(table, "rt", encoding="utf-8") as file:
        for row in csv.reader(file):
            if len(row) < 6 or not row[0].endswith(".png"):
                continue
            x, y, width, height = (float(value) * NIH_BOX_SCALE for value in row[2:6])
            boxes.setdefault(row[0].removesuffix(".png"), []).append((x, y, x + width, y + height))
    paths = [path for path in sorted((root / "nih_cxr14" / "images_512").glob("*.jpg")) if path.stem in boxes]
    for path in paths[:: max(1, len(paths) // NIH_IMAGES)]:
        if wanted(patient := f"nih {path.stem.partition('_')[0]}"):
            yield LabeledImage("nih_cxr14", patient, path.stem, read_still(path), (), tuple(boxes[path.stem]))


def tbx11k(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """Tuberculosis on chest X-rays, boxes only."""
    folder = root / "tbx11k"
    listed = folder / "annotations" / "json" / "TBX11K_train.json"
    if not listed.is_file():
        return
    described = json.loads(listed.read_text("utf-8"))
    for image in described["images"]:
        path = folder / "imgs" / image["file_name"]
        name = Path(image["file_name"]).stem
        of_image = [one["bbox"] for one in described["annotations"] if one["image_id"] == image["id"]]
        boxes = tuple((x, y, x + width, y + height) for x, y, width, height in of_image)
        if path.is_file() and boxes and wanted(patient := f"tbx11k {name}"):
            yield LabeledImage("tbx11k", patient, name, read_still(path), (), boxes)


def deeplesion(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """Lesions on CT key slices, boxes only, as fractions with y first; without the patients of `ct_lesion_npz`."""
    elsewhere = {deeplesion_patient(path.stem) for path in (root / "ct_lesion_npz").glob("*.npz")}
    for path in sorted((root / "deeplesion_truth_samples").glob("*.tru")):
        patient = deeplesion_patient(path.stem)
        if patient in elsewhere or not wanted(patient) or not path.with_suffix(".jpg").is_file():
            continue
        pixels = read_still(path.with_suffix(".jpg"))
        height, width = pixels.shape[:2]
        rows = [[float(value) for value in line.split()] for line in _lines(path)]
        boxes = tuple((x0 * width, y0 * height, x1 * width, y1 * height) for _, y0, x0, y1, x1 in rows)
        yield LabeledImage("deeplesion", patient, path.stem, pixels, (), boxes)


def deeplesion_patient(name: str) -> str:
    """The patient in a file's name, which is `000002_03_01_052` or `CT_Lesion_000002_03_01_035-047`."""
    found = re.search(r"(\d{6})_\d{2}_\d{2}", name)
    if found is None:
        message = f"The name {name} holds no patient of DeepLesion, as 000002_03_01_052 does; restore the file's name."
        raise AutoMedSAMError(message)
    return f"deeplesion {found[1]}"


IMAGE_SETS = (
    kvasir, busi, jsrt, lungs, lidc, kits19, msd_lung, sunnybrook, sam_med2d, nih_cxr14, tbx11k, deeplesion,
)  # fmt: skip


def _colored(folder: Path, name: str, wanted: Wanted, channels: tuple[int, ...]) -> Iterator[LabeledImage]:
    """Slices named patient_slice whose masks are the channels of a colour picture."""
    for path in sorted((folder / "images").glob("*.png")):
        if not wanted(patient := f"{name} {path.stem.partition('_')[0]}"):
            continue
        pixels = read_still(path)
        colors = read_still(folder / "masks" / path.name)
        if colors.ndim == 2:
            colors = np.repeat(colors[..., None], 3, 2)
        yield LabeledImage(name, patient, path.stem, pixels, tuple(colors[..., one] > 127 for one in channels))


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
