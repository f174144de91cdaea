"""What the lab's tests share: a bundle without files, for its manifest alone, and torch on one thread."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from automedsam.bundle import Bundle, load_bundle
from automedsam.contract.manifest import COMPONENTS, named_files


@pytest.fixture
def a_manifest(tmp_path: Path) -> Bundle:
    """A bundle of one label whose model files are not there."""
    files = {precision: {part: f"{part}.{precision}.onnx" for part in COMPONENTS} for precision in ("int8", "fp32")}
    manifest = {
        "schema": 2,
        "name": "glioma",
        "version": "0.0.1",
        "task": "a bright thing",
        "license": "none",
        "modalities": ["FLAIR"],
        "window": None,
        "plane": "axial",
        "segments": [{"value": 1, "name": "tumour", "color": [1.0, 0.5, 0.0], "terminology": ""}],
        "detector": {
            "input_size": [64, 64],
            "labels": [1],
            "context_mm": 2.0,
            "score_threshold": 0.4,
            "nms_iou": 0.5,
            "mirror": None,
            "files": {"int8": "detector.int8.onnx", "fp32": "detector.fp32.onnx"},
        },
        "linking": {"iou": 0.3, "max_gap_mm": 4.0, "min_extent_mm": 3.0},
        "tracking": {"fill": 0.6, "prompt_score": 0.5, "reach_mm": 3.0, "margin": 0.25},
        "segmenter": {
            "architecture": {"image_size": 128, "num_maskmem": 5, "multimask": False},
            "box_as_mask": True,
            "files": files,
        },
    }
    manifest["files"] = {name: {"sha256": "0" * 64, "bytes": 1} for name in named_files(manifest)}
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    return load_bundle(folder)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch computes on one thread: tiny networks take longer on several."""
    torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
