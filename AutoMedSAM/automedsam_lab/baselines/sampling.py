"""Which slices a baseline is shown."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

_MIN_RUN = 10


class SliceSelection(str, Enum):
    """What a baseline is shown of a volume: its slices with a label, all of them, or all of them in a row."""

    BOXED = "boxed"
    ALL = "all"
    VIDEO = "video"


def sample(
    selection: SliceSelection, shown: Sequence[Sequence[int]], seeds: Sequence[int], count: int | None
) -> list[list[int]]:
    """Chooses slices evenly over the cases.

    Args:
        selection: a video is cut into runs of at least ten slices around the seeds, of as many cases as that allows;
            other slices are taken one by one.
        shown: the slices of each case that could be shown.
        seeds: the slice of each case where the label is the largest.
        count: at most so many in all; None for every one.

    Returns:
        The chosen slices of each case, in order; none for a case that is left out.
    """
    if count is None or count >= sum(map(len, shown)):
        return [list(indices) for indices in shown]
    if selection is not SliceSelection.VIDEO:
        every = [(case, index) for case, indices in enumerate(shown) for index in indices]
        picked = [every[place * len(every) // count] for place in range(count)]
        return [[index for owner, index in picked if owner == case] for case in range(len(shown))]
    taken = min(len(shown), max(1, count // _MIN_RUN))
    runs: list[list[int]] = [[] for _ in shown]
    for place in range(taken):
        case = place * len(shown) // taken
        length = min(count // taken, len(shown[case]))
        first = min(max(0, seeds[case] - length // 2), len(shown[case]) - length)
        runs[case] = list(range(first, first + length))
    return runs
