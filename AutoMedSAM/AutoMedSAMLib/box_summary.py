"""The line below the box table: how many boxes and objects there are."""

from __future__ import annotations

from AutoMedSAMLib.box_table import BoxTable

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
    loose = table.loose(objects)
    accepted = [len(group.accepted) for group in objects if group.accepted]
    shown = sum(len(group.boxes) for group in [*objects, *([loose] if loose else [])])
    text = f"{_count(len(accepted), 'object')} from {_count(sum(accepted), 'box', 'boxes')}"
    return text + (f"; {shown - sum(accepted)} not used." if shown > sum(accepted) else ".")


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
