"""Settings that come back with the scene."""

from pathlib import Path
from typing import Any

import numpy as np


def test_a_saved_scene_reopens_with_its_settings(scene: Any, add_volume: Any, tmp_path: Path) -> None:
    from AutoMedSAMLib.scene.parameters import Parameters

    flair, t1 = (add_volume(np.zeros((2, 3, 4), np.int16), name=name) for name in ("FLAIR", "T1 頭"))
    output = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Läsionen")
    boxes = '{"rows": [{"name": "a & <b> \\"c\\" %20|;: ü"}]}'
    parameters = Parameters()
    parameters.set_volume(0, flair)
    parameters.set_volume(1, t1)
    parameters.segmentation = output
    parameters.model = "/models/with space & <ümlaut>"
    parameters.backend = "FP32"
    parameters.threshold = 0.2
    parameters.plane = "coronal"
    parameters.slices = (3, 17)
    parameters.boxes = boxes
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    scene.Clear(False)
    assert parameters.volume(0) is None and parameters.segmentation is None
    scene.Connect()
    assert parameters.volume(0).GetName() == "FLAIR" and parameters.volume(1).GetName() == "T1 頭"
    assert parameters.segmentation.GetName() == "Läsionen"
    assert parameters.model == "/models/with space & <ümlaut>"
    assert (parameters.backend, parameters.threshold, parameters.plane) == ("fp32", 0.2, "coronal")
    assert parameters.slices == (3, 17) and parameters.boxes == boxes


def test_settings_nobody_has_made(scene: Any) -> None:
    from AutoMedSAMLib.scene.parameters import Parameters

    parameters = Parameters()
    assert (parameters.model, parameters.backend, parameters.boxes) == ("", "int8", "")
    assert parameters.threshold is parameters.plane is parameters.slices is parameters.volume(0) is None


def test_settings_can_be_unmade(scene: Any, add_volume: Any) -> None:
    from AutoMedSAMLib.scene.parameters import Parameters

    parameters = Parameters()
    parameters.set_volume(0, add_volume(np.zeros((2, 3, 4), np.int16)))
    parameters.threshold, parameters.plane, parameters.slices = 0.3, "axial", (1, 2)
    parameters.set_volume(0, None)
    parameters.threshold = parameters.plane = parameters.slices = None
    assert parameters.threshold is parameters.plane is parameters.slices is parameters.volume(0) is None


def test_a_deleted_volume_is_no_setting_any_more(scene: Any, add_volume: Any) -> None:
    from AutoMedSAMLib.scene.parameters import Parameters

    parameters = Parameters()
    volume = add_volume(np.zeros((2, 3, 4), np.int16))
    parameters.set_volume(0, volume)
    scene.RemoveNode(volume)
    assert parameters.volume(0) is None


def test_a_change_is_notified_once_and_no_change_not_at_all(scene: Any) -> None:
    from AutoMedSAMLib.scene.parameters import Parameters

    parameters = Parameters()
    notified: list[str] = []
    stop = parameters.observe(lambda: notified.append("changed"))
    parameters.threshold = 0.3
    parameters.threshold = 0.3
    assert notified == ["changed"]
    parameters.slices = (1, 2)
    assert notified == ["changed"] * 2
    stop()
    parameters.threshold = 0.5
    assert notified == ["changed"] * 2


def test_changes_are_notified_after_the_scene_was_closed(scene: Any) -> None:
    from AutoMedSAMLib.scene.parameters import Parameters

    parameters = Parameters()
    notified: list[str] = []
    stop = parameters.observe(lambda: notified.append(parameters.model))
    parameters.model = "glioma"
    scene.Clear(False)
    assert notified[-1] == "", "a closed scene is a change"
    parameters.model = "hippocampus"
    assert notified[-1] == "hippocampus"
    stop()


def test_the_node_is_the_one_that_slicer_gives_the_module(scene: Any) -> None:
    from AutoMedSAMLib.logic import AutoMedSAMLogic
    from AutoMedSAMLib.scene.parameters import Parameters

    logic = AutoMedSAMLogic()
    assert Parameters().node is logic.getParameterNode()
    logic.close()
