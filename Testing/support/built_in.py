"""The version of the built-in models, which one release builds together, and the folder of their segmenter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path, PurePosixPath

_BUNDLES = Path(__file__).parents[2] / "AutoMedSAM" / "automedsam" / "bundles"
_MANIFEST = json.loads((_BUNDLES / "glioma" / "bundle.json").read_text(encoding="utf-8"))
VERSION: str = _MANIFEST["version"]
NAMES = ["glioma", "hippocampus", "polyp", "brats", "anything", "chest-xray"]
BUILT_IN_NAMES = [f"{name.capitalize()} {VERSION}" for name in NAMES]
"""As the panel lists them."""
SEGMENTER = str(PurePosixPath(_MANIFEST["segmenter"]["files"]["int8"]["mask_decoder"]).parent.relative_to(".."))
"""The folder in that of all bundles, as in `segmenters/universal-0.3.0`."""


def int8_copy(folder: Path) -> Path:
    """Copies the glioma model without its FP32 files; returns the copy's folder."""
    no_fp32 = shutil.ignore_patterns("*.fp32.onnx", "*.safetensors")
    shutil.copytree(_BUNDLES / "segmenters", folder / "segmenters", ignore=no_fp32)
    return Path(shutil.copytree(_BUNDLES / "glioma", folder / "glioma", ignore=no_fp32))
