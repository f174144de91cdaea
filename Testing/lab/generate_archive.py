"""An archive of Kvasir-SEG's layout and of any size, and what `prepare` takes for it in time and memory.

python Testing/lab/generate_archive.py FOLDER --images 20000 --measure
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 512


def draw_polyp(rng: np.random.Generator, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """A smooth ellipse on a smooth ground, `(side, side, 3)` uint8, and its mask, `(side, side)` of 0 and 255."""
    rows, columns = np.ogrid[:side, :side]
    (y, x), (height, width) = rng.uniform(0.3, 0.7, 2) * side, rng.uniform(0.08, 0.25, 2) * side
    inside = ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 <= 1
    ground = np.linspace(60, 160, side)[:, None] * np.ones((1, side))
    colour = rng.uniform(0.4, 1.0, 3)
    picture = np.where(inside, 220.0, ground)[..., None] * colour
    return picture.astype(np.uint8), np.where(inside, 255, 0).astype(np.uint8)


def generate(folder: Path, images: int, side: int = SIDE, seed: int = 0) -> None:
    """Writes `images/*.jpg` and `masks/*.jpg`, about 20 KB a pair of 512 pixels."""
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for index in range(images):
        picture, mask = draw_polyp(rng, side)
        for part, pixels in (("images", picture), ("masks", mask)):
            Image.fromarray(pixels).save(folder / part / f"cju{index:08d}.jpg", quality=85)


def generate_sa_med2d(folder: Path, images: int, side: int = SIDE, seed: int = 0, slices: int = 4) -> None:
    """Writes `SAMed2Dv1` as published: PNG images, one PNG mask for each object, and both JSON files.

    A case has four slices, a slice three objects of two classes, and a union of them, which is none of them.
    """
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with (folder / "SAMed2D_v1.json").open("w", encoding="utf-8") as index:
        index.write("{")
        for number in range(images):
            case, at = divmod(number, slices)
            stem = f"ct_00--Generated--Case_{case:06d}--x_{at:04d}"
            ground = rng.normal(90, 12, (side, side))
            union = np.zeros((side, side), bool)
            masks = []
            for ending in ("0001_000", "0002_000", "0002_001"):
                _, mask = draw_polyp(rng, side)
                inside = mask > 0
                ground[inside] += 60
                union |= inside
                masks.append((f"masks/{stem}--{ending}.png", inside))
            masks.append((f"masks/{stem}--0003_000.png", union))
            Image.fromarray(ground.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{stem}.png")
            for path, inside in masks:
                Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)).save(folder / path)
            entry = f"{json.dumps(f'images/{stem}.png')}: {json.dumps([path for path, _ in masks])}"
            index.write(("," if number else "") + "\n" + entry)
        index.write("\n}\n")
    kinds = {"Generated": {"liver": 1, "kidney": 2, "union_liver_kidney": 3}}
    (folder / "SAMed2D_v1_class_mapping_id.json").write_text(json.dumps(kinds), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a new folder; its images go to FOLDER/archive")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--measure", action="store_true", help="prepare it, tell time and memory, delete all of it")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    archive, out = arguments.folder / "archive", arguments.folder / "prepared"
    generate(archive, arguments.images, arguments.side)
    if not arguments.measure:
        return
    from automedsam_lab.data.prepare.run import Settings, prepare
    from automedsam_lab.data.readers.registry import DatasetFormat

    try:
        for call in ("first", "second"):
            summary = prepare(Settings(DatasetFormat.KVASIR, archive, out, workers=arguments.workers))
            print(
                f"{call} call: {summary.made} images made, {summary.kept} kept, {summary.seconds:.1f} s, "
                f"{summary.peak_mb:.0f} MB at most ({arguments.workers} workers): {summary.counts}"
            )
    finally:
        for folder in (archive, out):
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
