"""The phantom head, made once in a process: dozens of tests use it, and making it takes two seconds."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from automedsam.core.volume import Volume
from automedsam.demo import phantom

_made = lru_cache(maxsize=8)(phantom.phantom_head)
# Two of its three lesions lie in these slices, and the top of the third.
_TWO_LESIONS = slice(26, 52)


def phantom_head(seed: int = 0, lesions: Sequence[phantom.Lesion] = phantom.LESIONS) -> tuple[Volume, Any]:
    """A copy of what `automedsam.demo.phantom.phantom_head` makes."""
    volume, reference = _made(seed, tuple(lesions))
    return replace(volume, array=volume.array.copy()), reference.copy()


def two_lesions() -> tuple[Volume, Any]:
    """The slices of the head with its two upper lesions and the top of the third, for a run that takes half as long."""
    volume, reference = phantom_head()
    return replace(volume, array=volume.array[_TWO_LESIONS].copy()), reference[_TWO_LESIONS].copy()
