"""Voxels on their way to and from the engine: `.npy` files in a private folder that goes when it is not needed."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from slicer.util import arrayFromVolume

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.scene.geometry import grid_of, shape_of

_SLAB_VOXELS = 1 << 20
_PATIENCE_SECONDS = 2.0


class SharedFiles:
    """A folder that only this user can read, with numbered names, so that no node's name ever becomes a path."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._count = 0
        self._discarded: set[Path] = set()

    @property
    def folder(self) -> Path | None:
        """The folder, if one was needed."""
        return self._folder

    def new_path(self, stem: str) -> Path:
        """A path where there is no file yet.

        Raises:
            AutoMedSAMError: If no folder can be made.
        """
        if self._folder is None:
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="AutoMedSAM-", dir=slicer.app.temporaryPath))
            except OSError as error:
                raise no_room(error) from error
        self._count += 1
        return self._folder / f"{stem}-{self._count}.npy"

    def discard(self, path: Path | None) -> None:
        """Removes a file; on Windows, where the engine may still have it open, at the next opportunity."""
        if path is not None:
            self._discarded.add(path)
        for one in sorted(self._discarded):
            try:
                one.unlink(missing_ok=True)
                self._discarded.discard(one)
            except OSError:
                continue

    def close(self, seconds: float = _PATIENCE_SECONDS) -> None:
        """Removes the folder and all in it: they are a patient's voxels.

        On Windows a file that another process still reads (the engine as it ends, a virus scanner) cannot be removed.

        Args:
            seconds: how long to try again; after that it is tried once more when Python ends.
        """
        folder, self._folder = self._folder, None
        self._discarded.clear()
        if folder is None:
            return
        until = time.monotonic() + seconds
        while not _remove(folder) and time.monotonic() < until:
            time.sleep(0.05)
        if folder.exists():
            logging.warning("AutoMedSAM: %s holds copies of volumes and cannot be removed now; remove it.", folder)
            atexit.register(_remove, folder)


@dataclass(frozen=True)
class VolumeIdentity:
    """What a copy of volumes depends on: while it is the same, the copy is up to date.

    Attributes:
        nodes: the nodes' IDs.
        times: when their voxels were last modified, as VTK counts.
        grid: the grid of the first.
    """

    nodes: tuple[str, ...]
    times: tuple[int, ...]
    grid: str

    @classmethod
    def of(cls, volumes: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> VolumeIdentity:
        return cls(
            tuple(volume.GetID() for volume in volumes),
            tuple(volume.GetImageData().GetMTime() for volume in volumes),
            repr(grid_of(volumes[0])),
        )


class VolumeExport:
    """A copy of volume nodes' voxels in a file, written in steps between which the event loop runs.

    Args:
        volumes: scalar volumes on one grid; several become the channels of one array `(C, K, J, I)`.
        path: the file.
    """

    def __init__(self, volumes: Sequence[slicer.vtkMRMLScalarVolumeNode], path: Path) -> None:
        self.path, self.identity = path, VolumeIdentity.of(volumes)
        shape = shape_of(volumes[0])
        self._arrays = [arrayFromVolume(volume).reshape(-1) for volume in volumes]
        self._type = np.result_type(*self._arrays)
        self._shape = shape if len(volumes) == 1 else (len(volumes), *shape)
        self._written, self._total = 0, sum(array.size for array in self._arrays)
        self.description: dict[str, Any] = {
            "path": str(path),
            "name": volumes[0].GetName(),
            **grid_of(volumes[0]),
        }

    @property
    def is_complete(self) -> bool:
        """Whether all is written."""
        return self._written == self._total

    @property
    def fraction(self) -> float:
        """How much is written, 0 to 1."""
        return self._written / self._total

    def write_chunk(self, seconds: float) -> bool:
        """Continues writing for about so long.

        Returns:
            Whether all is written.

        Raises:
            AutoMedSAMError: If the disk does not take it.
        """
        until = time.perf_counter() + seconds
        try:
            with self.path.open("ab") as file:
                if not self._written:
                    header = {"descr": self._type.str, "fortran_order": False, "shape": self._shape}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(self._next_slab())
                while not self.is_complete and time.perf_counter() < until:
                    file.write(self._next_slab())
        except OSError as error:
            raise no_room(error) from error
        if self.is_complete:
            self._arrays.clear()
        return self.is_complete

    def _next_slab(self) -> bytes:
        channel, begin = divmod(self._written, self._arrays[0].size)
        slab = self._arrays[channel][begin : begin + _SLAB_VOXELS]
        self._written += slab.size
        return slab.astype(self._type, copy=False).tobytes()


def _remove(folder: Path) -> bool:
    """Removes what can be removed; whether all is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def no_room(error: OSError) -> AutoMedSAMError:
    """The error for a file that could not be written."""
    message = _(
        "The voxels could not be copied to {folder} ({error}); free some space there, or choose another temporary "
        "folder in Slicer's settings."
    )
    return AutoMedSAMError(message.format(folder=slicer.app.temporaryPath, error=error.strerror), repr(error))
