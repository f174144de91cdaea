"""Small archives of the published layouts, with the true names, for tests that have no real ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from generate_archive import draw_polyp
from PIL import Image

# The header as NIH writes it: its commas stand outside quotes.
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
ENTRY_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BRATS_NAMES = {
    2017: ("Brats17_CBICA_A{:02d}_1", "_", ("t1", "t1ce", "t2", "flair", "seg")),
    2020: ("BraTS20_Training_{:03d}", "_", ("t1", "t1ce", "t2", "flair", "seg")),
    2021: ("BraTS2021_{:05d}", "_", ("t1", "t1ce", "t2", "flair", "seg")),
    2023: ("BraTS-GLI-{:05d}-000", "-", ("t1n", "t1c", "t2w", "t2f", "seg")),
}


def still(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def kvasir(root: Path, images: int = 10, side: int = 80) -> Path:
    rng = np.random.default_rng(1)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(images):
        picture, mask = draw_polyp(rng, side)
        Image.fromarray(picture[: side - 10]).save(root / "images" / f"cju{index:04d}.jpg")
        Image.fromarray(mask[: side - 10]).save(root / "masks" / f"cju{index:04d}.jpg")
    return root


def chestxray14(root: Path, rows: list[str], side: int = 64, header: str = BOX_HEADER, missing: str = "") -> Path:
    """The images of all rows but one, in the folders of the archive, each an even grey."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "BBox_List_2017.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    for index, name in enumerate(sorted({cell for row in rows for cell in row.split(",") if cell.endswith(".png")})):
        folder = root / f"images_{index % 2 + 1:03d}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        if name != missing:
            Image.fromarray(np.full((side, side), 100 + index % 100, np.uint8)).save(folder / name)
    return root


def blobs(shape: tuple[int, int, int], values: tuple[int, ...]) -> np.ndarray:
    """`(K, J, I)` uint8: a brick of each value, none touching another, and none at a border."""
    labels = np.zeros(shape, np.uint8)
    k, j, i = shape
    for index, value in enumerate(values):
        left = 2 + index * (i - 4) // len(values)
        labels[k // 4 : k - k // 4, j // 4 : j - j // 4, left : left + max(1, (i - 4) // len(values) - 2)] = value
    return labels


def volume(array: np.ndarray, direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)) -> sitk.Image:
    """An image with a place of its own; the direction is that of I, J, K in LPS."""
    image = sitk.GetImageFromArray(array)
    image.SetOrigin((3.0, -20.0, 7.0))
    image.SetDirection(direction)
    return image


def shown(labels: np.ndarray) -> np.ndarray:
    """Intensities `(K, J, I)` int16 in which the labels stand out of a ramp, 0 beside the head."""
    k, j, i = labels.shape
    ramp = np.arange(j)[:, None] + np.arange(i) + 100 * np.ones((k, 1, 1))
    head = np.zeros(labels.shape, np.int16)
    head[:, 2:-2, 2:-2] = (ramp + 150 * (labels > 0))[:, 2:-2, 2:-2]
    return head


def brats(root: Path, year: int, cases: int = 4, shape: tuple[int, int, int] = (8, 24, 20), **given: object) -> Path:
    """Cases of a year's names, labels 1, 2 and that of enhancing tumour; `values` gives others."""
    name, joint, parts = BRATS_NAMES[year]
    values = given.get("values", (1, 2, 3) if year == 2023 else (1, 2, 4))
    for number in range(1, cases + 1):
        case = name.format(number)
        (root / case).mkdir(parents=True)
        labels = blobs(shape, values)
        for part in parts:
            array = labels if part == "seg" else shown(labels)
            sitk.WriteImage(
                volume(array, (-1, 0, 0, 0, -1, 0, 0, 0, 1)), str(root / case / f"{case}{joint}{part}.nii.gz")
            )
    return root


def brats_2015(root: Path) -> Path:
    """The challenge's own archive to 2016: a folder and a number for each modality, high and low grades apart."""
    labels = blobs((8, 24, 20), (1, 2, 3, 4))
    for grade, case in (
        ("HGG", "brats_2013_pat0001_1"),
        ("HGG", "brats_tcia_pat105_1"),
        ("HGG", "brats_tcia_pat105_2"),
        ("LGG", "brats_2013_pat0001_1"),
    ):
        for number, part in enumerate(("MR_Flair", "MR_T1", "MR_T1c", "MR_T2", "OT")):
            stem = f"VSD.Brain.XX.O.{part}.{54512 + number}" if part != "OT" else "VSD.Brain_3more.XX.O.OT.54517"
            folder = root / grade / case / stem
            folder.mkdir(parents=True)
            sitk.WriteImage(volume(labels if part == "OT" else shown(labels)), str(folder / f"{stem}.mha"))
    return root


def decathlon_brats(root: Path, cases: int = 3, shape: tuple[int, int, int] = (8, 24, 20)) -> Path:
    """Task01: 4-D images of four channels, `dataset.json` as published."""
    labels = blobs(shape, (1, 2, 3))
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    names = [f"BRATS_{number:03d}.nii.gz" for number in range(1, cases + 1)]
    for name in names:
        channels = [volume((shown(labels) * (channel + 1)).astype(np.int16)) for channel in range(4)]
        sitk.WriteImage(sitk.JoinSeries(channels), str(root / "imagesTr" / name))
        sitk.WriteImage(volume(labels), str(root / "labelsTr" / name))
    described = {
        "name": "BRATS",
        "licence": "CC-BY-SA 4.0",
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        "numTraining": cases,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": ["./imagesTs/BRATS_485.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    return root


def sa_med2d(root: Path, cases: int = 4) -> Path:
    """`SAMed2Dv1`: two slices a case, two classes, one of them with two instances, and a union of both."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    index = {}
    for case in range(cases):
        for at in (40, 41):
            stem = f"ct_00--AbdomenCT1K--Case_{case:05d}--x_{at:04d}"
            Image.fromarray(still((60, 90), case)).save(root / "images" / f"{stem}.png")
            masks = {"0001_000": (10, 20, 30, 25), "0002_000": (40, 5, 8, 8), "0002_001": (60, 30, 12, 9)}
            whole = np.zeros((60, 90), np.uint8)
            for ending, (x, y, w, h) in masks.items():
                mask = np.zeros((60, 90), np.uint8)
                mask[y : y + h, x : x + w] = 255
                whole |= mask
                Image.fromarray(mask).save(root / "masks" / f"{stem}--{ending}.png")
            Image.fromarray(whole).save(root / "masks" / f"{stem}--0003_000.png")
            index[f"images/{stem}.png"] = [f"masks/{stem}--{ending}.png" for ending in (*masks, "0003_000")]
    kinds = {"AbdomenCT1K": {"liver": 1, "kidney": 2, "union_liver_kidney": 3}, "AMOS2022": {"spleen": 1}}
    (root / "SAMed2D_v1.json").write_text(json.dumps(index, indent=4), encoding="utf-8")
    (root / "SAMed2D_v1_class_mapping_id.json").write_text(json.dumps(kinds), encoding="utf-8")
    return root


def npz(root: Path, cases: int = 4) -> Path:
    """DeepLesion's names as MedSAM2 packs them; the last two are of one patient."""
    root.mkdir(parents=True)
    labels = blobs((6, 40, 32), (1,))
    for number in range(1, cases + 1):
        patient = min(number, cases - 1)
        place = {"spacing": (0.8, 0.8, 5.0), "origin": (0.0, 0, 0), "direction": (0.0, 1, 0, 1, 0, 0, 0, 0, -1)}
        name = f"CT_Lesion_{patient:06d}_{number:02d}_01_035-040.npz"
        np.savez_compressed(root / name, imgs=np.clip(shown(labels), 0, 255).astype(np.uint8), gts=labels, **place)
    return root


def video(path: Path, frames: np.ndarray, codec: str = "MJPG") -> Path:
    """`(N, H, W, 3)` RGB uint8 as a video."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10.0, frames.shape[2:0:-1])
    assert writer.isOpened(), codec
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def moving_square(count: int = 6, height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Frames `(N, H, W, 3)` with a red square that moves right, and its masks `(N, H, W)` of 0 and 255."""
    frames = np.full((count, height, width, 3), 40, np.uint8)
    masks = np.zeros((count, height, width), np.uint8)
    for index in range(count):
        frames[index, 16:32, 8 + 4 * index : 24 + 4 * index] = (220, 60, 60)
        masks[index, 16:32, 8 + 4 * index : 24 + 4 * index] = 255
    return frames, masks
