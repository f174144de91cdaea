"""What must hold of every prepared dataset, whatever archive it was made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from automedsam.core.boxes import Box
from automedsam.core.letterbox import Letterbox
from automedsam.core.volume import Plane, Volume
from automedsam_lab.data.splits import SPLITS


def manifest_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def coco_of(out: Path, part: str) -> dict[str, Any]:
    return json.loads((out / "annotations" / f"{part}.json").read_text(encoding="utf-8"))


def images_of(out: Path) -> dict[str, dict[str, Any]]:
    """Every image's entry by its file's name, with its part and under `boxes` its annotations."""
    found = {}
    for part in SPLITS:
        coco = coco_of(out, part)
        by_id = {image["id"]: {**image, "part": part, "boxes": []} for image in coco["images"]}
        for annotation in coco["annotations"]:
            by_id[annotation["image_id"]]["boxes"].append(annotation)
        assert not found.keys() & {image["file_name"] for image in by_id.values()}, "an id is in two parts"
        found.update({image["file_name"]: image for image in by_id.values()})
    return found


def pixels(out: Path, image: dict[str, Any], folder: str = "images") -> np.ndarray:
    return np.asarray(Image.open(out / folder / image["part"] / image["file_name"]))


def check(out: Path) -> dict[str, dict[str, Any]]:
    """The shape that all who read a prepared dataset rely on.

    Returns:
        `images_of(out)`.
    """
    manifest, images = manifest_of(out), images_of(out)
    assert manifest["schema"] == 1 and manifest["size"] == 640 and manifest["fractions"] == [0.7, 0.2, 0.1]
    parts = manifest["patients"]
    assert len({p for part in SPLITS for p in parts[part]}) == sum(len(parts[part]) for part in SPLITS)
    for part in SPLITS:
        of_part = [image for image in images.values() if image["part"] == part]
        assert manifest["counts"][part] == {
            "patients": len(parts[part]),
            "images": len(of_part),
            "boxes": sum(len(image["boxes"]) for image in of_part),
            "empty": sum(not image["boxes"] for image in of_part),
        }
        there = {path.name for path in (out / "images" / part).iterdir()}
        assert there == {image["file_name"] for image in of_part}
        assert {image["patient"] for image in of_part} <= set(parts[part])
        names = {category["id"]: category["name"] for category in coco_of(out, part)["categories"]}
        assert names == {int(value): name for value, name in manifest["labels"].items()} and min(names) >= 1
    identifiers = [annotation["id"] for image in images.values() for annotation in image["boxes"]]
    assert len(set(identifiers)) == len(identifiers)
    for image in images.values():
        seen = pixels(out, image)
        assert seen.shape[:2] == (640, 640) and seen.dtype == np.uint8
        check_boxes(image)
    return images


def check_boxes(image: dict[str, Any]) -> None:
    """Each box comes back to its native pixels, to far less than half a pixel."""
    letterbox = Letterbox.from_json(image)
    for annotation in image["boxes"]:
        x, y, w, h = annotation["bbox"]
        assert min(x, y) >= -0.001 and x + w <= 640.001 and y + h <= 640.001 and annotation["iscrowd"] == 0
        back = letterbox.box_to_native(Box(x, y, w, h))
        native_x, native_y, native_w, native_h = annotation["native_bbox"]
        wanted = (native_x, native_y, native_x + native_w, native_y + native_h)
        # Positions are written to a thousandth of a pixel of the 640.
        assert np.abs(np.subtract(back.corners, wanted)).max() <= 0.002 / min(letterbox.ratio) + 0.001


def check_mask(out: Path, image: dict[str, Any], native: np.ndarray) -> None:
    """The mask comes back: pixel for pixel where the picture grew, else to half a pixel of the 640."""
    letterbox = Letterbox.from_json(image)
    back = letterbox.restore_mask(pixels(out, image, "masks"))
    reach = int(np.ceil(0.5 / min(letterbox.ratio))) if letterbox.scale < 1 else 0
    least = ndimage.minimum_filter(native, 2 * reach + 1)
    most = ndimage.maximum_filter(native, 2 * reach + 1)
    assert back.shape == native.shape
    np.testing.assert_array_equal(back[least == most], native[least == most])
    assert reach == 0 or (least == most).mean() > 0.5


def restored(out: Path, case: str, volume: Volume) -> np.ndarray:
    """The labels of all a case's slices, back on the volume's own grid, `(K, J, I)` uint8."""
    slices = [image for image in images_of(out).values() if image["file_name"].startswith(f"{case}_")]
    plane = Plane(slices[0]["plane"])
    frames = np.zeros(volume.to_frames(plane).shape[1:], np.uint8)
    for image in slices:
        frames[image["slice"]] = Letterbox.from_json(image).restore_mask(pixels(out, image, "masks"))
    return volume.from_frames(frames, plane)
