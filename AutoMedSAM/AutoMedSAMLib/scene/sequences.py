"""Which frame of a sequence a volume shows: a result belongs to that one alone."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _


def frame_of(volume: slicer.vtkMRMLScalarVolumeNode) -> dict[str, Any] | None:
    """The frame that is shown by a volume that a sequence browser plays.

    Returns:
        `sequence` (its name), `number` (from 1) and `count`; None if the volume is not part of a sequence.
    """
    if not hasattr(slicer, "vtkMRMLSequenceBrowserNode"):
        return None
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        index = browser.GetSelectedItemNumber()
        if index >= 0 and browser.IsProxyNode(volume.GetID()):
            name = browser.GetSequenceNode(volume).GetName()
            return {"sequence": name, "number": index + 1, "count": browser.GetNumberOfItems()}
    return None


def describe_frame(frame: dict[str, Any] | None) -> str:
    """A sentence that names the frame; empty for None."""
    if frame is None:
        return ""
    message = _("This is frame {number} of {count} of {sequence}; the others are not segmented.")
    return message.format(**frame)
