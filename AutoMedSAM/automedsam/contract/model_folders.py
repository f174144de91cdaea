"""Where the bundles lie in the folder of downloaded and imported models."""

from __future__ import annotations

from pathlib import Path

from automedsam.contract.manifest import MANIFEST_NAME

FOLDER_VARIABLE = "AUTOMEDSAM_MODELS"
"""The environment variable that names the folder."""


def bundle_folders(folder: Path) -> dict[str, Path]:
    """The folders of the bundles by name, sorted; a bundle is not checked, only that it has a manifest.

    A model's own folder has its name and contains the manifest, or one folder with the manifest and the folders
    beside it that the bundle shares.

    Args:
        folder: The folder of models, which may not exist.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return {}
    found = {}
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            manifests = [entry / MANIFEST_NAME, *sorted(entry.glob(f"*/{MANIFEST_NAME}"))]
            there = [path.parent for path in manifests if path.is_file()]
        except OSError:
            continue
        if there:
            found[entry.name] = there[0]
    return found
