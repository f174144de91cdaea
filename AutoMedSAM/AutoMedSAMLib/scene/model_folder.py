"""The folder of downloaded and imported models, as the engine named it last."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import slicer

from automedsam.contract.model_folders import FOLDER_VARIABLE, bundle_folders
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.bundle_info import Model, read_model

_SETTING = "AutoMedSAM/ModelsFolder"


def remember(folder: str) -> None:
    """Keeps the folder in this user's settings, so that its models are listed before the engine is started."""
    slicer.app.userSettings().setValue(_SETTING, folder)


def installed_models() -> list[Model]:
    """The models in the folder, by name; one that cannot be read is logged and left out."""
    folder = os.environ.get(FOLDER_VARIABLE, "").strip() or slicer.app.userSettings().value(_SETTING, "")
    models = []
    for path in bundle_folders(Path(folder).expanduser()).values() if folder else ():
        try:
            models.append(read_model(path))
        except AutoMedSAMError as error:
            logging.warning("%s", error)
    return models
