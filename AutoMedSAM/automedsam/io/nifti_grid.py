"""The grid of a NIfTI file: which of its two transforms is read, and a header that puts a mask on the same grid.

A header places its voxels twice: by a rotation with voxel sizes (qform, quaternion and pixdim) and by a matrix
(sform). Programs differ in which of them they read. Source of the fields and rules: nifti1.h, methods 1 to 3.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

    from automedsam.core.volume import Volume

Affine = NDArray[np.float64]

# The nearest rotation stands for a sheared matrix if it moves no voxel by more than half its smallest side.
SHEAR_TOLERANCE = 0.5
# Two grids are the same if no voxel lies further apart than this share of its smallest side.
_SAME = 0.1
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
_PLACE_FIELDS = (
    "pixdim", "xyzt_units", "qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "sform_code", "srow_x", "srow_y", "srow_z",
)  # fmt: skip


@dataclass(frozen=True)
class NiftiGrid:
    """Where the voxels of a NIfTI file are.

    Attributes:
        affine: `(4, 4)`, voxel `(i, j, k)` to mm in LPS; its first three columns are orthogonal.
        notes: A sentence for each thing that other programs may read differently.
    """

    affine: Affine
    notes: tuple[str, ...] = ()


def header_class(version: int) -> type[Nifti1Header]:
    """Nibabel's header of NIfTI-1 or NIfTI-2, imported when it is first needed."""
    with warnings.catch_warnings():
        # nibabel imports optional packages, which print what they in turn lack.
        warnings.simplefilter("ignore")
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header
    kinds: dict[int, type[Nifti1Header]] = {1: Nifti1Header, 2: Nifti2Header}
    return kinds[version]


def read_grid(header: Nifti1Header, shape: tuple[int, int, int], called: str) -> NiftiGrid:
    """Choose the grid: the sform if the file has a usable one, as nibabel and FSL do, else the qform.

    Args:
        header: Of NIfTI-1 or NIfTI-2.
        shape: Voxels along I, J, K.
        called: The file's name, for messages.

    Raises:
        AutoMedSAMError: If the matrix is sheared or the grid impossible, and there is no other.
    """
    sizes = _voxel_sizes(header)
    matrix = _sform(header) if int(header["sform_code"]) > 0 else None
    turned = _qform(header) if int(header["qform_code"]) > 0 else None
    notes: tuple[str, ...] = ()
    if matrix is None and turned is None:
        turned = np.diag([*sizes, 1.0])
        note = (
            f"{called} has no position or orientation (qform and sform codes are 0); its axes are taken as right to "
            "left, anterior to posterior, inferior to superior."
        )
        notes = (note,)
    elif matrix is not None:
        possible = _is_possible(matrix)
        rotated = nearest_rotation(matrix, shape) if possible else None
        if rotated is not None:
            return NiftiGrid(rotated, _disagreement(header, matrix, turned, sizes, shape, called))
        if possible and (turned is None or not _is_possible(turned)):
            message = f"{called} has a sheared grid (sform), which is not supported; resample it onto a regular grid."
            raise AutoMedSAMError(message)
        fault = "sheared" if possible else "no possible grid"
        note = f"{called}: the sform is {fault}, so the qform is used; a NIfTI mask carries both, as the image does."
        notes = (note,)
    if turned is None or not _is_possible(turned):
        message = (
            f"{called} has an impossible grid (pixdim {_listed(header['pixdim'][1:4])}, qform code "
            f"{int(header['qform_code'])}, sform code {int(header['sform_code'])}); repair the header or export it "
            "again."
        )
        raise AutoMedSAMError(message)
    return NiftiGrid(turned, notes)


def nearest_rotation(affine: Affine, shape: tuple[int, int, int]) -> Affine | None:
    """Replace the axes of an affine by the nearest orthogonal ones (polar decomposition, Higham 1986).

    Args:
        affine: `(4, 4)`; the first voxel and the voxel sizes are kept.
        shape: Voxels along I, J, K.

    Returns:
        The affine, or None if a voxel would move by more than `SHEAR_TOLERANCE` of the smallest voxel side.
    """
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(affine[:3, :3] / sizes)
    rotated = affine.copy()
    rotated[:3, :3] = (left @ right) * sizes
    return rotated if furthest(affine, rotated, shape) <= SHEAR_TOLERANCE * sizes.min() else None


def furthest(one: Affine, other: Affine, shape: tuple[int, int, int]) -> float:
    """The largest distance in mm between where two affines put a voxel of a volume of `shape` (I, J, K)."""
    corners = np.array([(*corner, 1) for corner in product(*((0, count - 1) for count in shape))], dtype=float)
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())


def mask_header(volume: Volume, dtype: np.dtype[Any]) -> Nifti1Header:
    """Make the NIfTI-1 header of a mask, or of other voxels, on a volume's grid.

    A volume that was read from NIfTI hands on its qform, sform, both codes, pixdim and units, so that every program
    that reads the image in one place reads the mask in the same.

    Args:
        volume: For its shape, grid and, if it has one, NIfTI header.
        dtype: Of the voxels.

    Raises:
        AutoMedSAMError: If NIfTI cannot carry the grid.
    """
    header = header_class(1)()
    from nibabel.spatialimages import HeaderDataError

    header.set_data_dtype(dtype)
    shape = volume.shape[::-1]
    called = volume.name or "The volume"
    try:
        header.set_data_shape(shape)
    except HeaderDataError as error:
        message = f"{called} has more voxels along an axis than NIfTI can count (32767); write .seg.nrrd instead."
        raise AutoMedSAMError(message) from error
    affine = _LPS_FROM_RAS @ volume.affine
    header["vox_offset"] = header.single_vox_offset
    source = volume.nifti_header
    if source is not None and np.allclose(read_grid(source, shape, called).affine, volume.affine, rtol=0, atol=1e-6):
        for field in _PLACE_FIELDS:
            header[field] = source[field]
        header["pixdim"][4:] = 1
        return header
    if nearest_rotation(affine, shape) is None:
        message = f"{called} has a sheared grid, which NIfTI cannot carry; write .seg.nrrd instead."
        raise AutoMedSAMError(message)
    header.set_xyzt_units("mm")
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    smallest = min(volume.spacing)
    if not furthest(_sform(header), volume.affine, shape) <= 0.01 * smallest:
        message = (
            f"{called} is {np.abs(volume.origin).max():g} mm from the origin with voxels of {smallest:g} mm, which "
            "NIfTI's single precision cannot carry; write .seg.nrrd instead."
        )
        raise AutoMedSAMError(message)
    return header


def _disagreement(
    header: Nifti1Header,
    matrix: Affine,
    turned: Affine | None,
    sizes: NDArray[np.float64],
    shape: tuple[int, int, int],
    called: str,
) -> tuple[str, ...]:
    scales = np.linalg.norm(matrix[:3, :3], axis=0)
    limit = _SAME * scales.min()
    if turned is not None and _is_possible(turned):
        if (apart := furthest(matrix, turned, shape)) > limit:
            # itkNiftiImageIO takes the sform only where its code is that of the scanner.
            others = "" if int(header["sform_code"]) == 1 else " (3D Slicer and ITK use the qform)"
            note = (
                f"{called}: sform and qform place voxels up to {apart:.1f} mm apart; the sform is used{others}, and a "
                "NIfTI mask carries both, as the image does."
            )
            return (note,)
    elif not np.abs((sizes - scales) * (np.array(shape) - 1)).max() <= limit:
        note = (
            f"{called}: pixdim gives voxels of {_listed(header['pixdim'][1:4])} and the sform of {_listed(scales)} mm; "
            "the sform is used, and a NIfTI mask carries both, as the image does."
        )
        return (note,)
    return ()


def _sform(header: Nifti1Header) -> Affine:
    rows = np.array([header[row] for row in ("srow_x", "srow_y", "srow_z")], dtype=np.float64)
    affine: Affine = _LPS_FROM_RAS @ np.vstack([rows * _mm_per_unit(header), (0, 0, 0, 1)])
    return affine


def _qform(header: Nifti1Header) -> Affine:
    from nibabel.quaternions import quat2mat

    bcd = np.array([header[f"quatern_{letter}"] for letter in "bcd"], dtype=np.float64)
    length = float(bcd @ bcd)
    # In single precision a rotation by 180 degrees may come out a little longer than 1.
    quaternion = [0.0, *(bcd / np.sqrt(length))] if length > 1 else [np.sqrt(1 - length), *bcd]
    sizes = _voxel_sizes(header)
    if header["pixdim"][0] < 0:
        sizes = sizes * (1, 1, -1)
    affine = np.eye(4)
    affine[:3, :3] = quat2mat(quaternion) * sizes
    affine[:3, 3] = [float(header[f"qoffset_{axis}"]) * _mm_per_unit(header) for axis in "xyz"]
    return _LPS_FROM_RAS @ affine


def _voxel_sizes(header: Nifti1Header) -> NDArray[np.float64]:
    """In mm. A negative one is a slip that all readers forgive."""
    sizes: NDArray[np.float64] = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64)) * _mm_per_unit(header)
    return sizes


def _mm_per_unit(header: Nifti1Header) -> float:
    return _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)


def _is_possible(affine: Affine) -> bool:
    if not np.isfinite(affine).all():
        return False
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(sizes.min() > 0 and abs(np.linalg.det(affine[:3, :3] / sizes)) > 1e-6)


def _listed(values: Any) -> str:
    return " x ".join(f"{float(value):g}" for value in values)
