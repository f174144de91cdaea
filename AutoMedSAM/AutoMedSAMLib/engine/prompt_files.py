"""Masks that were drawn by hand, on their way to the engine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from slicer.i18n import tr as _

from AutoMedSAMLib.engine.shared_files import SharedFiles, no_room
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.run import Message


def write_masks(tracklets: Iterable[Message], exchange: SharedFiles) -> tuple[list[Message], list[Path]]:
    """Writes the masks of objects to files.

    Args:
        tracklets: objects as `BoxTable.propagation` gives them, each mask a `MaskPrompt`; they are left as they are.
        exchange: where the files go.

    Returns:
        The objects as the engine reads them, and the files, to be discarded after the request.

    Raises:
        AutoMedSAMError: If there is no room for a file, or a mask of a saved scene is damaged.
    """
    written: list[Path] = []

    def to_file(entry: Message) -> Message:
        path = exchange.new_path("mask")
        written.append(path)
        try:
            np.save(path, entry["mask"].mask(), allow_pickle=False)
        except OSError as error:
            raise no_room(error) from error
        except ValueError as error:
            message = _("The mask drawn by hand on slice {slice} cannot be read: edit it again, or take it back.")
            raise AutoMedSAMError(message.format(slice=entry["slice"]), str(error)) from error
        return {"slice": entry["slice"], "path": str(path)}

    objects = [
        {**one, "masks": [to_file(entry) for entry in one["masks"]]} if "masks" in one else one for one in tracklets
    ]
    return objects, written
