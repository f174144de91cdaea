"""Findings on a real chest X-ray: from a script as from the command line, and what the panel states about them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from runs import labels_in

# Low enough for boxes on each radiograph.
THRESHOLD = 0.02


def test_script_gives_what_the_command_line_gives(
    module_logic: Any, load_volume: Any, shared_data: Path, tmp_path: Path
) -> None:
    import SimpleITK as sitk

    from AutoMedSAMLib.model.bundle_info import find_model

    picture, output = shared_data / "nih_cxr14" / "00000001_000.png", tmp_path / "findings.png"
    command = [sys.executable, "-m", "automedsam", "segment", str(picture), "-m", "chest-xray"]
    subprocess.run([*command, "--threshold", str(THRESHOLD), "-o", str(output)], check=True)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(output)))
    assert expected.any()
    # Slicer's core without its applications reads no PNG.
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(picture)))
    sitk.WriteImage(sitk.GetImageFromArray(pixels[np.newaxis]), str(tmp_path / "chest.nrrd"))
    volume = load_volume(tmp_path / "chest.nrrd")
    segmentation = module_logic.process(volume, model="chest-xray", threshold=THRESHOLD)
    segments = segmentation.GetSegmentation()
    by_name = {segments.GetSegment(one).GetName(): one for one in segments.GetSegmentIDs()}
    of_model = {
        one["value"]: by_name[one["name"]] for one in find_model("chest-xray").segments if one["name"] in by_name
    }
    np.testing.assert_array_equal(labels_in(segmentation, volume, of_model)[0], expected)


def test_panel_states_what_its_masks_are(module_widget: Any, slicer_app: Any) -> None:
    widget = module_widget.widget
    widget.parameters.model = "chest-xray"
    slicer_app.processEvents()
    assert "boxes only" in widget.ui.modelTaskLabel.text and "guess" in widget.ui.modelTaskLabel.text
