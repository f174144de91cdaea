"""The version of the built-in models, which one release builds together, and the folder of their segmenter."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

_GLIOMA = Path(__file__).parents[2] / "AutoMedSAM" / "automedsam" / "bundles" / "glioma" / "bundle.json"
_MANIFEST = json.loads(_GLIOMA.read_text(encoding="utf-8"))
VERSION: str = _MANIFEST["version"]
NAMES = ["glioma", "hippocampus", "polyp", "brats", "anything"]
BUILT_IN_NAMES = [f"{name.capitalize()} {VERSION}" for name in NAMES]
"""As the panel lists them."""
SEGMENTER = str(PurePosixPath(_MANIFEST["segmenter"]["files"]["int8"]["mask_decoder"]).parent.relative_to(".."))
"""The folder in that of all bundles, as in `segmenters/universal-0.3.0`."""
