"""Prompts in words."""

from __future__ import annotations

from slicer.i18n import tr as _

from AutoMedSAMLib.model.prompt_record import ObjectPrompts


def prompts_in_words(prompts: ObjectPrompts, at: int, axis: int) -> str:
    """What the user has shown on a slice besides boxes: "2 points"; `axis` is the slice axis in `(K, J, I)`."""
    if at in prompts.empty:
        return _("no lesion here")
    points = sum(point.slice(axis) == at for point in prompts.points)
    parts = [_("drawn by hand")] if any(mask.slice == at for mask in prompts.masks) else []
    if points:
        parts.append(_("1 point") if points == 1 else _("{points} points").format(points=points))
    return ", ".join(parts)


def mode_in_words(mode: str, plane: str) -> str:
    """What to do with the mouse; `plane` is that of the boxes, in the user's language, empty if any will do."""
    if mode == "point":
        return _("Click on the object; with Shift where it is not. Esc ends it.")
    if plane:
        return _("Drag a box around the object on {plane} slices. Esc ends it.").format(plane=plane)
    return _("Drag a box around the object on any slice. Esc ends it.")
