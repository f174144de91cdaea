"""Which layout reads which archive."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.readers.base import Archive, ReaderOptions
from automedsam_lab.data.readers.brats import Brats
from automedsam_lab.data.readers.chestxray14 import ChestXray14
from automedsam_lab.data.readers.decathlon import Decathlon
from automedsam_lab.data.readers.kvasir import Kvasir
from automedsam_lab.data.readers.npz import Npz
from automedsam_lab.data.readers.sa_med2d import SaMed2d
from automedsam_lab.data.readers.videos import Videos


class DatasetFormat(str, Enum):
    """The layouts that `prepare` reads."""

    CHESTXRAY14 = "chestxray14"
    BRATS = "brats"
    DECATHLON = "decathlon"
    KVASIR = "kvasir"
    SA_MED2D = "sa-med2d"
    NPZ = "npz"
    VIDEOS = "videos"


def open_dataset(layout: DatasetFormat, root: Path, choices: ReaderOptions) -> Archive:
    """The archive at a place.

    Args:
        layout: how its files lie.
        root: its folder.
        choices: how to read it.

    Raises:
        AutoMedSAMError: if there is no such folder, or it is not of the layout.
    """
    if not root.is_dir():
        message = f"The archive's folder {root} does not exist; check its spelling."
        raise AutoMedSAMError(message)
    kinds: dict[DatasetFormat, type[Archive]] = {
        DatasetFormat.CHESTXRAY14: ChestXray14,
        DatasetFormat.BRATS: Brats,
        DatasetFormat.DECATHLON: Decathlon,
        DatasetFormat.KVASIR: Kvasir,
        DatasetFormat.SA_MED2D: SaMed2d,
        DatasetFormat.NPZ: Npz,
        DatasetFormat.VIDEOS: Videos,
    }
    return kinds[layout](root, choices)  # type: ignore[call-arg]
