"""Imaging modalities and MR sequences as names and DICOM tags write them."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Words that stand between "T1" or "T2" and the rest of a sequence's name.
_BETWEEN = (
    r"(?: ?(?:w|wi|weighted|ax\w*|sag\w*|cor|coronal|tra\w*|[23]d|t?se|fse|fs|fat ?sat|spc|space|cube|vista|tirm?"
)
_BETWEEN += r"|blade|propeller|brain|post|gd|ce?)\b)*"
_FLAIR = r"(?:\w*flair\w*|dark ?fluid|da ?fl\b|fluid atten\w*)"
# Prefixes: "s" of Philips, "r", "w" and "m" of SPM.
_T = r"\b(?:[23]d|ce|[srwm])?"
_AGENT = r"(?:contrast\w*|kontrast\w*|gd|gad\w*|gd ?dtpa|ce|km|c|enhanc\w*|iv|agent)"

# Applied in this order to lower-case words joined by single spaces; "+" is kept, since contrast is written so.
_REWRITTEN = (
    # "ses-t1" is a point in time.
    (r"\b(?:ses|session|visit|time|tp|time ?point) ?t\d+\b", " "),
    # FLAIR with T1 weighting is a T1 image, whose fluid is dark anyway.
    (rf"({_T}t1{_BETWEEN}) ?{_FLAIR}", r"\1 "),
    (rf"{_T}t2{_BETWEEN} ?{_FLAIR}", " flair "),
    (r"\bpost ?(?:op\w*|surg\w*|treat\w*|therap\w*|chemo\w*|radi\w*|rt|resect\w*|proc\w*)\b", " "),
)
_UNENHANCED = rf"\b(?:pre|non?|not|un|without|ohne|sans|w ?o)(?: ?{_AGENT}\b)+"
_ENHANCED = (
    rf"\b(?:ce|gd\w*|gad\w*|post(?:{_AGENT})?|contrast\w*|kontrast\w*|enhanced|km)\b"
    r"|\bt1 ?w? ?(?:ce?|gd\w*|gad\w*|post\w*|km)\b(?! ?spine)|\bcet1|\+ ?(?:c|ce|gd|km)\b|\b(?:c|gd) ?\+|t1\w* ?\+"
)
_PATTERNS = {
    "FLAIR": rf"{_FLAIR}|\bt2 ?f\b|\bfla\b",
    "T1": rf"{_T}t1(?!\d)|mp ?rage|mp2rage|\b\w*spgr\w*|\bbravo\b|\bvibe\b",
    "T2": rf"{_T}t2(?!\d| ?f\b|star)|\bstir\b",
    "PD": r"\bpd(?:w|wi|fs)?\b|\bproton density\b",
    "DWI": r"\b(?:dwi|adc|dti|diff|diffusion|tracew?|b ?1000)\b",
    "SWI": r"\b(?:swi|swan)\b|t2star",
    "CT": r"\b(?:ct|cbct|ncct|cta)\b",
    "PET": r"\b(?:pet|suv)\b",
    "US": r"\b(?:ultrasound|sonograph\w*)\b",
    "X-ray": r"\b(?:xr|x ray|xray|cxr|radiograph\w*|mammogra\w*)\b",
    "endoscopy": r"\b(?:endoscop\w*|colonoscop\w*|gastroscop\w*)\b",
}
_MR = frozenset({"FLAIR", "T1c", "T1", "T2", "PD", "DWI", "SWI"})
# Values of DICOM's Modality. In a name they may be anything ("pt" a patient), so there they count as the whole name.
_TAGGED = {
    "CT": "CT", "PT": "PET", "US": "US", "CR": "X-ray", "DX": "X-ray", "MG": "X-ray", "ES": "endoscopy",
}  # fmt: skip
# DICOM tags that describe an acquisition in words, beside the name of a file or node.
_WORDED_TAGS = ("name", "SeriesDescription", "ProtocolName", "SequenceName")
# Values of ContrastBolusAgent by which scanners and people write that there was none.
_NO_AGENT = r"(?:n ?a|n|0|false|unknown|unspecified)?|(?:none?|no|not|nil|without|w ?o|ohne|kein\w*|sans)\b.*"


def modalities_in(text: str) -> set[str]:
    """The modalities that a text names; a sequence such as T1 only where no more specific one, such as T1c, is named.

    Args:
        text: A file name, a series description, or a manifest's modality.
    """
    words, _ = _read(text)
    if words.upper() in _TAGGED:
        return {_TAGGED[words.upper()]}
    found = {name for name, pattern in _PATTERNS.items() if re.search(pattern, words)}
    if "T1" in found and re.search(_ENHANCED, words):
        found = (found - {"T1"}) | {"T1c"}
    return found


def modalities_of(description: Mapping[str, str]) -> set[str]:
    """The modalities that a volume's name and DICOM tags name; empty where they name none.

    Args:
        description: "name", and DICOM tags by keyword, such as "Modality" and "SeriesDescription".
    """
    texts = [str(description.get(tag, "")) for tag in _WORDED_TAGS]
    found = set().union(*map(modalities_in, texts))
    tagged = str(description.get("Modality", "")).strip().upper()
    if tagged == "MR":
        found &= _MR
    elif tagged in _TAGGED:
        found = {_TAGGED[tagged]}
    # Some scanners fill in the agent for a whole examination: a name that denies contrast knows better.
    denied = any(is_unenhanced for _, is_unenhanced in map(_read, texts))
    if "T1" in found and not denied and _names_agent(str(description.get("ContrastBolusAgent", ""))):
        found.add("T1c")
    return found - {"T1"} if "T1c" in found else found


def _read(text: str) -> tuple[str, bool]:
    """The words of a text without those that deny contrast, and whether there were such."""
    text = re.sub(r"(?<![a-z0-9])c-(?![a-z0-9])|(?<=[\s_])-(?:c|gd)(?![a-z0-9])", " without contrast ", text.lower())
    text = text.replace("t2*", "t2star").replace("w/o", "without")
    words = re.sub(r"[^a-z0-9+]+", " ", text)
    words = re.sub(r"\bt2 star\b", "t2star", words)
    for pattern, replacement in _REWRITTEN:
        words = re.sub(pattern, replacement, words)
    words, count = re.subn(_UNENHANCED, " ", words)
    return " ".join(words.split()), count > 0


def _names_agent(value: str) -> bool:
    words = " ".join(re.sub(r"[^a-z0-9]+", " ", value.lower()).split())
    return re.fullmatch(_NO_AGENT, words) is None
