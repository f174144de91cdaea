"""A tiny prepared dataset of the layout that `automedsam-lab prepare` writes, of drawn bright ellipses."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from automedsam.core.boxes import Box
from automedsam.core.letterbox import Letterbox

LABELS = {1: "bright", 2: "brighter"}
PATIENTS = {"train": ("a", "b"), "val": ("c",), "test": ("d",)}


def draw_volume(rng: np.random.Generator, shape: tuple[int, int, int] = (6, 40, 32)) -> tuple[np.ndarray, np.ndarray]:
    """Grey levels and labels `(K, J, I)` uint8 of noise with an ellipsoid of each label."""
    places = np.indices(shape).astype(float)
    gray = rng.integers(10, 60, shape)
    labels = np.zeros(shape, np.uint8)
    for label in LABELS:
        center = np.array(shape) * (0.5, 0.27 if label == 1 else 0.73, 0.5) + rng.uniform(-1, 1, 3)
        radii = np.array(shape) * (0.6, 0.18, 0.25)
        inside = (((places - center[:, None, None, None]) / radii[:, None, None, None]) ** 2).sum(0) < 1
        labels[inside] = label
        gray[inside] += 80 * label
    return np.clip(gray, 0, 255).astype(np.uint8), labels


def write_prepared(out: Path, *, size: int = 64, masks: bool = True, pictures: bool = False, seed: int = 0) -> Path:
    """Writes a dataset of four patients, and beside it the archive (`<out>-root`) that it says it was made of.

    Args:
        out: the folder to write.
        size: side of the letterboxed images.
        masks: write label maps too.
        pictures: the archive is one of pictures in Kvasir's layout, with one label, rather than a Decathlon task.
        seed: of the drawings.
    """
    rng = np.random.default_rng(seed)
    root = out.parent / f"{out.name}-root"
    names = {1: "bright"} if pictures else LABELS
    folders = ("images", "masks") if pictures else ("imagesTr", "labelsTr")
    for folder in folders:
        (root / folder).mkdir(parents=True)
    if not pictures:
        described = {"modality": {"0": "MRI"}, "labels": {"0": "background", **{str(v): n for v, n in names.items()}}}
        (root / "dataset.json").write_text(json.dumps({**described, "training": []}), encoding="utf-8")
    cases: list[dict[str, Any]] = []
    files: dict[str, str] = {}
    counts: dict[str, dict[str, int]] = {}
    for part, patients in PATIENTS.items():
        coco: dict[str, list[dict[str, Any]]] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": value, "name": name} for value, name in names.items()],
        }
        for folder in ("images", *(["masks"] if masks else [])):
            (out / folder / part).mkdir(parents=True)
        (out / "annotations").mkdir(exist_ok=True)
        for patient in patients:
            gray, labels = draw_volume(rng)
            if pictures:
                gray, labels = gray[2:3], (labels[2:3] > 0).astype(np.uint8)
            image, label = (f"{folder}/{patient}.{'png' if pictures else 'nii.gz'}" for folder in folders)
            _write_native(root / image, gray)
            _write_native(root / label, labels * 255 if pictures else labels)
            case = {"case": patient, "patient": patient, "part": part, "scheme": None, "modality": "MR"}
            values = {"255": 1} if pictures else {str(value): value for value in names}
            cases.append({**case, "images": [image], "label": label, "values": values})
            for index in range(len(gray)):
                place = (image, None if pictures else index)
                _add(coco, out, part, patient, place, gray[index], labels[index], size, masks)
        path = out / "annotations" / f"{part}.json"
        path.write_text(json.dumps(coco), encoding="utf-8")
        files[f"annotations/{part}.json"] = hashlib.sha256(path.read_bytes()).hexdigest()
        boxed = {entry["image_id"] for entry in coco["annotations"]}
        counts[part] = {
            "patients": len(patients),
            "images": len(coco["images"]),
            "boxes": len(coco["annotations"]),
            "empty": len(coco["images"]) - len(boxed),
        }
    manifest = {
        "schema": 1,
        "dataset": "kvasir" if pictures else "decathlon",
        "root": str(root),
        "size": size,
        "seed": seed,
        "fractions": [0.7, 0.2, 0.1],
        "labels": {str(value): name for value, name in names.items()},
        "choices": {},
        "scheme": None,
        "licence": "drawn here, free",
        "counts": counts,
        "patients": {part: list(patients) for part, patients in PATIENTS.items()},
        "cases": cases,
        "files": files,
        "skipped": [],
    }
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return out


def _write_native(path: Path, values: np.ndarray) -> None:
    import SimpleITK as sitk

    if path.suffix == ".png":
        Image.fromarray(values[0]).save(path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(values), str(path))


def _add(
    coco: dict[str, list[dict[str, Any]]],
    out: Path,
    part: str,
    patient: str,
    place: tuple[str, int | None],
    gray: np.ndarray,
    labels: np.ndarray,
    size: int,
    masks: bool,
) -> None:
    source, index = place
    height, width = gray.shape
    box = Letterbox.fit((height, width), (size, size))
    name = f"{patient}-{index or 0:03}.png"
    Image.fromarray(box.image(gray)).save(out / "images" / part / name)
    if masks:
        Image.fromarray(box.mask(labels)).save(out / "masks" / part / name)
    image_id = len(coco["images"]) + 1
    fields = {"slice": index, "plane": None if index is None else "axial"}
    coco["images"].append(
        {"id": image_id, "file_name": name, "patient": patient, "source": source, **fields, **box.to_json()}
    )
    for label in LABELS:
        rows, columns = np.nonzero(labels == label)
        if not len(rows):
            continue
        x, y = int(columns.min()), int(rows.min())
        native = [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y]
        placed = box.box_to_input(Box(*native))
        bbox = [placed.x, placed.y, placed.width, placed.height]
        coco["annotations"].append(
            {
                "id": len(coco["annotations"]) + 1,
                "image_id": image_id,
                "category_id": label,
                "bbox": bbox,
                "native_bbox": native,
                "area": bbox[2] * bbox[3],
                "iscrowd": 0,
            }
        )
