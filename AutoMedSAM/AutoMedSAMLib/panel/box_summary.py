"""The line below the box table: how many boxes and objects there are."""

from __future__ import annotations

from collections.abc import Sequence

from slicer.i18n import tr as _

from AutoMedSAMLib.model.box_record import ObjectGroup
from AutoMedSAMLib.model.box_table import BoxTable


def summary(table: BoxTable, incoming: BoxTable | None) -> str:
    """What the table holds.

    Args:
        table: The box table.
        incoming: The boxes of a run that has not linked its boxes yet; None if there is no such run.
    """
    if incoming is not None:
        listed = incoming.unassigned()
        found = 0 if listed is None else len(listed.boxes)
        if found == 1:
            return _("1 box found so far, not grouped yet.")
        return _("{boxes} boxes found so far, not grouped yet.").format(boxes=found)
    if not len(table):
        return _("Click Apply to find objects, or show one yourself: draw a box or set points.")
    objects = table.objects()
    unassigned = table.unassigned(objects)
    accepted = [len(group.accepted) for group in objects if group.is_used]
    shown = sum(len(group.boxes) for group in [*objects, *([unassigned] if unassigned else [])])
    numbers = {"objects": len(accepted), "boxes": sum(accepted), "unused": shown - sum(accepted)}
    text = _counts(len(accepted) == 1, sum(accepted) == 1, shown > sum(accepted)).format(**numbers)
    return " ".join([text, *_other_prompts(objects)])


def why_not_propagate(table: BoxTable, is_ready: bool, is_foreign: bool, is_stale: bool) -> str:
    """Why nothing can be propagated; empty if it can.

    Args:
        table: The box table.
        is_ready: Whether a model and a volume are chosen.
        is_foreign: Whether the boxes belong to another volume or model than the chosen ones.
        is_stale: Whether the segments do not show what was last segmented.
    """
    if not len(table):
        return _("Click Apply, draw a box or set a point first.")
    if not is_ready:
        return _("Choose a model and a volume first.")
    if is_foreign:
        return _("These boxes belong to another volume or model: choose that again, or click Apply for this one.")
    if table.needs_propagation or is_stale:
        return ""
    return _("The segmentation shows these boxes already: change one first.")


def _other_prompts(objects: Sequence[ObjectGroup]) -> list[str]:
    """How many points and slices drawn by hand are used besides boxes; empty if there are none."""
    used = [group.prompts for group in objects if group.prompts is not None and group.is_used]
    points, masks = sum(len(one.points) for one in used), sum(len(one.masks) for one in used)
    found = [_("1 point.") if points == 1 else _("{points} points.").format(points=points)] if points else []
    if masks:
        found.append(_("1 slice by hand.") if masks == 1 else _("{slices} slices by hand.").format(slices=masks))
    return found


def _counts(one_object: bool, one_box: bool, some_unused: bool) -> str:
    if one_object and one_box:
        some, none = _("1 object from 1 box; {unused} not used."), _("1 object from 1 box.")
    elif one_object:
        some, none = _("1 object from {boxes} boxes; {unused} not used."), _("1 object from {boxes} boxes.")
    else:
        some = _("{objects} objects from {boxes} boxes; {unused} not used.")
        none = _("{objects} objects from {boxes} boxes.")
    return some if some_unused else none
