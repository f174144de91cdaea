"""Groups image files into cases by their names: `p1_flair.nii.gz`, `p1/T1.nii.gz`, `imagesTr/p1_0000.nii.gz`, BIDS."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from automedsam.cohort.case import Case
from automedsam.contract.modality_names import modalities_in
from automedsam.io.image_reader import IMAGE_SUFFIXES
from automedsam.io.volume_reader import VOLUME_SUFFIXES

_REFERENCE = re.compile(
    r"(?:^|[_\-. ])(?:seg|segmentations?|labels?|masks?|gt|truth|ground[_-]?truth|reference|roi|dseg)$", re.IGNORECASE
)
# Masks of what surrounds the finding say nothing about it.
_SURROUNDINGS = re.compile(r"(?:brain|bet|head|skull|body|foreground|tissue)[_\-. ]?mask$", re.IGNORECASE)
_LABEL_FOLDER = re.compile(r"^(?:labels?|masks?|segmentations?|gt|references?)(tr|ts|va|val)?$", re.IGNORECASE)
_IMAGE_FOLDER = re.compile(r"^(?:images?|imgs?)(tr|ts|va|val)?$", re.IGNORECASE)
_CHANNEL = re.compile(r"_(\d{4})$")
_BIDS_ENTITY = re.compile(r"(?:^|_)((?:sub|ses)-[a-zA-Z0-9]+)")


@dataclass
class _Group:
    """Files that belong together: images by the modalities that their names give, and label maps."""

    images: list[tuple[Path, frozenset[str], int | None]] = field(default_factory=list)
    references: list[Path] = field(default_factory=list)


def cases_of_files(
    files: Sequence[Path], base: Path, modalities: Sequence[str], notes: list[str], *, bids: bool = False
) -> list[Case]:
    """Groups files into cases.

    Where some files name a modality of the model, files that name none (masks, atlases) are left out.

    Args:
        files: Images and label maps.
        base: The folder relative to which the cases are named.
        modalities: What the model looks at.
        notes: Gets a sentence on what was left out.
        bids: Whether the files are named by BIDS, with subject and session.

    Returns:
        One case for each image, or for each set of images that are the model's modalities.
    """
    groups: defaultdict[tuple[str, str], _Group] = defaultdict(_Group)
    channels = Counter(match.group(1) for path in files if (match := _CHANNEL.search(_stem(path))))
    for path in files:
        if not _SURROUNDINGS.search(_stem(path)):
            _sort(path, base, bids, numbered="0000" in channels, groups=groups)
    _leave_out_unnamed(groups, modalities, notes)
    _assign_references(groups)
    names = _names(groups)
    cases = []
    for key, group in groups.items():
        cases += _cases(names[key], group, modalities)
    return cases


def missing_modality(name: str, wanted: str, found: Sequence[str]) -> str:
    """The sentence for a case without one of the model's modalities."""
    there = f"found {', '.join(found)}" if found else "its files name no modality"
    return f"{name} has no {wanted} image ({there}): add it, or name the files in a CSV file."


def _stem(path: Path) -> str:
    name = path.name
    lower = name.lower()
    for suffix in (".seg.nrrd", *VOLUME_SUFFIXES, *IMAGE_SUFFIXES):
        if lower.endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def _sort(path: Path, base: Path, bids: bool, *, numbered: bool, groups: defaultdict[tuple[str, str], _Group]) -> None:
    """Puts a file into the group of its folder and of its name without modality."""
    stem = _stem(path)
    parts = list(path.parent.relative_to(base).parts) if path.is_relative_to(base) else []
    in_labels = any(_LABEL_FOLDER.match(part) for part in parts)
    folder = "/".join(_set_of(part) for part in parts if _set_of(part))
    is_reference = in_labels or path.name.lower().endswith(".seg.nrrd") or bool(_REFERENCE.search(stem))
    if bids:
        key = ("", "_".join(_BIDS_ENTITY.findall(stem)) or stem)
        if is_reference:
            groups[key].references.append(path)
        else:
            groups[key].images.append((path, frozenset(modalities_in(stem)), None))
        return
    if is_reference:
        groups[folder, _REFERENCE.sub("", stem)].references.append(path)
        return
    channel = _CHANNEL.search(stem) if numbered else None
    if channel:
        groups[folder, stem[: channel.start()]].images.append((path, frozenset(), int(channel.group(1))))
        return
    tokens = re.split(r"([_ .]+)", stem)
    kept = [token for token in tokens if not modalities_in(token)]
    rest = re.sub(r"([_ .])[_ .]+", r"\1", "".join(kept)).strip("_ .-")
    # A number that only a modality made unique, as in "ct_001", is no name.
    if rest.isdigit():
        rest = stem
    groups[folder, rest].images.append((path, frozenset(modalities_in(stem)), None))


def _set_of(part: str) -> str:
    """A folder's name, or for one of images or of labels the set that it is for, such as "Tr"."""
    match = _LABEL_FOLDER.match(part) or _IMAGE_FOLDER.match(part)
    return part if match is None else (match.group(1) or "").lower()


def _leave_out_unnamed(
    groups: defaultdict[tuple[str, str], _Group], modalities: Sequence[str], notes: list[str]
) -> None:
    """Removes images that name no modality, if others name one that the model looks at."""
    roles = set().union(*map(modalities_in, modalities))
    if not any(found & roles for group in groups.values() for _, found, _ in group.images):
        return
    left: list[Path] = []
    for group in groups.values():
        left += [path for path, found, channel in group.images if not found and channel is None]
        group.images = [image for image in group.images if image[1] or image[2] is not None]
    if left:
        files = f"{left[0].name} was" if len(left) == 1 else f"{left[0].name} and {len(left) - 1} more were"
        notes.append(f"{files} left out: their names give no modality, as those of others do.")


def _assign_references(groups: defaultdict[tuple[str, str], _Group]) -> None:
    """Moves a label map that has no image of its name to the only case of its folder."""
    by_folder: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for key, group in groups.items():
        if group.images:
            by_folder[key[0]].append(key)
    for key in [key for key, group in groups.items() if not group.images]:
        owners = by_folder[key[0]]
        if len(owners) == 1:
            groups[owners[0]].references += groups[key].references
        del groups[key]


def _names(groups: dict[tuple[str, str], _Group]) -> dict[tuple[str, str], str]:
    """The shortest name of each group that no other has: that of its files, with the folder where needed."""

    def short(key: tuple[str, str]) -> str:
        return key[1] or key[0].rpartition("/")[2] or "case"

    def full(key: tuple[str, str]) -> str:
        return "_".join(filter(None, (*key[0].split("/"), key[1]))) or "case"

    counts = Counter(map(short, groups))
    names = {key: short(key) if counts[short(key)] == 1 else full(key) for key in groups}
    taken = Counter(names.values())
    return {key: name if taken[name] == 1 else "/".join(filter(None, key)) for key, name in names.items()}


def _cases(name: str, group: _Group, modalities: Sequence[str]) -> list[Case]:
    reference = group.references[0] if len(group.references) == 1 else None
    channels = sorted((channel, path) for path, _, channel in group.images if channel is not None)
    if channels:
        paths = tuple(path for _, path in channels)
        if len(paths) != len(modalities):
            problem = (
                f"{name} has {len(paths)} channels, and the model looks at {len(modalities)} "
                f"({', '.join(modalities)}): name the files in a CSV file."
            )
            return [Case(name, paths, reference, problem)]
        return [Case(name, paths, reference)]
    if len(modalities) == 1:
        return _single(name, group, modalities[0], reference)
    if len(group.images) == 1 and not group.images[0][1]:
        # Perhaps a 4-D file with all channels; its header tells.
        return [Case(name, (group.images[0][0],), reference)]
    chosen = []
    for wanted in modalities:
        matching = [path for path, found, _ in group.images if found & modalities_in(wanted)]
        if len(matching) != 1:
            return [Case(name, (), reference, _problem(name, wanted, matching, group))]
        chosen.append(matching[0])
    return [Case(name, tuple(chosen), reference)]


def _single(name: str, group: _Group, wanted: str, reference: Path | None) -> list[Case]:
    """Every image that is, or may be, of the only modality."""
    roles = modalities_in(wanted)
    fitting = [path for path, found, _ in group.images if not roles or found & roles]
    fitting = fitting or [path for path, found, _ in group.images if not found]
    if not fitting:
        return [Case(name, (), reference, _problem(name, wanted, [], group))]
    if len(fitting) == 1:
        return [Case(name, (fitting[0],), reference)]
    return [Case(_stem(path), (path,), reference) for path in fitting]


def _problem(name: str, wanted: str, matching: Sequence[Path], group: _Group) -> str:
    if matching:
        files = ", ".join(path.name for path in matching)
        return f"{name} has {len(matching)} {wanted} images ({files}): name the one to use in a CSV file."
    return missing_modality(name, wanted, sorted({role for _, found, _ in group.images for role in found}))
