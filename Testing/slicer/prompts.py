"""What the tests of prompts share: the mouse in a slice view, at voxels of a volume."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import slicer


def view(name: str = "Red") -> Any:
    """A slice view of the layout."""
    return slicer.app.layoutManager().sliceWidget(name)


def show(volume: Any) -> None:
    """Shows a volume in all slice views, fitted into them."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        composite.SetBackgroundVolumeID(volume.GetID())
    slicer.app.layoutManager().resetSliceViews()
    slicer.app.processEvents()


def pixel(volume: Any, voxel: Any, name: str = "Red") -> tuple[float, float]:
    """Where a view shows a voxel `(i, j, k)`."""
    from AutoMedSAMLib.scene.slice_views import to_world

    to_pixels = np.linalg.inv(slicer.util.arrayFromVTKMatrix(view(name).mrmlSliceNode().GetXYToRAS()))
    x, y = (to_pixels @ [*to_world(volume, voxel), 1.0])[:2]
    return float(x), float(y)


def click(volume: Any, voxel: Any, name: str = "Red", **keys: bool) -> None:
    """Clicks a voxel `(i, j, k)` with the left button."""
    view(name).sliceView().drag(pixel(volume, voxel, name), **keys)
    slicer.app.processEvents()


def drag(volume: Any, first: Any, last: Any, name: str = "Red", **keys: bool) -> None:
    """Drags the left button from one voxel `(i, j, k)` to another, past the middle."""
    middle = (np.array(first) + np.array(last)) / 2
    view(name).sliceView().drag(*(pixel(volume, at, name) for at in (first, middle, last)), **keys)
    slicer.app.processEvents()


def write_bundle_without_detector(folder: Path) -> None:
    """Makes a folder the bundle of a model called "blind": the glioma model's segmenter, and no detector."""
    from automedsam.contract.manifest import MANIFEST_NAME, named_files
    from AutoMedSAMLib.model.bundle_info import find_model

    glioma = find_model("glioma").folder
    manifest = json.loads((glioma / MANIFEST_NAME).read_text(encoding="utf-8"))
    manifest["name"], manifest["detector"]["files"] = "blind", {}
    for files in manifest["segmenter"]["files"].values():
        for role, name in files.items():
            files[role] = Path(name).name
            if (glioma / name).is_file():
                # A bundle's files lie in its folder: a link out of it is refused.
                shutil.copy(glioma / name, folder / files[role])
    hashes = {Path(name).name: content for name, content in manifest["files"].items()}
    manifest["files"] = {name: hashes[name] for name in named_files(manifest)}
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest), encoding="utf-8")
