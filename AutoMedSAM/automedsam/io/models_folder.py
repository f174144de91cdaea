"""The folder of downloaded and imported models."""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from automedsam.contract.model_folders import FOLDER_VARIABLE, bundle_folders
from automedsam.errors import AutoMedSAMError

DOWNLOADS = ".downloads"

# What installing, removing and making INT8 files call their unfinished folders.
_LEFTOVER = re.compile(r"\.(import|removed|automedsam|int8)-")
_DAY_SECONDS = 86_400
_SPARE_BYTES = 50_000_000


def models_folder() -> Path:
    """The folder, which may not exist yet: that of `AUTOMEDSAM_MODELS`, else the user's data folder of the system.

    Raises:
        AutoMedSAMError: If the user has no home folder, or platformdirs is not installed.
    """
    chosen = os.environ.get(FOLDER_VARIABLE, "").strip()
    if chosen:
        return Path(os.path.abspath(Path(chosen).expanduser()))
    try:
        from platformdirs import user_data_path

        folder = user_data_path("automedsam", appauthor=False) / "models"
    except ImportError as error:
        message = f"The folder of models is found with platformdirs: install it, or set {FOLDER_VARIABLE} to a folder."
        raise AutoMedSAMError(message) from error
    except RuntimeError:
        folder = Path("~")
    if not folder.is_absolute():
        # Some versions of platformdirs return "~" unexpanded.
        message = f"There is no home folder for models: set {FOLDER_VARIABLE} to a folder."
        raise AutoMedSAMError(message)
    return folder


def make_models_folder() -> Path:
    """The folder, made if it does not exist.

    Raises:
        AutoMedSAMError: If it cannot be made.
    """
    folder = models_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = (
            f"The folder of models {folder} cannot be made ({error.strerror}): set {FOLDER_VARIABLE} to a folder that "
            "you may write to."
        )
        raise AutoMedSAMError(message) from error
    _remove_leftovers(folder)
    return folder


def _remove_leftovers(folder: Path) -> None:
    """Removes what a process that was killed has left half-written, once it is surely gone."""
    for path in [*folder.glob(".*-*"), *folder.glob("*/.int8-*")]:
        with suppress(OSError):
            if path.is_dir() and _LEFTOVER.match(path.name) and time.time() - path.stat().st_mtime > _DAY_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def installed_folders() -> dict[str, Path]:
    """The folders of the installed bundles by name; see `bundle_folders`."""
    try:
        return bundle_folders(models_folder())
    except AutoMedSAMError:
        return {}


def check_space(folder: Path, needed: int) -> None:
    """Finds out whether a folder's disk has room for some bytes, and a little more.

    Raises:
        AutoMedSAMError: If it has not.
        OSError: If there is no such folder.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        message = (
            f"This needs {needed / 1e6:.0f} MB, and {folder} has {free / 1e6:.0f} MB free: free space there, "
            "or set AUTOMEDSAM_MODELS to a folder on another disk."
        )
        raise AutoMedSAMError(message)
