"""Makes the effect known to the Segment Editor."""

from __future__ import annotations

import logging
from pathlib import Path

_SOURCE = Path(__file__).resolve().parents[2] / "SegmentEditorAutoMedSAMLib" / "SegmentEditorEffect.py"


def register_effect() -> None:
    """Registers the effect; called once, when Slicer has started. A Slicer without Segment Editor goes without it."""
    try:
        import qSlicerSegmentationsEditorEffectsPythonQt as effects
    except ImportError:
        logging.info("AutoMedSAM: this Slicer has no Segment Editor effects.")
        return
    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(_SOURCE.as_posix())
    effect.self().register()
