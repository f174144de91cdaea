"""The line below the box table: how many boxes and objects there are."""

from __future__ import annotations

from AutoMedSAMLib.model.box_table import BoxTable

_EMPTY = "Click Apply: the boxes that the model finds appear here. Then untick, edit or add boxes and propagate again."


def summary(table: BoxTable, incoming: BoxTable | None) -> str:
    """What the table holds.

    Args:
        table: The box table.
        incoming: The boxes of a run that has not linked its boxes yet; None if there is no such run.
    """
    if incoming is not None:
        found = _count(len(incoming), "box", "boxes")
        return f"{found} found so far. They are grouped into objects when all slices have been searched."
    if not len(table):
        return _EMPTY
    objects = table.objects()
    unassigned = table.unassigned(objects)
    accepted = [len(group.accepted) for group in objects if group.accepted]
    shown = sum(len(group.boxes) for group in [*objects, *([unassigned] if unassigned else [])])
    text = f"{_count(len(accepted), 'object')} from {_count(sum(accepted), 'box', 'boxes')}"
    return text + (f"; {shown - sum(accepted)} not used." if shown > sum(accepted) else ".")


def why_not_propagate(table: BoxTable, is_ready: bool, is_foreign: bool, is_stale: bool) -> str:
    """Why nothing can be propagated; empty if it can.

    Args:
        table: The box table.
        is_ready: Whether a model and a volume are chosen.
        is_foreign: Whether the boxes belong to another volume or model than the chosen ones.
        is_stale: Whether the segments do not show what was last segmented.
    """
    if not len(table):
        return "Click Apply first."
    if not is_ready:
        return "Choose a model and a volume first."
    if is_foreign:
        return "These boxes belong to another volume or model: choose that again, or click Apply for this one."
    if table.needs_propagation or is_stale:
        return ""
    return "The segmentation shows these boxes already: change one first."


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
