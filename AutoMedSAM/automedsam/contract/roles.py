"""Which image is which of a model's modalities, by what files, nodes and DICOM tags call it.

Standard library only: the command line and the panel assign images alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from automedsam.contract.modality_names import modalities_in, modalities_of

DICOM_KEYWORDS = ("Modality", "SeriesDescription", "ProtocolName", "SequenceName", "ContrastBolusAgent")
"""The DICOM attributes by which images are recognized."""

Names = Mapping[str, str]
"""What an image is called: "name", and DICOM attributes by keyword, such as "SeriesDescription"."""


@dataclass(frozen=True)
class Role:
    """One modality that a model takes.

    Attributes:
        name: The modality, such as "FLAIR" or "T1ce".
        synonyms: Other words for it in names of files and nodes, and in series descriptions.
        dicom: Words in the values of other DICOM attributes, by keyword.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    dicom: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any]) -> tuple[Role, ...]:
        """The modalities of a manifest that was checked, in its order."""
        declared = manifest.get("roles", {})
        return tuple(
            cls(
                name,
                tuple(declared.get(name, {}).get("synonyms", ())),
                {tag: tuple(words) for tag, words in declared.get(name, {}).get("dicom", {}).items()},
            )
            for name in manifest["modalities"]
        )

    def fits(self, names: Names) -> bool:
        """Whether an image's names state this modality. A T1 with contrast is no T1, and T2-FLAIR no T2."""
        texts = [names.get(tag, "") for tag in ("name", "SeriesDescription")]
        if any(_holds(text, word) for word in self.synonyms for text in texts):
            return True
        if any(_holds(names.get(tag, ""), word) for tag, words in self.dicom.items() for word in words):
            return True
        wanted = modalities_in(self.name)
        if wanted:
            return bool(wanted & modalities_of(names))
        # A modality that only this model knows: its words, in this order, as whole words.
        return _holds(names.get("name", ""), self.name)

    def is_called(self, word: str) -> bool:
        """Whether a word that a user types, such as "flair" or "t1gd", means this modality."""
        same = [_words(one) for one in (self.name, *self.synonyms)]
        return _words(word) in same or (
            bool(modalities_in(self.name)) and modalities_in(word) == modalities_in(self.name)
        )


def match(roles: Sequence[Role], chosen: Sequence[int | None], images: Sequence[Names]) -> list[int | None]:
    """Assigns images to modalities, each at most once; the first that fits where several do.

    Args:
        roles: What the model takes.
        chosen: For each role the index of the image that stays there; None where one is to be found.
        images: What each image is called.

    Returns:
        For each role the index of its image; None where no image states it.
    """
    found = list(chosen)
    for place, role in enumerate(roles):
        if found[place] is None:
            free = (index for index in range(len(images)) if index not in found)
            found[place] = next((index for index in free if role.fits(images[index])), None)
    return found


def candidates(roles: Sequence[Role], images: Sequence[Names]) -> list[list[int]]:
    """For each role the indices of all images that state it."""
    return [[index for index, names in enumerate(images) if role.fits(names)] for role in roles]


def _holds(text: str, words: str) -> bool:
    wanted = _words(words)
    return bool(wanted) and f" {wanted} " in f" {_words(text)} "


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.lower()))
