"""Which of the volumes in DICOM files is meant, and what to say where that is not clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.grid import Stack
from automedsam.io.dicom.kinds import is_cross_sectional
from automedsam.io.dicom.series import Contents

_MAX_NAMED = 20
_ALIKE = 4
_IRREGULAR = " that make no volume"


def choose(contents: Contents, series: int | None) -> Stack:
    """The stack that is meant.

    Args:
        contents: What there is.
        series: The number of a choice, from 1; None where there should be only one.

    Raises:
        AutoMedSAMError: If there is none, or more than one and no number, or no such number.
    """
    choices = contents.choices
    if not choices:
        raise AutoMedSAMError(_nothing(contents))
    if series is not None:
        if not 1 <= series <= len(choices):
            message = f"{contents.path} holds no series {series}: {_named(contents)}; choose one of them."
            raise AutoMedSAMError(message)
        return choices[series - 1]
    if len(choices) > 1:
        # What the scanner made to plan the others is not what anybody wants segmented.
        planned = [stack for stack in choices if not stack.frames[0].header.is_localizer]
        if len(planned) == 1:
            return planned[0]
        what = "volumes" if contents.volumes else "images" if contents.pictures else "single slices"
        message = f"{contents.path} holds {len(choices)} DICOM {what}: {_named(contents)}; choose one with --series N."
        raise AutoMedSAMError(message)
    return choices[0]


def described(stack: Stack, folder: Path | None = None) -> str:
    """A stack in a few words: description, modality, size and what distinguishes it from others of its series."""
    header = stack.frames[0].header
    count = len(stack)
    slices = "1 image" if not is_cross_sectional(header) and count == 1 else f"{count} slice{'s' * (count > 1)}"
    size = f"{header.columns} x {header.rows}"
    facts = [f"{slices} of {size}", header.modality, stack.part]
    if folder is not None and folder.is_dir() and header.path.parent != folder and header.path.is_relative_to(folder):
        facts.append(f"in {header.path.parent.relative_to(folder)}")
    if count == 1:
        facts.append(header.path.name)
    return f"{header.description or 'unnamed'} ({', '.join(fact for fact in facts if fact)})"


def _named(contents: Contents) -> str:
    """The choices with their numbers; many that differ in their part alone are named by the first and the last."""
    stacks = list(enumerate(contents.choices, start=1))
    names = []
    for _, group in groupby(stacks, lambda one: (described(replace(one[1], part=""), contents.path), one[1].reason)):
        alike = list(group)
        irregular = _IRREGULAR if alike[0][1].reason else ""
        if len(alike) > _ALIKE:
            (first, one), (last, other) = alike[0], alike[-1]
            name = described(replace(one, part=f"{one.part} to {other.part}"), contents.path)
            names.append(f"{first} to {last} are {name}{irregular}")
        else:
            names += [f"{index} is {described(stack, contents.path)}{irregular}" for index, stack in alike]
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f", and {more} more" if more > 0 else "")


def _nothing(contents: Contents) -> str:
    path = contents.path
    if contents.videos:
        video = contents.videos[0]
        if len(contents.videos) == 1 and video == path:
            return f"{path} is a video: its frames follow each other in time; 'automedsam segment' takes it, alone."
        return f"{path} holds {_count(contents.videos, 'DICOM video')} ({video.name}); give one by its file's name."
    if contents.others:
        kinds = sorted(set(contents.others.values()))
        if path in contents.others:
            return f"{path} is {kinds[0]}; choose an image series that the model takes."
        return (
            f"{path} holds no image that the model takes: {_count(contents.others, 'DICOM file')} "
            f"({'; '.join(kinds[:_MAX_NAMED])}); choose the folder of an image series."
        )
    if contents.damaged:
        more = len(contents.damaged) - 1
        sentence, _ = contents.damaged[0]
        return sentence if not more else f"{sentence.rstrip('.')} ({more} more like it)."
    return f"{path} holds no DICOM series; choose the folder with the files of the series."


def _count(things: Sequence[object] | dict[Path, str], name: str) -> str:
    return f"{len(things)} {name}{'s' * (len(things) > 1)}"
