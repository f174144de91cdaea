"""Which images the networks of a bundle look at: channels by the name of their modality, and segments within others.

Standard library only, so that every side that reads bundles can use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from automedsam.contract.checks import fail, shown

SEGMENTER_CHANNELS = 3


class Channel(NamedTuple):
    """One input channel of a network.

    Attributes:
        modality: index among the bundle's modalities.
        step: which slice: 0 the slice itself, 1 the one `context_mm` above it, -1 the one below, and so on.
    """

    modality: int
    step: int = 0


def parse_channel(text: str, modalities: Sequence[str]) -> Channel | None:
    """Reads a channel such as "FLAIR", "FLAIR-1" or "FLAIR+1"; None if it names no modality.

    Args:
        text: The name of a modality, and perhaps a sign and a number of steps.
        modalities: The bundle's modalities. A name that ends like a step is taken as a name.
    """
    if text in modalities:
        return Channel(modalities.index(text))
    stepped = re.fullmatch(r"(.+)([+-]\d{1,2})", text)
    if stepped is None or stepped[1] not in modalities:
        return None
    return Channel(modalities.index(stepped[1]), int(stepped[2]))


def channel_text(channel: Channel, modalities: Sequence[str]) -> str:
    """A channel as `parse_channel` reads it."""
    return modalities[channel.modality] + (f"{channel.step:+d}" if channel.step else "")


def detector_channels(manifest: Mapping[str, Any]) -> tuple[Channel, ...]:
    """The detector's input channels: as declared, else for each modality the slice between its two neighbors."""
    modalities, declared = manifest["modalities"], manifest["detector"].get("channels")
    if declared is None:
        return tuple(Channel(index, step) for index in range(len(modalities)) for step in (-1, 0, 1))
    return tuple(channel for text in declared if (channel := parse_channel(text, modalities)) is not None)


def segmenter_channels(manifest: Mapping[str, Any]) -> tuple[int, ...]:
    """The modality of each of the segmenter's three input channels: as declared, else the first modality."""
    declared = manifest["segmenter"].get("channels")
    return (0,) * SEGMENTER_CHANNELS if declared is None else tuple(map(manifest["modalities"].index, declared))


def label_channels(manifest: Mapping[str, Any]) -> dict[int, tuple[int, ...]]:
    """For each segment that names a modality of its own, the modality of each of the segmenter's input channels."""
    return {
        segment["value"]: (manifest["modalities"].index(segment["segmented_on"]),) * SEGMENTER_CHANNELS
        for segment in manifest["segments"]
        if segment.get("segmented_on") is not None
    }


def mirrored(channels: Sequence[Channel]) -> tuple[int, ...] | None:
    """For each channel the one on the other side of the slice; None if one has no counterpart."""
    places: list[int] = []
    for channel in channels:
        counterpart = Channel(channel.modality, -channel.step)
        # Of equal channels, such as FLAIR twice, each is its own counterpart in turn.
        free = [at for at, one in enumerate(channels) if one == counterpart and at not in places]
        if not free:
            return None
        places.append(free[0])
    return tuple(places)


def enclosing_segments(segments: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    """For each segment that lies inside another, that one's value."""
    return {one["value"]: one["inside"] for one in segments if one.get("inside") is not None}


def nesting_depth(inside: Mapping[int, int], value: int) -> int:
    """How many segments enclose one: 0 for one that lies in no other.

    Args:
        inside: See `enclosing_segments`.
        value: The segment.
    """
    depth = 0
    while value in inside:
        value, depth = inside[value], depth + 1
    return depth


def values_within(inside: Mapping[int, int], value: int) -> frozenset[int]:
    """The values by which a label map shows a segment: its own, and those of all segments inside it."""
    found = {value}
    while more := {inner for inner, outer in inside.items() if outer in found} - found:
        found |= more
    return frozenset(found)


def check_channels(manifest: Mapping[str, Any]) -> None:
    """Checks what the fields of a manifest state of modalities and of nested segments, after each field's own check.

    Raises:
        FieldError: Names the first field that is wrong.
    """
    modalities, detector, segmenter = manifest["modalities"], manifest["detector"], manifest["segmenter"]
    if len(set(modalities)) < len(modalities):
        fail("modalities", f"two modalities have the same name: {', '.join(modalities)}")
    for field in ("roles", "windows"):
        for name in manifest.get(field, {}):
            _check_modality(f"{field}.{name}", name, modalities)
    for index, text in enumerate(detector.get("channels") or []):
        if parse_channel(text, modalities) is None:
            _check_modality(f"detector.channels[{index}]", text, modalities)
    for index, name in enumerate(segmenter.get("channels") or []):
        _check_modality(f"segmenter.channels[{index}]", name, modalities)
    for index, segment in enumerate(manifest["segments"]):
        if segment.get("segmented_on") is not None:
            _check_modality(f"segments[{index}].segmented_on", segment["segmented_on"], modalities)
    if detector["mirror"] == "slices" and mirrored(detector_channels(manifest)) is None:
        fail("detector.mirror", "slices needs for each channel one as far on the other side")
    _check_all_used(manifest)
    _check_nesting(manifest["segments"])


def _check_modality(where: str, name: str, modalities: Sequence[str]) -> None:
    if name not in modalities:
        fail(where, f"{shown(name)} is none of the modalities {', '.join(modalities)}")


def _check_all_used(manifest: Mapping[str, Any]) -> None:
    used = {*segmenter_channels(manifest), *(one for three in label_channels(manifest).values() for one in three)}
    if manifest["detector"]["files"]:
        used |= {channel.modality for channel in detector_channels(manifest)}
    for index, name in enumerate(manifest["modalities"]):
        if index not in used:
            fail(f"modalities[{index}]", f"neither the detector nor the segmenter looks at {name}")


def _check_nesting(segments: Sequence[Mapping[str, Any]]) -> None:
    inside, values = enclosing_segments(segments), [segment["value"] for segment in segments]
    for index, segment in enumerate(segments):
        outer = segment.get("inside")
        if outer is None:
            continue
        if outer not in values:
            fail(f"segments[{index}].inside", f"there is no segment of value {outer}")
        seen = {segment["value"]}
        while outer is not None:
            if outer in seen:
                fail(f"segments[{index}].inside", "the segment lies inside itself")
            seen.add(outer)
            outer = inside.get(outer)
