"""Which volume of the scene is which of a model's inputs, by modality and name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from automedsam.contract.modality_names import modalities_in, modalities_of

Names = Mapping[str, str]
"""What a volume is called: "name", and DICOM tags by keyword; see `AutoMedSAMLib.engine.input_check.names_of`."""


def match(modalities: Sequence[str], chosen: Sequence[int | None], volumes: Sequence[Names]) -> list[int | None]:
    """Assigns volumes to a model's inputs, each at most once.

    Args:
        modalities: what the model takes, such as "FLAIR" or "T1ce".
        chosen: for each modality the index of the volume that stays there; None where one is to be found.
        volumes: what each volume is called.

    Returns:
        For each modality the index of its volume; None where no volume names it.
    """
    found = list(chosen)
    for place, modality in enumerate(modalities):
        if found[place] is None:
            free = (index for index in range(len(volumes)) if index not in found)
            found[place] = next((index for index in free if fits(modality, volumes[index])), None)
    return found


def fits(modality: str, names: Names) -> bool:
    """Whether a volume's names say that it is of this modality. A T1 with contrast is no T1, and T2-FLAIR no T2."""
    wanted = modalities_in(modality)
    if wanted:
        return bool(wanted & modalities_of(names))
    # A modality that only this model knows: its words, in this order, as whole words.
    words = _words(modality)
    return bool(words) and f" {words} " in f" {_words(names.get('name', ''))} "


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.lower()))
