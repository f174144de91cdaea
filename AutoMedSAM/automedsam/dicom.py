"""A DICOM series: which files belong to it, and whether they make one regular stack of slices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from automedsam.errors import AutoMedSAMError
from automedsam.quiet import quiet_simpleitk

if TYPE_CHECKING:
    import SimpleITK as sitk

_SERIES_DESCRIPTION = "0008|103e"
_MAGIC_PLACE, _MAGIC = 128, b"DICM"
_UNEVEN = 0.1


def is_dicom_file(path: Path) -> bool:
    """Whether a file carries the mark of a DICOM file.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as stream:
        stream.seek(_MAGIC_PLACE)
        return stream.read(len(_MAGIC)) == _MAGIC


def read_series(path: Path) -> tuple[sitk.Image, str]:
    """Read the series in a folder, or the series that a file belongs to.

    Args:
        path: A folder with one series, or one file of the series wanted.

    Returns:
        The slices as one image, in order of their position, and the series' description.

    Raises:
        AutoMedSAMError: If there is no series, or more than one, or if the slices are unevenly spaced.
        RuntimeError: If SimpleITK cannot read a file of the series.
    """
    import SimpleITK as sitk

    with quiet_simpleitk():
        files = _only_series(path) if path.is_dir() else _series_of(path)
        first = _header(files[0])
        image = sitk.ReadImage(files if len(files) > 1 else files[0])
        if len(files) > 1:
            _check_even(path, image, files)
    return image, _description(first)


def _all_series(folder: Path) -> list[list[str]]:
    """The files of each series in a folder, in order of their position."""
    import SimpleITK as sitk

    reader, place = sitk.ImageSeriesReader, str(folder)
    uids = [uid for uid in reader.GetGDCMSeriesIDs(place) if uid.isascii()]
    return [list(reader.GetGDCMSeriesFileNames(place, uid)) for uid in uids]


def _series_of(file: Path) -> list[str]:
    for files in _all_series(file.parent):
        if any(file.samefile(other) for other in files):
            return files
    message = f"{file} belongs to no DICOM series; choose a file of the series wanted or its folder."
    raise AutoMedSAMError(message)


def _only_series(folder: Path) -> list[str]:
    series = _all_series(folder)
    if not series:
        message = f"{folder} holds no DICOM series; choose the folder in which the series' files lie."
        raise AutoMedSAMError(message)
    if len(series) > 1:
        series.sort(key=len, reverse=True)
        named = ", ".join(
            f"{_description(_header(files[0])) or 'unnamed'} ({len(files)} files, as {Path(files[0]).name})"
            for files in series
        )
        message = f"{folder} holds {len(series)} DICOM series: {named}; give one file of the series wanted."
        raise AutoMedSAMError(message)
    return series[0]


def _check_even(path: Path, image: sitk.Image, files: list[str]) -> None:
    """Hold each slice's own position against the grid that ITK made of the first and the last."""
    placed = np.array([_header(file).GetOrigin() for file in files])
    assumed = np.array([image.TransformIndexToPhysicalPoint((0, 0, index)) for index in range(len(files))])
    off = float(np.linalg.norm(placed - assumed, axis=1).max())
    if off > _UNEVEN * image.GetSpacing()[2]:
        message = (
            f"The slices of {path} do not make one regular stack (one lies {off:.1f} mm off): slices are "
            "missing, tilted or of several acquisitions; export one volume again, for example as NRRD."
        )
        raise AutoMedSAMError(message)


def _header(file: str) -> sitk.ImageFileReader:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return reader


def _description(header: sitk.ImageFileReader) -> str:
    if not header.HasMetaDataKey(_SERIES_DESCRIPTION):
        return ""
    return str(header.GetMetaData(_SERIES_DESCRIPTION)).strip("\0 ")
