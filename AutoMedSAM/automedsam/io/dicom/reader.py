"""DICOM in, a volume out: a folder, a disc, or one file of what is meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from automedsam.core.volume import Triple, Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.choice import choose, described
from automedsam.io.dicom.grid import Stack
from automedsam.io.dicom.headers import Header, is_dicom_file
from automedsam.io.dicom.kinds import is_cross_sectional
from automedsam.io.dicom.series import Contents, contents_of_file, contents_of_folder
from automedsam.io.dicom.values import values_of

__all__ = ["describe", "describe_series", "is_dicom_file", "read_dicom"]

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def read_dicom(path: Path, series: int | None = None, modalities: Sequence[str] | None = None) -> Volume:
    """Read a volume, or a single image, from DICOM files.

    Each slice is placed by its own header, and its values are its stored pixels with its own slope and intercept.
    A file and the folder of its series give the same volume. Slices of a tilted gantry are not resampled: the grid
    is sheared as they are. Copies of a slice are left out.

    Args:
        path: The folder of a series, or of several, or of a study or disc; or one file.
        series: Which of several volumes, counted from 1 in the order in which they are named where it is left out.
        modalities: What a model takes; PET is refused if it is not among them. None takes anything.

    Returns:
        Slices `(K, J, I)` in the order of their positions along the normal, in mm, LPS; a single image as one slice,
        at the origin. Colour becomes luminance. `notes` lists what was assumed.

    Raises:
        AutoMedSAMError: If there is no volume or image, or several, or their slices make no grid, or a file is damaged.
        OSError: If a file cannot be read.
    """
    contents = contents_of_folder(path, modalities) if path.is_dir() else contents_of_file(path, modalities)
    stack = choose(contents, series)
    for sentence, its_series in contents.damaged:
        if its_series == stack.frames[0].header.series:
            raise AutoMedSAMError(sentence)
    if stack.reason:
        which = f"{described(stack, path)} in {path}"
        message = f"The slices of {which} {stack.reason}; export one whole volume."
        raise AutoMedSAMError(message)
    if len(stack) > 1:
        return _volume(path, stack, contents)
    if is_cross_sectional(stack.frames[0].header):
        message = (
            f"{path} has only 1 slice; choose the file or folder with the whole volume, or save a single image as PNG."
        )
        raise AutoMedSAMError(message)
    return _picture(path, stack)


def describe_series(folder: Path) -> list[dict[str, str]]:
    """The tags of each volume in a folder, in the order in which `read_dicom` counts them.

    Raises:
        AutoMedSAMError: If there is none.
        OSError: If the folder cannot be read.
    """
    contents = contents_of_folder(folder, None)
    if not contents.choices:
        choose(contents, None)
    # The folder's name is the study's, not that of a sequence.
    return [{**describe(stack.frames[0].header, folder), "name": ""} for stack in contents.choices]


def _volume(path: Path, stack: Stack, contents: Contents) -> Volume:
    first = stack.frames[0]
    assert first.position is not None and first.rows_and_columns is not None and first.spacing is not None
    assert stack.step is not None
    length = float(np.linalg.norm(stack.step))
    matrix = np.column_stack([*first.rows_and_columns, stack.step / length])
    notes = _notes(path, stack, contents)
    return Volume(
        values_of(stack.frames),
        (*first.spacing, length),
        _triple(first.position),
        tuple(matrix.ravel().tolist()),
        first.header.description or path.name,
        notes,
        described=(describe(first.header, path),),
        source_frames=tuple((frame.header.path, frame.index) for frame in stack.frames),
    )


def _picture(path: Path, stack: Stack) -> Volume:
    frame = stack.frames[0]
    across, down = frame.spacing or (1.0, 1.0)
    notes = (_COLOR.format(path=path),) if frame.header.colour else ()
    array = values_of(stack.frames, as_displayed=True)
    name = frame.header.description or path.stem
    described = (describe(frame.header, path),)
    return Volume(array, (across, down, 1.0), (0.0, 0.0, 0.0), _IDENTITY, name, notes, described=described)


def describe(header: Header, path: Path) -> dict[str, str]:
    """A file's description of its acquisition: "name", that of the file or folder, and DICOM tags by keyword."""
    tags = {"Modality": header.modality, "SeriesDescription": header.description}
    return {"name": path.name, **tags, **header.acquisition}


_COLOR = "{path} is stored in colour; the models take one channel, so its luminance is used."


def _notes(path: Path, stack: Stack, contents: Contents) -> tuple[str, ...]:
    notes = [f"A file was left out: {sentence}" for sentence, _ in contents.damaged[:1]]
    series = stack.frames[0].header.series
    if left := sorted(file.name for file, its_series in contents.left_out.items() if its_series == series):
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        notes.append(f"{left[0]}{more} of the series was left out, since its orientation is not the volume's.")
    if stack.frames[0].header.colour:
        notes.append(_COLOR.format(path=path))
    if stack.tilt:
        notes.append(
            f"The slices of {path} are tilted by {stack.tilt:.1f} degrees against the table (gantry tilt); nothing is "
            "resampled, and the segmentation's grid is sheared in the same way."
        )
    if stack.frames[0].assumed and stack.frames[0].header.modality != "NM":
        notes.append(
            f"{path} gives a position for its first frame only; the others are placed along the normal by its "
            "SpacingBetweenSlices."
        )
    return tuple(notes)


def _triple(vector: np.ndarray) -> Triple:
    x, y, z = (float(number) for number in vector)
    return x, y, z
