"""The tumour, its core and its enhancing part from two real images: in the panel as from the command line."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runs import labels_in

SECONDS = 120
NAMES = ["Glioma, whole tumour", "Glioma, tumour core", "Glioma, enhancing tumour"]
# A patient of the test split.
PATIENT = "BraTS2021_01484"


@pytest.fixture(scope="module")
def files(shared_data: Path) -> dict[str, Path]:
    folder = shared_data / "brats2021" / PATIENT
    return {"FLAIR": folder / f"{PATIENT}_flair.nii.gz", "T1c": folder / f"{PATIENT}_t1ce.nii.gz"}


@pytest.fixture(scope="module")
def from_the_command_line(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Labels (K, J, I), those of inner parts over those of outer ones."""
    import SimpleITK as sitk

    output = tmp_path_factory.mktemp("cli") / "tumour.nii.gz"
    command = [sys.executable, "-m", "automedsam", "segment", *map(str, files.values()), "-m", "brats"]
    subprocess.run([*command, "-o", str(output)], check=True)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(output)))
    assert {0, 1, 3} <= set(np.unique(labels))
    return labels


def check_nested(segmentation: Any, volume: Any, expected: np.ndarray) -> None:
    """The segments overlap as Slicer wants them, and hold the command line's voxels."""
    segments = segmentation.GetSegmentation()
    by_name = {segments.GetSegment(one).GetName(): one for one in segments.GetSegmentIDs()}
    assert list(by_name) == NAMES and segments.GetNumberOfLayers() == 3
    for value, name in enumerate(NAMES, 1):
        found = labels_in(segmentation, volume, {1: by_name[name]}) > 0
        np.testing.assert_array_equal(found, expected >= value, name)


def test_script_gives_what_the_command_line_gives(
    module_logic: Any, load_volume: Any, files: dict[str, Path], from_the_command_line: np.ndarray
) -> None:
    volumes = {role: load_volume(path) for role, path in files.items()}
    segmentation = module_logic.process(volumes, model="brats")
    check_nested(segmentation, volumes["FLAIR"], from_the_command_line)


def test_panel_finds_both_images_by_their_names_and_segments_them(
    module_widget: Any,
    load_volume: Any,
    files: dict[str, Path],
    from_the_command_line: np.ndarray,
    slicer_app: Any,
    wait_until: Any,
) -> None:
    # The image with contrast is the first in the scene.
    t1c, flair = (load_volume(files[role]) for role in ("T1c", "FLAIR"))
    widget = module_widget.widget
    widget.parameters.model = "brats"
    slicer_app.processEvents()
    widget.inputs.choose_defaults()
    assert [selector.currentNode() for selector in widget.inputs.volume_selectors] == [flair, t1c]
    wait_until(lambda: widget.warnings.are_known, SECONDS)
    assert widget.ui.applyButton.enabled, widget.ui.statusLabel.text
    widget.ui.applyButton.click()
    wait_until(lambda: widget.logic.is_running, SECONDS)
    wait_until(lambda: not widget.logic.is_running, SECONDS)
    check_nested(widget.parameters.segmentation, flair, from_the_command_line)
    assert "objects" in widget.ui.statusLabel.text
