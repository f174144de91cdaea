"""Overlap with a reference segmentation."""

from __future__ import annotations

import numpy as np

from automedsam.core.mask_agreement import Mask, dice
from automedsam.measure.objects import connected_objects


class ReferenceSegment:
    """The reference of one segment, for the Dice of its objects.

    Args:
        mask: `(K, J, I)` on the grid of the objects.
    """

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._pieces, self.count = connected_objects(mask)
        self._met: set[int] = set()

    def dice_of(self, found: Mask) -> float:
        """Dice of an object with the connected pieces of the reference that it overlaps; 0 if it overlaps none."""
        met = {int(number) for number in np.unique(self._pieces[found])} - {0}
        self._met |= met
        return dice(found, np.isin(self._pieces, list(met))) if met else 0.0

    @property
    def missed(self) -> int:
        """Connected pieces of the reference that no object overlapped so far."""
        return self.count - len(self._met)
