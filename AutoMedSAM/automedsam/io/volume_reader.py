"""Reads a volume from files; a file that cannot be read ends in one sentence with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from automedsam.core.color import is_colored, luminance
from automedsam.core.intensity import check_finite_and_varied
from automedsam.core.memory import is_out_of_memory, not_enough_memory
from automedsam.core.native_path import sitk_path
from automedsam.core.volume import Volume, Voxels
from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.reader import is_dicom_file, read_dicom
from automedsam.io.image_reader import IMAGE_SUFFIXES, color_note, read_pixels, read_slice
from automedsam.io.nifti import NIFTI_SUFFIXES, read_nifti
from automedsam.io.sitk_output import suppress_sitk_output
from automedsam.io.text_header import META_SUFFIXES, NRRD_SUFFIXES, check_text_header

if TYPE_CHECKING:
    import SimpleITK as sitk

VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, *NRRD_SUFFIXES, *META_SUFFIXES)
# Read by `automedsam.video.clip`.
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi")

# What ITK and its libraries write of a file, and what that means to a person.
_REASONS = {
    "Zero-valued spacing": "gives a voxel size of 0 or none that can be read; repair its header or export it again",
    "determinant is 0": "gives axes that do not span a space; repair its header or export it again",
    "orthonormal": "has a sheared grid, which is not supported; resample it onto a regular grid first",
    "bzip2 encoding not available": "is packed with bzip2, which cannot be read here; save it with gzip",
    "couldn't parse space": "is in a coordinate space that ITK does not know; save it as left-posterior-superior",
    "_space_origin": "gives an origin that is not three numbers; repair its header or export it again",
    "space directions": "gives axes that cannot be read (space directions); repair its header or export it again",
}


def read_volume(
    paths: Sequence[str | Path] | str | Path,
    expected_channels: int | None = None,
    *,
    check_voxels: bool = True,
    series: int | None = None,
    modalities: Sequence[str] | None = None,
) -> Volume:
    """Read a volume from one file, or from one file for each modality.

    Args:
        paths: NIfTI, NRRD or MetaImage files; a folder with a DICOM series, or one file of it; PNG, JPEG or DICOM
            images (one slice each, colour as luminance). Several are the channels of one volume, in order; a
            4-D file holds its channels itself.
        expected_channels: How many channels the model looks at; None takes any number. Where it is 1, a volume of
            colours becomes its luminance.
        check_voxels: Refuse voxels that are not finite or are all equal. A label map may be all zero: read it
            with False.
        series: Which volume of a DICOM folder that holds several, from 1 in the order in which the error without it
            names them.
        modalities: What the model's channels must be (`Bundle.modalities`): DICOM PET is refused if it is not among
            them. None takes anything.

    Returns:
        The volume with the file's own voxel type and grid, `(K, J, I)` for one channel, else `(C, K, J, I)`,
        named after the first file.

    Raises:
        AutoMedSAMError: One sentence for whatever is wrong with the files.

    Example:
        >>> volume = read_volume("head.nii.gz")
        >>> volume.shape, volume.spacing
        ((60, 240, 240), (1.0, 1.0, 2.5))
    """
    sources = [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    if not sources:
        message = "No input was given; name at least one image file or DICOM folder."
        raise AutoMedSAMError(message)
    if series is not None and (len(sources) > 1 or not is_dicom(sources[0])):
        message = "--series chooses in one DICOM folder or file; leave it out, and name a file of each series wanted."
        raise AutoMedSAMError(message)
    volumes = [read_one(source, series, modalities) for source in sources]
    if expected_channels == 1 and len(volumes) == 1:
        volumes = [_as_gray(sources[0], volumes[0])]
    volume = stack_channels(sources, volumes)
    if expected_channels is not None and volume.channels != expected_channels:
        raise AutoMedSAMError(_wrong_channels(sources, volume, expected_channels))
    if check_voxels:
        check_finite_and_varied(volume)
    return volume


def read_one(path: Path, series: int | None, modalities: Sequence[str] | None) -> Volume:
    """Reads one file or DICOM folder; see `read_volume`. Its voxels are not checked."""
    if is_dicom(path):
        with reading(path):
            return read_dicom(path, series, modalities)
    with reading(path):
        return _read_file(path)


def is_dicom(path: Path) -> bool:
    """Whether a path is a DICOM file, or a folder, which is read as one.

    Raises:
        AutoMedSAMError: If it does not exist or cannot be read.
    """
    with reading(path):
        return path.is_dir() or is_dicom_file(path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Wraps what reads a file with Python or SimpleITK.

    Raises:
        AutoMedSAMError: One sentence for what they say of it.
    """
    try:
        if not path.exists():
            message = f"{path} does not exist; check its spelling and folder."
            raise AutoMedSAMError(message)
        if not path.is_dir():
            if not path.is_file():
                message = f"{path} is a pipe or a device and no file; save the image to a file first."
                raise AutoMedSAMError(message)
            if path.stat().st_size == 0:
                message = f"{path} is empty (0 bytes); copy or download it again."
                raise AutoMedSAMError(message)
        yield
    except (OSError, RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise AutoMedSAMError(not_enough_memory(f"read {path}")) from error
        if isinstance(error, RuntimeError):
            raise AutoMedSAMError(_unreadable(path, error)) from error
        reason = getattr(error, "strerror", None) or error
        message = f"{path} cannot be read ({reason}); check its permissions."
        raise AutoMedSAMError(message) from error


def read_image(path: Path) -> Voxels:
    """Read a PNG or JPEG with its colours, in the orientation in which a viewer shows it.

    Args:
        path: A file named so.

    Returns:
        `(h, w)`, or `(h, w, c)` with red, green, blue and perhaps alpha, of the file's own type.

    Raises:
        AutoMedSAMError: If it cannot be read.
    """
    with reading(path):
        return read_pixels(path)


def _read_file(path: Path) -> Volume:
    import SimpleITK as sitk

    if path.name.lower().endswith(VIDEO_SUFFIXES):
        message = f"{path} is a video, which is no volume; 'automedsam segment' takes it, alone."
        raise AutoMedSAMError(message)
    known = VOLUME_SUFFIXES + IMAGE_SUFFIXES
    suffix = next((suffix for suffix in known if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        message = f"{path} is of no known image format; give a DICOM folder or one of {', '.join(known)}."
        raise AutoMedSAMError(message)
    name = path.name[: -len(suffix)]
    if suffix in IMAGE_SUFFIXES:
        return read_slice(path, name)
    if suffix in NIFTI_SUFFIXES:
        return _checked(path, read_nifti(path, name))
    check_text_header(path)
    with suppress_sitk_output(), sitk_path(path, siblings=True) as readable:
        # Named outright, since ITK knows MetaImage files by a suffix in small letters alone.
        image = sitk.ReadImage(readable, imageIO="MetaImageIO" if suffix in META_SUFFIXES else "NrrdImageIO")
    return _volume(path, image, name)


def _volume(path: Path, image: sitk.Image, name: str) -> Volume:
    if image.GetDimension() > 4 or "complex" in image.GetPixelIDTypeAsString():
        message = (
            f"{path} holds {image.GetDimension()}-D voxels of type {image.GetPixelIDTypeAsString()}; "
            "export real intensities in 3-D, or in 4-D with one channel for each modality."
        )
        raise AutoMedSAMError(message)
    return _checked(path, Volume.from_image(image, name))


def _checked(path: Path, volume: Volume) -> Volume:
    if min(volume.shape) < 2:
        message = (
            f"{path} has only 1 slice; choose the file or folder with the whole volume, or save a single image as PNG."
        )
        raise AutoMedSAMError(message)
    if volume.array.ndim == 4 and volume.channels == 1:
        return replace(volume, array=volume.array[0])
    return volume


def _as_gray(path: Path, volume: Volume) -> Volume:
    """Colours of 8 or 16 bits as luminance; volumes that are none as they are."""
    if volume.channels not in (3, 4) or volume.array.dtype not in (np.uint8, np.uint16) or not volume.colors:
        return volume
    notes = (color_note(path.name),) if is_colored(volume.array) else ()
    return replace(volume, array=luminance(volume.array), notes=(*volume.notes, *notes))


def stack_channels(sources: list[Path], volumes: list[Volume]) -> Volume:
    """Makes the channels of one volume of volumes on one grid.

    Raises:
        AutoMedSAMError: If they do not lie on one grid, or one has several channels itself.
    """
    first = volumes[0]
    if len(volumes) == 1:
        return first
    for source, volume in zip(sources, volumes, strict=True):
        if volume.channels != 1:
            message = f"{source} is a 4-D file of {volume.channels} channels; give it alone, or 3-D files."
            raise AutoMedSAMError(message)
        if not first.same_grid(volume):
            message = (
                f"{source} has another grid than {sources[0]} (size {volume.shape[::-1]} and "
                f"{first.shape[::-1]}, or another spacing or position); resample them onto one grid first."
            )
            raise AutoMedSAMError(message)
    stacked = np.stack([volume.array for volume in volumes])
    notes = tuple(note for volume in volumes for note in volume.notes)
    described = tuple(description for volume in volumes for description in volume.descriptions)
    return replace(first, array=stacked, notes=notes, described=described)


def _wrong_channels(sources: list[Path], volume: Volume, expected: int) -> str:
    if len(sources) == 1 and volume.channels > 1 and expected == 1:
        return (
            f"{sources[0]} is a 4-D file with {volume.channels} channels, and the model looks at one; "
            "save the 3-D volume wanted as a file of its own."
        )
    return (
        f"The model looks at {expected} channels but {volume.channels} were given ({sources[0]} first); "
        "name one file for each modality, in the model's order."
    )


def _unreadable(path: Path, error: RuntimeError) -> str:
    text = str(error)
    for sign, reason in _REASONS.items():
        if sign in text:
            return f"{path} {reason}."
    return f"{path} cannot be read as an image (it is damaged, or its suffix is wrong); copy or export it again."
