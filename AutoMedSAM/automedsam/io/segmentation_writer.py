"""A segmentation out, to a file that is whole or not there at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from automedsam.core.native_path import sitk_path
from automedsam.core.segmentation import Segment, Segmentation
from automedsam.core.volume import Volume, Voxels
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write, check_writable
from automedsam.io.dicom.seg_writer import DICOM_SUFFIX, check_dicom_seg, write_dicom_seg
from automedsam.io.nifti import NIFTI_SUFFIXES, write_nifti
from automedsam.io.nifti_grid import furthest, mask_header
from automedsam.io.seg_nrrd import slicer_fields, slicer_layers
from automedsam.io.sitk_output import suppress_sitk_output

if TYPE_CHECKING:
    import SimpleITK as sitk

SLICER_SUFFIX = ".seg.nrrd"
PICTURE_SUFFIX = ".png"
LABEL_MAP_SUFFIXES = (SLICER_SUFFIX, ".nii.gz", ".nii", ".nrrd", ".mha")
# What was written lies where it should if no voxel is further off than this share of its smallest side.
_SAME_PLACE = 0.01
OUTPUT_SUFFIXES = (*LABEL_MAP_SUFFIXES, PICTURE_SUFFIX, DICOM_SUFFIX)


def check_output(path: Path, volume: Volume | None = None, inputs: Sequence[Path] = ()) -> None:
    """Find out before a run whether its result can be written.

    Args:
        path: The file to write, existing or not.
        volume: The volume to be segmented, if it is known already: PNG holds only one slice, NIfTI not every grid.
        inputs: The files that the run reads, none of which may be overwritten.

    Raises:
        AutoMedSAMError: If the suffix is of no known format, or of one that cannot hold the volume, the folder is
            missing or cannot be written, or the file is one of the inputs.
    """
    suffix = _suffix(path)
    if suffix == PICTURE_SUFFIX and volume is not None and volume.shape[0] != 1:
        message = (
            f"{path} is a PNG, which holds one slice, and the volume has {volume.shape[0]}; "
            f"name the output {SLICER_SUFFIX} or .nii.gz instead."
        )
        raise AutoMedSAMError(message)
    if suffix in NIFTI_SUFFIXES and volume is not None:
        mask_header(volume, np.dtype(np.uint8))
    if suffix == DICOM_SUFFIX:
        check_dicom_seg(path, volume)
    check_writable(path, inputs)


def write_segmentation(segmentation: Segmentation, path: str | Path, *, seg_type: str = "binary") -> None:
    """Write labels on the volume's own grid.

    Args:
        segmentation: What to write.
        path: The suffix decides. `.seg.nrrd`: Slicer's segmentation, with names, colours, terminology and
            provenance; segments inside others overlap them there. `.nii.gz`, `.nii`, `.nrrd`, `.mha`: the label map
            alone, with inner segments painted over outer ones. NIfTI keeps its grid in single
            precision, and the qform, sform and pixdim of a NIfTI input. `.png`: one slice at its own resolution, 0
            and 255 for a single segment, else the label values. `.dcm`: DICOM SEG of a volume that was read from
            DICOM; needs highdicom.
        seg_type: "binary" or "labelmap", the kind of DICOM SEG; see `automedsam.io.dicom.seg_writer`.

    Raises:
        AutoMedSAMError: If the file cannot be written; what was there before is then still there.

    Example:
        >>> import numpy as np
        >>> from automedsam import Segment, Segmentation, read_volume
        >>> volume = read_volume("head.nii.gz")
        >>> labels = np.zeros(volume.shape, np.uint8)
        >>> labels[20:30, 60:80, 60:80] = 1
        >>> lesion = Segment(1, "Lesion", (1.0, 0.0, 0.0), "")
        >>> write_segmentation(Segmentation(labels, volume, [lesion]), "lesion.seg.nrrd")
    """
    path = Path(path)
    check_output(path, segmentation.volume)
    suffix = _suffix(path)
    with atomic_write(path) as unfinished:
        if suffix in NIFTI_SUFFIXES:
            write_nifti(segmentation.labels, segmentation.volume, unfinished, packed=suffix == ".nii.gz")
        elif suffix == DICOM_SUFFIX:
            write_dicom_seg(segmentation, unfinished, seg_type)
        else:
            write_verified(_image(segmentation, suffix), unfinished)


def _image(segmentation: Segmentation, suffix: str) -> sitk.Image:
    import SimpleITK as sitk

    labels = segmentation.labels
    if suffix == PICTURE_SUFFIX:
        return mask_image(labels[0], segmentation.segments)
    image = segmentation.volume.to_image(labels)
    if suffix == SLICER_SUFFIX:
        layers = slicer_layers(segmentation)
        if layers.ndim == 4:
            overlapping = sitk.GetImageFromArray(layers, isVector=True)
            overlapping.CopyInformation(image)
            image = overlapping
        for key, value in slicer_fields(segmentation).items():
            image.SetMetaData(key, value)
    return image


def mask_image(labels: Voxels, segments: Sequence[Segment]) -> sitk.Image:
    """Labels `(h, w)` as the image of a PNG: 0 and 255 for a single segment, so that it is seen, else their values."""
    import SimpleITK as sitk

    if len(segments) == 1:
        labels = np.where(labels == segments[0].value, np.uint8(255), np.uint8(0))
    return sitk.GetImageFromArray(labels)


def write_verified(image: sitk.Image, path: Path) -> None:
    """Write an image, read it again, and compare voxels and grid: what is written is what was meant.

    Raises:
        OSError: If what arrived on the disk differs.
        RuntimeError: If SimpleITK cannot write it.
    """
    import SimpleITK as sitk

    with suppress_sitk_output(), sitk_path(path) as writable:
        sitk.WriteImage(image, writable, useCompression=True)
        written = sitk.ReadImage(writable)
    if not np.array_equal(sitk.GetArrayViewFromImage(written), sitk.GetArrayViewFromImage(image)):
        message = "only a part arrived on the disk"
        raise OSError(message)
    if image.GetDimension() == 3:  # A PNG has no place.
        meant, found = Volume.from_image(image), Volume.from_image(written)
        i, j, k = (max(count, 2) for count in image.GetSize())
        if not furthest(meant.affine, found.affine, (i, j, k)) <= _SAME_PLACE * min(meant.spacing):
            message = "the format does not carry its grid"
            raise OSError(message)


def _suffix(path: Path) -> str:
    for suffix in OUTPUT_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    message = f"{path} is of no format that can be written; let it end in {', '.join(OUTPUT_SUFFIXES)}."
    raise AutoMedSAMError(message)
