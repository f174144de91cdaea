"""What became of each measured object since the run. It imports neither Qt nor Slicer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from AutoMedSAMLib.model.box_record import ObjectGroup
from AutoMedSAMLib.model.box_table import BoxTable


@dataclass(frozen=True)
class ObjectState:
    """What the user may want to see of an object.

    Attributes:
        to_check: whether it has uncertain slices that the user has not accepted.
        changed: whether one of its boxes was drawn, moved or ignored by hand, or it has other prompts.
        ignored: whether nothing of it will be segmented again.
    """

    to_check: bool = False
    changed: bool = False
    ignored: bool = False


def states_of(measures: Sequence[Mapping[str, Any]], table: BoxTable) -> list[ObjectState]:
    """The state of each measure; a segment's total is in none of them.

    Args:
        measures: measures of the run whose result the table shows.
        table: the boxes as they are now.
    """
    groups = table.objects() if measures else []
    return [ObjectState() if one["number"] is None else _state(one, _groups_of(one, groups), table) for one in measures]


def _state(measure: Mapping[str, Any], groups: list[ObjectGroup], table: BoxTable) -> ObjectState:
    ids = {*measure.get("boxes", ()), *(box.id for group in groups for box in group.boxes)}
    boxes = [box for box in map(table.get, ids) if box is not None]
    by_hand = any(box.drawn or box.id in table.rejected for box in boxes)
    return ObjectState(
        to_check=not table.checked.issuperset(measure["doubtful"]),
        changed=by_hand or any(group.prompts is not None for group in groups),
        ignored=not any(group.is_used for group in groups),
    )


def _groups_of(measure: Mapping[str, Any], groups: Sequence[ObjectGroup]) -> list[ObjectGroup]:
    """The objects that have boxes of a measured one; without boxes, those of its label and slices without boxes."""
    ids = set(measure.get("boxes", ()))
    if ids:
        return [group for group in groups if any(box.id in ids for box in group.boxes)]
    first, last = measure["slices"] or (0, -1)
    alike = (group for group in groups if group.label == measure["label"] and not group.boxes)
    return [group for group in alike if first <= group.first and group.last <= last]
