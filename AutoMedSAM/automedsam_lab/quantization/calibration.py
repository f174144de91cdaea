"""Slices to calibrate INT8 with, from a folder of the user's own volumes or images."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.intensity import to_uint8
from automedsam.core.resize import resize_linear
from automedsam.core.volume import Plane, Volume
from automedsam.detection.detector import ResizeMode, detector_input, stack_adjacent_slices
from automedsam.errors import AutoMedSAMError
from automedsam.io.image_reader import IMAGE_SUFFIXES
from automedsam.io.volume_reader import VOLUME_SUFFIXES, read_volume
from automedsam.sam2.propagation import IMAGENET_MEAN, IMAGENET_STD
from automedsam_lab.data.dataset import Dataset, training_cases
from automedsam_lab.quantization.calibration_checks import input_warnings, is_label_map

CLIP_SLICES = 4
_MIN_CONTRAST = 0.25


@dataclass(frozen=True)
class PreprocessingSpec:
    """How the models will see a volume, so that they are calibrated with what they will see.

    Attributes:
        image_size: side S of the segmenter's input in pixels.
        modality: what the volumes should be, in the bundle's words ("CT", "FLAIR", "any").
        window: grey levels that become 0 and 255; None takes each volume's percentiles.
        plane: the plane where a volume does not tell its own.
        detector_size: height and width of the detector's input; None without a detector.
        context_mm: distance of the slices in the detector's first and third channel.
        fit: how slices are brought to the detector's input.
    """

    image_size: int
    modality: str = "any"
    window: tuple[float, float] | None = None
    plane: Plane = Plane.AXIAL
    detector_size: tuple[int, int] | None = None
    context_mm: float = 0.0
    fit: ResizeMode = ResizeMode.STRETCH


@dataclass(frozen=True)
class CalibrationClip:
    """Neighbouring slices of one volume; a single image is a clip of one slice.

    Attributes:
        source: the file or folder that they come from.
        frames: `(F, H, W)` uint8 gray levels at native resolution, as `Sam2Segmenter` takes them.
        detector: `(F, 3, h, w)` float32 in 0..1, as the detector takes them; None without a detector.
    """

    source: Path
    frames: NDArray[np.uint8]
    detector: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Calibration:
    """What both models are calibrated with.

    Attributes:
        clips: the slices, those of one volume together and in order.
        view: how they were made.
        warnings: what a person should know about the folder, each a sentence.
    """

    clips: tuple[CalibrationClip, ...]
    view: PreprocessingSpec
    warnings: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many slices there are."""
        return sum(len(clip.frames) for clip in self.clips)

    @cached_property
    def slices(self) -> NDArray[np.float32]:
        """`(n, 3, S, S)` as the image encoder takes them: grey, with ImageNet's mean and deviation."""
        size = (self.view.image_size, self.view.image_size)
        gray = np.concatenate([resize_linear(clip.frames, size) for clip in self.clips]) / np.float32(255)
        return np.asarray((gray[:, None] - IMAGENET_MEAN) / IMAGENET_STD, np.float32)

    @property
    def detector_slices(self) -> NDArray[np.float32]:
        """`(n, 3, h, w)` in 0..1.

        Raises:
            ValueError: if the view has no detector.
        """
        return np.concatenate([clip.detector for clip in self.clips if clip.detector is not None])

    def to_manifest(self) -> dict[str, Any]:
        """Counts only: the names of a user's files may be those of patients."""
        return {
            "slices": self.count,
            "clips": len(self.clips),
            "files": len({clip.source for clip in self.clips}),
            "window": None if self.view.window is None else list(self.view.window),
        }


def read_calibration(
    folder: Path, view: PreprocessingSpec, count: int = 32, *, only: str = "*", seed: int = 0
) -> Calibration:
    """Reads slices of as many different volumes as are needed, four neighbours at a time.

    Files that no slice can be taken from (label maps, files of several channels, damaged ones) are passed over
    and named in `warnings`, as is a folder that holds less than was asked for.

    Args:
        folder: NIfTI, NRRD or MetaImage volumes, PNG or JPEG images, or folders of DICOM series, at any depth.
        view: how the models will see them.
        count: how many slices.
        only: takes the files and DICOM folders whose name fits this pattern, such as `*flair*`.
        seed: of the draw among the files.

    Raises:
        AutoMedSAMError: if the folder is not there, or no slice can be taken from it.
    """
    sources = find_sources(folder, only)
    rng = np.random.default_rng(seed)
    order = [sources[index] for index in rng.permutation(len(sources))]
    clips: list[CalibrationClip] = []
    passed_over: list[str] = []
    doubtful: list[tuple[Path, str]] = []
    missing = count
    for position, source in enumerate(order):
        if missing <= 0:
            break
        # What one file falls short of, the later ones make up for.
        share = -(-missing // (len(order) - position))
        wanted = min(missing, -(-share // CLIP_SLICES) * CLIP_SLICES)
        try:
            volume = read_volume(source, expected_channels=1)
        except AutoMedSAMError as error:
            passed_over.append(str(error))
            continue
        if is_label_map(volume):
            passed_over.append(f"{source} looks like a label map, not an image.")
            continue
        doubtful += [(source, doubt) for doubt in input_warnings(source, volume, view.modality, view.window)]
        taken = _clips(source, volume, view, wanted, rng)
        missing -= sum(len(clip.frames) for clip in taken)
        clips += taken
    if not clips:
        reasons = [*passed_over, *_together(doubtful), "no slice has any contrast."]
        files = "1 file" if len(order) == 1 else f"{len(order)} files"
        message = f"No slice of {folder} can be calibrated with ({files}; {reasons[0].rstrip('.')})."
        raise AutoMedSAMError(message)
    warnings = [f"Passed over: {reason}" for reason in passed_over] + _together(doubtful)
    if missing > 0:
        warnings.append(f"{folder} gave {count - missing} slices, {missing} fewer than the {count} asked for.")
    return Calibration(tuple(clips), view, tuple(warnings))


def calibration_of_dataset(dataset: Dataset, view: PreprocessingSpec, count: int = 64, *, seed: int = 0) -> Calibration:
    """Slices of the training cases of a dataset, four neighbours at a time, of as many cases as are needed.

    Args:
        dataset: The dataset; each case has its own plane and window.
        view: How the models will see the slices.
        count: Number of slices.
        seed: Random seed of the draw.

    Raises:
        AutoMedSAMError: There are no training cases, one cannot be read, or no slice has any contrast.
    """
    cases = training_cases(dataset)
    rng = np.random.default_rng(seed)
    clips: list[CalibrationClip] = []
    missing = count
    for position, index in enumerate(rng.permutation(len(cases))):
        if missing <= 0:
            break
        case = cases[int(index)]
        share = -(-missing // (len(cases) - position))
        wanted = min(missing, -(-share // CLIP_SLICES) * CLIP_SLICES)
        volume = case.load().volume
        own = replace(view, plane=case.plane or view.plane, window=case.window)
        taken = _clips(Path(case.name), volume, own, wanted, rng)
        missing -= sum(len(clip.frames) for clip in taken)
        clips += taken
    if not clips:
        message = f"No slice of the training cases of {dataset.title} has any contrast; choose another dataset."
        raise AutoMedSAMError(message)
    warnings = (f"{dataset.title} gave {count - missing} of {count} slices.",) if missing > 0 else ()
    return Calibration(tuple(clips), view, warnings)


def find_sources(folder: Path, only: str = "*") -> list[Path]:
    """The files and DICOM folders in a folder that may be volumes or images, by name.

    Raises:
        AutoMedSAMError: if it is not a folder, or has none.
    """
    if not folder.is_dir():
        message = f"The calibration folder {folder} does not exist; give a folder of your own volumes or images."
        raise AutoMedSAMError(message)
    known = VOLUME_SUFFIXES + IMAGE_SUFFIXES
    found = set()
    for path in folder.rglob("*"):
        if not path.is_file() or path.name.startswith("."):
            continue
        if path.name.lower().endswith(known):
            found.add(path)
        elif path.suffix.lower() in (".dcm", ".ima", "") and _is_dicom(path):
            found.add(path.parent)
    chosen = sorted(path for path in found if fnmatch.fnmatch(path.name.lower(), only.lower()))
    if not chosen:
        others = f"; {len(found)} are of other names than {only}" if found else ""
        message = (
            f"The calibration folder {folder} holds no volumes or images{others}: give NIfTI, NRRD, MetaImage, "
            "PNG or JPEG files, or DICOM folders."
        )
        raise AutoMedSAMError(message)
    return chosen


def _is_dicom(path: Path) -> bool:
    from automedsam.io.dicom.reader import is_dicom_file

    try:
        return is_dicom_file(path)
    except OSError:
        return False


def _clips(
    source: Path, volume: Volume, view: PreprocessingSpec, wanted: int, rng: np.random.Generator
) -> list[CalibrationClip]:
    """Runs of neighbours, one in each equal part of the slices that show something."""
    plane = volume.default_plane(view.plane)
    gray = np.ascontiguousarray(to_uint8(volume.to_frames(plane)[0], view.window))
    contrast = gray.reshape(len(gray), -1).std(axis=1)
    shown = np.flatnonzero((contrast > 0) & (contrast >= _MIN_CONTRAST * contrast.max()))
    if not len(shown):
        return []
    first, last = int(shown[0]), int(shown[-1]) + 1
    wanted = min(wanted, last - first)
    parts = -(-wanted // CLIP_SLICES)
    edges = np.linspace(first, last, parts + 1).round().astype(int)
    clips = []
    for start, stop in pairwise(edges):
        length = min(CLIP_SLICES, wanted, int(stop - start))
        wanted -= length
        begin = int(start + rng.integers(stop - start - length + 1))
        clips.append(_clip(source, gray, slice(begin, begin + length), volume.frame_spacing(plane)[0], view))
    return [clip for clip in clips if len(clip.frames)]


def _clip(
    source: Path, gray: NDArray[np.uint8], run: slice, between_mm: float, view: PreprocessingSpec
) -> CalibrationClip:
    frames = gray[run].copy()
    if view.detector_size is None:
        return CalibrationClip(source, frames)
    with_context = stack_adjacent_slices(gray, between_mm, view.context_mm)[run]
    return CalibrationClip(source, frames, detector_input(with_context, view.detector_size, view.fit))


def _together(doubtful: Sequence[tuple[Path, str]]) -> list[str]:
    """One sentence for each kind of doubt, with the number of files and the first of them."""
    kinds: dict[str, list[Path]] = {}
    for source, doubt in doubtful:
        kinds.setdefault(doubt, []).append(source)
    return [
        f"{sources[0].name}{f' and {len(sources) - 1} more' if len(sources) > 1 else ''}: {doubt}"
        for doubt, sources in kinds.items()
    ]
