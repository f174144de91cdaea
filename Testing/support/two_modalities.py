"""A bundle of two modalities and three nested labels with a detector of a few operations, and a phantom for it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.bundle import BUILT_IN
from automedsam.core.volume import Volume

SIDE = 192
WHOLE, CORE, ENHANCING = 1, 2, 3
# Of the detector's channels FLAIR-1, FLAIR, FLAIR+1, T1ce: which one shows each label, and how bright (0 to 1).
_SHOWN = {WHOLE: (1, 0.55), CORE: (3, 0.45), ENHANCING: (3, 0.85)}
SEGMENTS = [
    {"value": WHOLE, "name": "Whole tumor", "color": [0.9, 0.8, 0.1], "terminology": ""},
    {"value": CORE, "name": "Tumor core", "color": [0.9, 0.4, 0.1], "terminology": "", "inside": WHOLE},
    {
        "value": ENHANCING,
        "name": "Enhancing tumor",
        "color": [0.9, 0.1, 0.2],
        "terminology": "",
        "inside": CORE,
        "segmented_on": "T1ce",
    },
]


def manifest(name: str = "two", **changed: Any) -> dict[str, Any]:
    """The manifest of the bundle, without its files' hashes."""
    glioma = json.loads((BUILT_IN / "glioma" / "bundle.json").read_text(encoding="utf-8"))
    parts = glioma["segmenter"]["files"]["int8"]
    detector = {**glioma["detector"], "labels": [WHOLE, CORE, ENHANCING], "mirror": "slices", "score_threshold": 0.4}
    detector |= {"channels": ["FLAIR-1", "FLAIR", "FLAIR+1", "T1ce"]}
    detector |= {"files": {"int8": "detector.int8.onnx", "fp32": "detector.fp32.onnx"}}
    content = {
        "schema": 2,
        "name": name,
        "version": "0.0.1",
        "task": "Nested spheres of a phantom",
        "license": "CC0",
        "modalities": ["FLAIR", "T1ce"],
        "roles": {"T1ce": {"synonyms": ["dye"], "dicom": {"ContrastBolusAgent": ["gadolinium"]}}},
        "window": None,
        "plane": "axial",
        "segments": SEGMENTS,
        "detector": detector,
        "linking": {"max_gap_mm": 5.0, "min_extent_mm": 4.0},
        "tracking": glioma["tracking"],
        "segmenter": {
            "architecture": glioma["segmenter"]["architecture"],
            "box_as_mask": True,
            "channels": ["FLAIR", "T1ce", "FLAIR"],
            "files": {"int8": parts, "fp32": parts},
        },
    }
    return {**content, **changed}


def write_bundle(folder: Path, *, fp32: bool = True, **changed: Any) -> Path:
    """Writes the bundle into `folder`, with the starter's segmenter beside it.

    Its FP32 detector takes for the core what is brighter, so that the two precisions differ in a known way.
    """
    content = manifest(**changed)
    folder.mkdir(parents=True)
    shutil.copytree(BUILT_IN / "segmenters", folder.parent / "segmenters", dirs_exist_ok=True)
    write_detector(folder / "detector.int8.onnx", _SHOWN)
    write_detector(folder / "detector.fp32.onnx", _SHOWN | {CORE: (3, 0.8)})
    if not fp32:
        del content["segmenter"]["files"]["fp32"], content["detector"]["files"]["fp32"]
    named = [*content["detector"]["files"].values(), *content["segmenter"]["files"]["int8"].values()]
    content["files"] = {name: _described(folder / name) for name in named}
    (folder / "bundle.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return folder


def write_detector(path: Path, shown: dict[int, tuple[int, float]], channels: int = 4) -> None:
    """An ONNX detector: for each label one box around what is brighter than its level in its channel."""
    from onnx import TensorProto, checker, helper, save

    nodes: list[Any] = []
    constants: list[Any] = []
    corners, scores = [], []

    def constant(name: str, values: Any, kind: int) -> str:
        array = np.asarray(values)
        constants.append(helper.make_tensor(name, kind, array.shape, array.ravel().tolist()))
        return name

    def add(kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    one = constant("one", [1.0], TensorProto.FLOAT)
    for place, (label, (channel, level)) in enumerate(sorted(shown.items())):
        at = constant(f"channel{label}", [channel], TensorProto.INT64)
        image = add("Gather", ["image", at], f"image{label}", axis=1)
        bright = add("Greater", [image, constant(f"level{label}", level, TensorProto.FLOAT)], f"bright{label}")
        mask = add("Cast", [bright], f"mask{label}", to=TensorProto.FLOAT)
        edges = []
        for edge, (over, axis) in {"x": (2, 3), "y": (3, 2)}.items():
            line = add("ReduceMax", [mask, constant(f"over{edge}{label}", [over], TensorProto.INT64)], f"{edge}{label}")
            for end, last in (("first", 0), ("last", 1)):
                name = f"{edge}{end}{label}"
                found = add("ArgMax", [line], f"{name}i", axis=axis, select_last_index=last)
                number = add("Cast", [found], f"{name}n", to=TensorProto.FLOAT)
                edges.append(add("Add", [number, one], name) if last else number)
        x0, x1, y0, y1 = edges
        corners.append(add("Concat", [x0, y0, x1, y1], f"corners{label}", axis=3))
        whole = constant(f"whole{label}", [2, 3], TensorProto.INT64)
        present = add("ReduceMax", [mask, whole], f"present{label}")
        weights = [0.9 if place == other else 0.0 for other in range(len(shown))]
        scores.append(add("Mul", [present, constant(f"class{label}", weights, TensorProto.FLOAT)], f"scores{label}"))
    squeezed = constant("squeezed", [2], TensorProto.INT64)
    add("Squeeze", [add("Concat", corners, "all_corners", axis=1), squeezed], "boxes")
    add("Squeeze", [add("Concat", scores, "all_scores", axis=1), squeezed], "scores")
    graph = helper.make_graph(
        nodes,
        "boxes_of_what_is_bright",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", channels, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", len(shown), 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(shown), len(shown)]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    save(model, str(path))


def phantom(shape: tuple[int, int, int] = (30, 64, 60)) -> tuple[Volume, np.ndarray]:
    """A volume of two channels, and its label map `(K, J, I)`: spheres within spheres.

    The whole sphere is bright in FLAIR alone; core and enhancing parts are in T1ce alone.
    """
    grid = np.stack(np.meshgrid(*(np.arange(count) for count in shape), indexing="ij"))
    distance = np.sqrt(((grid - np.reshape((15, 32, 30), (3, 1, 1, 1))) ** 2).sum(0))
    noise = np.random.default_rng(3).normal(0, 2, (2, *shape))
    head = (np.abs(grid[1] - 32) < 28) & (np.abs(grid[2] - 30) < 26)
    truth = np.zeros(shape, np.uint8)
    for value, radius in ((WHOLE, 13), (CORE, 8), (ENHANCING, 5)):
        truth[distance <= radius] = value
    flair = np.where(head, 60.0, 0.0) + 140 * (truth > 0)
    dye = np.where(head, 60.0, 0.0) + 85 * (truth >= CORE) + 55 * (truth >= ENHANCING)
    channels = np.stack([flair, dye]) + np.where(head, noise, 0)
    matrix = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    return Volume(channels.astype(np.float32), (1.0, 1.0, 1.0), (-30.0, -32.0, 10.0), matrix, "phantom"), truth


def _described(path: Path) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
