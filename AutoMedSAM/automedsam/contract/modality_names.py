"""Imaging modalities and MR sequences as names and DICOM tags write them."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Searched in this order in lower-case words joined by single spaces; "+" is kept, since contrast is written so.
_PATTERNS = {
    "FLAIR": r"flair|\bt2 ?f\b|\bfla\b",
    "T1c": r"\bt1 ?w?[a-z ]{0,12}?(ce|gd|gad\w*|post|contrast|\+c|km)\b|\bt1 ?w? ?(c|ce|gd|\+)(?= |$)",
    "T1": r"\bt1( ?[wn]| w i)?\b|mp ?rage|mp2rage|\bspgr\b|\bbravo\b",
    "T2": r"\bt2( ?[wn]| star| w i)?\b",
    "DWI": r"\b(dwi|adc|dti|trace|b ?1000)\b",
    "SWI": r"\b(swi|swan)\b",
    "CT": r"\b(ct|cbct|ncct|cta)\b",
    "PET": r"\b(pet|pt|suv)\b",
    "US": r"\b(us|ultrasound|sonograph\w*)\b",
    "X-ray": r"\b(cr|dx|xr|x ray|xray|cxr|radiograph\w*|mammogra\w*)\b",
    "endoscopy": r"\b(endoscop\w*|colonoscop\w*|gastroscop\w*)\b",
}
_MR = frozenset({"FLAIR", "T1c", "T1", "T2", "DWI", "SWI"})
_TAGGED = {
    "CT": "CT", "PT": "PET", "US": "US", "CR": "X-ray", "DX": "X-ray", "MG": "X-ray", "ES": "endoscopy",
}  # fmt: skip
# DICOM tags that describe an acquisition in words, beside the name of a file or node.
_WORDED_TAGS = ("name", "SeriesDescription", "ProtocolName", "SequenceName")


def modalities_in(text: str) -> set[str]:
    """The modalities that a text names; a sequence such as T1 only where no more specific one, such as T1c, is named.

    Args:
        text: A file name, a series description, or a manifest's modality.
    """
    words = re.sub(r"[^a-z0-9+]+", " ", text.lower()).strip()
    found = {name for name, pattern in _PATTERNS.items() if re.search(pattern, words)}
    if "FLAIR" in found and not re.search(r"\bt2\b(?! ?(f|flair|tirm|w? ?flair|space|fla))", words):
        found.discard("T2")
    if "T1c" in found:
        found.discard("T1")
    return found


def modalities_of(description: Mapping[str, str]) -> set[str]:
    """The modalities that a volume's name and DICOM tags name; empty where they name none.

    Args:
        description: "name", and DICOM tags by keyword, such as "Modality" and "SeriesDescription".
    """
    found = set().union(*(modalities_in(str(description.get(tag, ""))) for tag in _WORDED_TAGS))
    tagged = str(description.get("Modality", "")).strip().upper()
    if tagged == "MR":
        found &= _MR
    elif tagged in _TAGGED:
        found = {_TAGGED[tagged]}
    if "T1" in found and str(description.get("ContrastBolusAgent", "")).strip():
        found = (found - {"T1"}) | {"T1c"}
    return found
