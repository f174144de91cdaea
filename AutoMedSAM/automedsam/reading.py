"""Files in, a volume out, or one sentence that says why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from automedsam.dicom import is_dicom_file, read_dicom
from automedsam.errors import AutoMedSAMError
from automedsam.integrity import check_jpeg_is_whole, check_nifti_is_whole
from automedsam.intensity import check_finite_and_varied, not_finite
from automedsam.quiet import quiet_simpleitk
from automedsam.volume import Volume, Voxels

if TYPE_CHECKING:
    import SimpleITK as sitk

NIFTI_SUFFIXES = (".nii.gz", ".nii")
JPEG_SUFFIXES = (".jpg", ".jpeg")
VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, ".nrrd", ".nhdr", ".mha", ".mhd")
SLICE_SUFFIXES = (".png", *JPEG_SUFFIXES)
# Read by `automedsam.video`.
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi")

# Red, green and blue as ITU-R BT.601 weighs them.
_LUMINANCE = (0.299, 0.587, 0.114)


def read_volume(
    paths: Sequence[Path] | Path,
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
        expected_channels: How many channels the model looks at; None takes any number.
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
    """
    sources = [paths] if isinstance(paths, Path) else list(paths)
    if not sources:
        message = "No input was given; name at least one image file or DICOM folder."
        raise AutoMedSAMError(message)
    if series is not None and (len(sources) > 1 or not is_dicom(sources[0])):
        message = "--series chooses in one DICOM folder or file; leave it out, and name a file of each series wanted."
        raise AutoMedSAMError(message)
    volume = _stack(sources, [_read_one(source, series, modalities) for source in sources])
    if expected_channels is not None and volume.channels != expected_channels:
        raise AutoMedSAMError(_wrong_channels(sources, volume, expected_channels))
    if check_voxels:
        check_finite_and_varied(volume)
    return volume


def _read_one(path: Path, series: int | None, modalities: Sequence[str] | None) -> Volume:
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
        yield
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror or error}); check its permissions."
        raise AutoMedSAMError(message) from error
    except RuntimeError as error:
        raise AutoMedSAMError(_unreadable(path, error)) from error


def read_picture(path: Path) -> Voxels:
    """Read a PNG or JPEG with its colours.

    Args:
        path: A file named so.

    Returns:
        `(h, w)`, or `(h, w, c)` with red, green, blue and perhaps alpha, of the file's own type.

    Raises:
        AutoMedSAMError: If it cannot be read.
    """
    import SimpleITK as sitk

    with reading(path):
        jpeg = path.name.lower().endswith(JPEG_SUFFIXES)
        if jpeg:
            check_jpeg_is_whole(path)
        with quiet_simpleitk(output=jpeg):
            return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def is_picture(path: Path) -> bool:
    """Whether a file is named as a single image."""
    return path.name.lower().endswith(SLICE_SUFFIXES)


def _read_file(path: Path) -> Volume:
    import SimpleITK as sitk

    if path.name.lower().endswith(VIDEO_SUFFIXES):
        message = f"{path} is a video, which is no volume; 'automedsam segment' takes it, alone."
        raise AutoMedSAMError(message)
    known = VOLUME_SUFFIXES + SLICE_SUFFIXES
    suffix = next((suffix for suffix in known if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        message = f"{path} is of no known image format; give a DICOM folder or one of {', '.join(known)}."
        raise AutoMedSAMError(message)
    name = path.name[: -len(suffix)]
    if suffix in NIFTI_SUFFIXES:
        if count := check_nifti_is_whole(path):
            raise AutoMedSAMError(not_finite(name, count))
    elif suffix in JPEG_SUFFIXES:
        check_jpeg_is_whole(path)
    with quiet_simpleitk(output=suffix in JPEG_SUFFIXES):
        image = sitk.ReadImage(str(path))
    return _volume(path, image, name, one_slice=suffix in SLICE_SUFFIXES)


def _volume(path: Path, image: sitk.Image, name: str, *, one_slice: bool = False) -> Volume:
    if image.GetDimension() > 4 or "complex" in image.GetPixelIDTypeAsString():
        message = (
            f"{path} holds {image.GetDimension()}-D voxels of type {image.GetPixelIDTypeAsString()}; "
            "export real intensities in 3-D, or in 4-D with one channel for each modality."
        )
        raise AutoMedSAMError(message)
    volume = Volume.from_image(image, name)
    if one_slice:
        grey = luminance(volume.array)
        return Volume(grey, volume.spacing, volume.origin, volume.direction, name)
    if min(volume.shape) < 2:
        message = (
            f"{path} has only 1 slice; choose the file or folder with the whole volume, or save a single image as PNG."
        )
        raise AutoMedSAMError(message)
    if volume.array.ndim == 4 and volume.channels == 1:
        return Volume(volume.array[0], volume.spacing, volume.origin, volume.direction, name)
    return volume


def luminance(array: Voxels) -> Voxels:
    """Grey levels as ITU-R BT.601 weighs red, green and blue; alpha is left out.

    Args:
        array: `(1, J, I)` grey, or `(c, 1, J, I)`: grey and alpha, RGB or RGBA.

    Returns:
        `(1, J, I)` of the same type.
    """
    if array.ndim == 3:
        return array
    grey: Voxels = array[0]
    if len(array) >= 3:
        weights = np.asarray(_LUMINANCE, dtype=np.float32)
        grey = np.rint(np.tensordot(weights, array[:3].astype(np.float32), axes=1)).astype(array.dtype)
    return grey


def picture_luminance(picture: Voxels) -> Voxels:
    """`luminance` of a picture `(h, w)` or `(h, w, c)`, as `(h, w)`."""
    return picture if picture.ndim == 2 else luminance(np.moveaxis(picture, -1, 0)[:, np.newaxis])[0]


def _stack(sources: list[Path], volumes: list[Volume]) -> Volume:
    first = volumes[0]
    if len(volumes) == 1:
        return first
    for source, volume in zip(sources, volumes, strict=True):
        if volume.channels != 1:
            message = f"{source} is a 4-D file of {volume.channels} channels; give it alone, or 3-D files."
            raise AutoMedSAMError(message)
        if not first.same_grid(volume):
            message = (
                f"{source} lies on another grid than {sources[0]} (size {volume.shape[::-1]} and "
                f"{first.shape[::-1]}, or another spacing or position); resample them onto one grid first."
            )
            raise AutoMedSAMError(message)
    stacked = np.stack([volume.array for volume in volumes])
    notes = tuple(note for volume in volumes for note in volume.notes)
    return replace(first, array=stacked, notes=notes)


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
    if "orthonormal" in str(error):
        return f"{path} has a sheared grid, which no slice can follow; resample it onto a regular grid first."
    return f"{path} cannot be read as an image (damaged, or not what its name says); copy or export it again."
