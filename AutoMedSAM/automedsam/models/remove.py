"""Removing downloaded and imported models."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from automedsam.bundle import list_bundles
from automedsam.contract.catalog import is_model_name
from automedsam.errors import AutoMedSAMError
from automedsam.io.models_folder import DOWNLOADS, installed_folders, models_folder


def remove_model(name: str) -> int:
    """Removes an installed model, whether it works or not, and what is left of a download of it.

    Args:
        name: The model's name, or that of its folder.

    Returns:
        The bytes that are free again.

    Raises:
        AutoMedSAMError: If there is no such model, it came with AutoMedSAM, or it cannot be removed.
    """
    if any(bundle.name == name for bundle in list_bundles(installed=False)):
        message = f"The model {name} is part of AutoMedSAM and cannot be removed."
        raise AutoMedSAMError(message)
    places = [] if not is_model_name(name) else _places(name)
    if not places:
        removable = ", ".join(sorted({*installed_folders(), *unfinished_downloads()})) or "none"
        message = f"There is no downloaded or imported model {name:.200}; those that can be removed: {removable}."
        raise AutoMedSAMError(message)
    return sum(_remove(place) for place in places)


def unfinished_downloads() -> dict[str, int]:
    """The bytes that are here of each model whose download was stopped, by name."""
    try:
        folders = [path for path in (models_folder() / DOWNLOADS).iterdir() if path.is_dir()]
        sizes = {folder.name: _size(folder) for folder in sorted(folders)}
    except (AutoMedSAMError, OSError):
        return {}
    return {name: size for name, size in sizes.items() if size}


def _places(name: str) -> list[Path]:
    folder = models_folder()
    found = [folder / name, folder / DOWNLOADS / name]
    return [path for path in found if path.is_symlink() or path.is_dir()]


def _remove(place: Path) -> int:
    try:
        if place.is_symlink():
            # The folder that somebody linked is not ours.
            place.unlink()
            return 0
        size = _size(place)
        # Gone at once for everybody else, however long its files take.
        gone = place.with_name(f".removed-{uuid.uuid4().hex}")
        place.rename(gone)
        shutil.rmtree(gone)
    except OSError as error:
        message = f"{place} cannot be removed ({error.strerror}): close the programs that use it, and try again."
        raise AutoMedSAMError(message) from error
    return size


def _size(folder: Path) -> int:
    return sum((Path(parent) / name).lstat().st_size for parent, _, names in os.walk(folder) for name in names)
