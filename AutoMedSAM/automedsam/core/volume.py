"""Where voxels are in the patient: the only place that knows a direction matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from automedsam.contract import planes
from automedsam.errors import AutoMedSAMError

if TYPE_CHECKING:
    from pathlib import Path

    import SimpleITK as sitk
    from nibabel.nifti1 import Nifti1Header

Triple: TypeAlias = tuple[float, float, float]
Voxels: TypeAlias = NDArray[Any]

_GEOMETRY_TOLERANCE = 0.1


class Plane(str, Enum):
    """The anatomical plane in which slices are cut.

    Example:
        >>> Plane("axial").value
        'axial'
    """

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


# For each plane the patient axis (0: R->L, 1: A->P, 2: I->S, as LPS counts) and the sense in which the
# frames' slices, rows and columns run along it.
_FRAMES: dict[Plane, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    Plane.AXIAL: ((2, +1), (1, +1), (0, +1)),
    Plane.CORONAL: ((1, +1), (2, -1), (0, +1)),
    Plane.SAGITTAL: ((0, +1), (2, -1), (1, +1)),
}


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and their place in the patient, as SimpleITK has them.

    Attributes:
        array: Voxels `(K, J, I)`, or `(C, K, J, I)` for several modalities on one grid.
        spacing: Distance between neighbouring voxels along I, J, K in mm.
        origin: Centre of voxel `(0, 0, 0)` in mm, LPS.
        direction: Row-major 3 x 3 matrix whose columns are the directions of I, J, K in LPS.
        name: What to call the volume in messages and reports.
        notes: What a user should know of the file it was read from, one sentence each.
        nifti_header: The header it was read with, if any; a NIfTI mask repeats its two transforms.
        described: For each channel, its file's description of it: "name", and DICOM tags by keyword.
        colors: Whether its channels are red, green, blue and perhaps alpha, as far as the file states.
        source_frames: For each slice K the DICOM file and the number of its frame in it, from 0; empty if it was not
            read from DICOM, or not as a volume.
        is_video: Whether its slices are moments in time; its spacing is then a convention, not a measure.

    Raises:
        AutoMedSAMError: If the array is empty or not 3-D or 4-D, or the geometry is not a grid in space.

    Example:
        >>> volume = Volume(np.zeros((4, 5, 6)), (1.0, 1.0, 2.0), (-3.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
        >>> volume.shape, volume.voxel_volume_ml
        ((4, 5, 6), 0.002)
        >>> volume.world((0, 0, 1))  # (k, j, i) to mm, LPS
        (-2.0, 0.0, 0.0)
    """

    array: Voxels
    spacing: Triple
    origin: Triple
    direction: tuple[float, ...]
    name: str = ""
    notes: tuple[str, ...] = ()
    nifti_header: Nifti1Header | None = None
    colors: bool = False
    described: tuple[Mapping[str, str], ...] = ()
    is_video: bool = False
    source_frames: tuple[tuple[Path, int], ...] = ()

    def __post_init__(self) -> None:
        called = self.name or "The volume"
        if self.array.ndim not in (3, 4) or self.array.size == 0:
            message = f"{called} has shape {self.array.shape}; give a 3-D volume, or a 4-D one of channels."
            raise AutoMedSAMError(message)
        geometry = (*self.spacing, *self.origin, *self.direction)
        sound = (
            (len(self.spacing), len(self.origin), len(self.direction)) == (3, 3, 9)
            and bool(np.isfinite(geometry).all())
            and min(self.spacing) > 0
            and abs(float(np.linalg.det(self._matrix))) > 1e-6
        )
        if not sound:
            message = (
                f"{called} has an impossible grid (spacing {self.spacing}, origin {self.origin}, "
                f"direction {self.direction}); repair the file's header or export it again."
            )
            raise AutoMedSAMError(message)

    @classmethod
    def from_image(cls, image: sitk.Image, name: str = "") -> Volume:
        """Take the voxels and the place of a SimpleITK image.

        Args:
            image: 2-D (becomes one slice), 3-D, or 4-D whose last axis is the channel; vector pixels are
                channels too.
            name: What to call the volume.

        Returns:
            The volume, with the image's own voxel type.
        """
        import SimpleITK as sitk

        array = sitk.GetArrayFromImage(image)
        if image.GetNumberOfComponentsPerPixel() > 1:
            array = np.moveaxis(array, -1, 0)
        dimension = image.GetDimension()
        if dimension == 2:
            array = array[..., np.newaxis, :, :]
        space = min(dimension, 3)
        spacing, origin, matrix = np.ones(3), np.zeros(3), np.eye(3)
        spacing[:space] = image.GetSpacing()[:space]
        origin[:space] = image.GetOrigin()[:space]
        matrix[:space, :space] = np.reshape(image.GetDirection(), (dimension, dimension))[:space, :space]
        colors = image.GetNumberOfComponentsPerPixel() in (3, 4)
        return cls(array, _triple(spacing), _triple(origin), tuple(matrix.ravel().tolist()), name, colors=colors)

    @classmethod
    def on_affine(
        cls,
        array: Voxels,
        affine: NDArray[np.float64],
        name: str,
        *,
        notes: tuple[str, ...] = (),
        nifti_header: Nifti1Header | None = None,
        colors: bool = False,
    ) -> Volume:
        """Put voxels on the grid of an affine.

        Args:
            array: Voxels `(K, J, I)` or `(C, K, J, I)`.
            affine: `(4, 4)`, voxel `(i, j, k)` to mm in LPS, its columns not zero.
            name: What to call the volume.
            notes: As the attribute.
            nifti_header: As the attribute.
            colors: As the attribute.
        """
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        direction = tuple((affine[:3, :3] / spacing).ravel().tolist())
        return cls(array, _triple(spacing), _triple(affine[:3, 3]), direction, name, notes, nifti_header, colors)

    def to_image(self, array: Voxels) -> sitk.Image:
        """Put other voxels on this volume's grid.

        Args:
            array: Voxels `(K, J, I)` of this volume's shape, such as labels.

        Returns:
            A 3-D SimpleITK image with exactly this volume's spacing, origin and direction.

        Raises:
            ValueError: If the shape is not this volume's.
        """
        import SimpleITK as sitk

        self._require(array.shape, self.shape)
        image = sitk.GetImageFromArray(np.ascontiguousarray(array))
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image

    @property
    def descriptions(self) -> tuple[Mapping[str, str], ...]:
        """For each channel "name" and perhaps DICOM tags; the volume's own name where nothing else is known."""
        return self.described or ({"name": self.name},) * self.channels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along K, J, I, without channels."""
        k, j, i = self.array.shape[-3:]
        return k, j, i

    @property
    def channels(self) -> int:
        """Modalities that share the grid: 1 for a 3-D array."""
        return int(self.array.shape[0]) if self.array.ndim == 4 else 1

    @property
    def affine(self) -> NDArray[np.float64]:
        """`(4, 4)`, voxel `(i, j, k)` to mm in LPS."""
        affine = np.eye(4)
        affine[:3, :3] = self._matrix * self.spacing
        affine[:3, 3] = self.origin
        return affine

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(np.prod(self.spacing) * abs(np.linalg.det(self._matrix))) / 1000.0

    def default_plane(self, preferred: Plane | None = None) -> Plane:
        """The plane in which the slices were acquired.

        Args:
            preferred: The plane to take where the voxels do not tell, axial if None.

        Returns:
            The plane across a single slice; else across the spacing that is at least 1.5 times each of the
            two others; else `preferred`.
        """
        chosen = None if preferred is None else preferred.value
        return Plane(planes.default_plane(self.shape, self.spacing, self._matrix.T.tolist(), chosen))

    def to_frames(self, plane: Plane) -> Voxels:
        """Slices as a radiologist expects them, whatever the order of the voxels in the file.

        Oblique volumes are not resampled: each voxel axis stands for the patient axis it is nearest to.

        Args:
            plane: Axial: slices inferior to superior, rows anterior to posterior. Coronal: slices anterior to
                posterior, rows superior to inferior. Sagittal: slices right to left, rows superior to
                inferior, columns anterior to posterior. Axial and coronal columns run from the patient's
                right to left.

        Returns:
            A view `(C, N, H, W)` of the array, `N` slices of `H` rows and `W` columns.
        """
        array = self.array if self.array.ndim == 4 else self.array[np.newaxis]
        layout = self.frame_axes(plane)
        frames = array.transpose(0, *(1 + axis for axis, _ in layout))
        return frames[(slice(None), *_flips(layout))]

    def from_frames(self, labels: Voxels, plane: Plane) -> Voxels:
        """Undo `to_frames`: put what was found on the frames back on the volume's own grid.

        Args:
            labels: Values `(N, H, W)` on the frames of `plane`.
            plane: The plane that the frames were cut in.

        Returns:
            The same values as a contiguous array `(K, J, I)`, moved and never resampled.

        Raises:
            ValueError: If the shape is not that of this volume's frames.
        """
        layout = self.frame_axes(plane)
        axes = [axis for axis, _ in layout]
        self._require(labels.shape, tuple(self.shape[axis] for axis in axes))
        return np.ascontiguousarray(labels[_flips(layout)].transpose(np.argsort(axes)))

    def frame_spacing(self, plane: Plane) -> Triple:
        """Distances on the frames of a plane in mm: between slices, between rows, between columns."""
        spacing = self.spacing[::-1]
        between, rows, columns = (spacing[axis] for axis, _ in self.frame_axes(plane))
        return between, rows, columns

    def frame_axes(self, plane: Plane) -> tuple[tuple[int, bool], tuple[int, bool], tuple[int, bool]]:
        """How the frames of a plane lie in the array.

        Args:
            plane: The plane that the frames are cut in.

        Returns:
            For the frames' slices, rows and columns: the axis of `(K, J, I)` that they follow, and whether they
            run against its index.
        """
        patient = planes.patient_axes(self._matrix.T.tolist())
        slices, rows, columns = (
            (2 - patient.index(axis), bool(self._matrix[axis, patient.index(axis)] * sense < 0))
            for axis, sense in _FRAMES[plane]
        )
        return slices, rows, columns

    def slice_axis(self, plane: Plane) -> tuple[int, bool]:
        """Which axis of `(K, J, I)` the slices of a plane follow, and whether they run against its index."""
        return self.frame_axes(plane)[0]

    def world(self, voxel: Triple) -> Triple:
        """Where a voxel's centre is.

        Args:
            voxel: Index `(k, j, i)`, fractions allowed.

        Returns:
            The point in mm, LPS.
        """
        step = np.multiply(voxel[::-1], self.spacing)
        return _triple(np.asarray(self.origin) + self._matrix @ step)

    def same_grid(self, other: Volume) -> bool:
        """Whether two volumes have their voxels at the same points, to a tenth of the finest spacing."""
        if self.shape != other.shape:
            return False
        k, j, i = self.shape
        corners = product((0, k - 1), (0, j - 1), (0, i - 1))
        apart = [math.dist(self.world(corner), other.world(corner)) for corner in corners]
        # A single slice has no second corner to betray another thickness.
        apart += [abs(mine - its) for mine, its in zip(self.spacing, other.spacing, strict=True)]
        return max(apart) <= _GEOMETRY_TOLERANCE * min(self.spacing)

    @property
    def _matrix(self) -> NDArray[np.float64]:
        return np.asarray(self.direction, dtype=np.float64).reshape(3, 3)

    @staticmethod
    def _require(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        if shape != wanted:
            message = f"An array of shape {shape} does not lie on this volume's grid of {wanted}."
            raise ValueError(message)


def _flips(layout: tuple[tuple[int, bool], ...]) -> tuple[slice, ...]:
    return tuple(slice(None, None, -1 if flipped else 1) for _, flipped in layout)


def _triple(values: NDArray[np.float64]) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z
