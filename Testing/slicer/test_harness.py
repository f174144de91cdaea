"""The harness is as strict as it says: what Slicer would reject, or would only log, fails here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

FORM = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Form</class>
<widget class="qMRMLWidget" name="Form"><layout class="QVBoxLayout" name="layout">
<item><widget class="{widget}" name="thing"><property name="{name}">{value}</property></widget></item>
<item><widget class="QCheckBox" name="box"/></item>
</layout></widget>
<customwidgets>
<customwidget><class>qMRMLWidget</class><extends>QWidget</extends><header>h.h</header><container>1</container></customwidget>
<customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends><header>h.h</header></customwidget>
<customwidget><class>ctkPathLineEdit</class><extends>QWidget</extends><header>h.h</header></customwidget>
</customwidgets>
<connections><connection>
<sender>{sender}</sender><signal>{signal}</signal><receiver>thing</receiver><slot>{slot}</slot>
</connection></connections></ui>
"""
GOOD = {
    "widget": "qMRMLNodeComboBox",
    "name": "noneEnabled",
    "value": "<bool>true</bool>",
    "sender": "Form",
    "signal": "mrmlSceneChanged(vtkMRMLScene*)",
    "slot": "setMRMLScene(vtkMRMLScene*)",
}


def load_form(folder: Path, **changed: str) -> Any:
    import slicer

    path = folder / "form.ui"
    path.write_text(FORM.format(**(GOOD | changed)), encoding="utf-8")
    return slicer.util.loadUI(str(path))


@pytest.fixture
def qt(scene: Any) -> Any:
    import qt

    return qt


@pytest.fixture
def a_selector(scene: Any) -> Any:
    """A selector of segmentations, in the scene."""
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLSegmentationNode"]
    selector.setMRMLScene(scene)
    return selector


def test_a_property_is_an_attribute_and_calling_it_fails(qt: Any) -> None:
    label = qt.QLabel("voxel")
    assert label.text == "voxel"
    label.text = "slice"
    assert label.text == "slice"
    with pytest.raises(TypeError, match="not callable"):
        label.text()


def test_an_unknown_property_fails(qt: Any) -> None:
    with pytest.raises(AttributeError, match="no property 'txet'"):
        qt.QLabel("voxel").txet = "slice"


def test_a_property_of_a_stand_in_that_is_misspelt_fails(a_selector: Any) -> None:
    with pytest.raises(AttributeError, match="no property 'noneEnable'"):
        a_selector.noneEnable = True


def test_a_read_only_property_fails(qt: Any) -> None:
    with pytest.raises(AttributeError, match="read-only"):
        qt.QWidget().width = 3


def test_a_python_subclass_takes_attributes_as_in_slicer(qt: Any) -> None:
    class Filter(qt.QObject):
        def __init__(self) -> None:
            super().__init__()
            self.seen = 0

    assert Filter().seen == 0


@pytest.mark.parametrize("name", ["Signal", "Slot", "Property"])
def test_what_only_pyside_has_is_not_there(qt: Any, name: str) -> None:
    assert not hasattr(qt, name)


def test_an_unknown_signal_fails(qt: Any) -> None:
    with pytest.raises(RuntimeError, match=r"QPushButton has no signal clickd\(bool\)"):
        qt.QPushButton().connect("clickd(bool)", print)


def test_a_signal_of_other_arguments_fails(qt: Any) -> None:
    with pytest.raises(RuntimeError, match="no signal"):
        qt.QSpinBox().connect("valueChanged(double)", print)


def test_a_function_gets_no_more_arguments_than_it_has_room_for(qt: Any) -> None:
    button, heard = qt.QCheckBox(), []
    button.connect("clicked(bool)", lambda: heard.append("nothing"))
    button.connect("clicked(bool)", heard.append)
    button.connect("clicked(bool)", lambda checked: heard.append(not checked))
    button.click()
    assert heard == ["nothing", True, False]


def test_disconnect_ends_what_connect_began(qt: Any) -> None:
    button, heard = qt.QPushButton(), []
    button.connect("clicked()", heard.clear)
    button.connect("clicked(bool)", heard.append)
    assert button.disconnect("clicked(bool)", heard.append)
    assert not button.disconnect("clicked(bool)", heard.append)
    button.click()
    assert heard == []


@pytest.mark.parametrize("how", ["slot", "timer", "observer"])
def test_an_exception_behind_the_event_loop_is_not_lost(qt: Any, scene: Any, slicer_app: Any, how: str) -> None:
    from harness import faults

    def fail(*_arguments: Any) -> None:
        raise ValueError(how)

    if how == "slot":
        button = qt.QPushButton()
        button.connect("clicked()", fail)
        button.click()
    elif how == "timer":
        qt.QTimer.singleShot(0, fail)
        slicer_app.processEvents()
    else:
        tag = scene.AddObserver(scene.NodeAddedEvent, fail)
        scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        scene.RemoveObserver(tag)
    found = faults.take()
    assert len(found) == 1 and f"ValueError: {how}" in found[0]


def test_a_warning_of_qt_is_not_lost(qt: Any) -> None:
    from harness import faults

    qt.QTimer().start(-1)
    assert "negative" in "".join(faults.take())


def test_an_error_of_vtk_is_not_lost(scene: Any) -> None:
    import vtk

    from harness import faults

    vtk.vtkImageReslice().Update()
    assert "VTK says" in faults.take()[0]


def test_a_form_hands_its_scene_to_its_selectors(scene: Any, tmp_path: Path) -> None:
    form = load_form(tmp_path)
    form.setMRMLScene(scene)
    import slicer

    selector = slicer.util.childWidgetVariables(form).thing
    assert selector.noneEnabled and selector.mrmlScene() is scene


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"widget": "ctkPathLineEdit"}, "ctkPathLineEdit, which is neither"),
        ({"name": "noneEnable"}, "'noneEnable', which qMRMLNodeComboBox does not have"),
        ({"slot": "setMRMLScenes(vtkMRMLScene*)"}, "no slot setMRMLScenes"),
        ({"signal": "sceneChanged(vtkMRMLScene*)"}, "no signal sceneChanged"),
        ({"sender": "Frm"}, "'Frm', which is not in the form"),
        ({"value": "<enum>Qt::FocusPolicy::NoFocus</enum>", "name": "focusPolicy"}, "Qt 5 cannot read"),
        ({"sender": "box", "signal": "toggled(bool)", "slot": "setEnable(bool)"}, r"no slot setEnable\(bool\)"),
    ],
)
def test_a_form_that_would_not_work_in_slicer_fails(
    scene: Any, tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    with pytest.raises(RuntimeError, match=said):
        load_form(tmp_path, **changed)


def test_a_form_connects_widgets_of_qt(scene: Any, tmp_path: Path) -> None:
    import slicer

    form = load_form(tmp_path, sender="box", signal="toggled(bool)", slot="setDisabled(bool)")
    ui = slicer.util.childWidgetVariables(form)
    ui.thing.enabled = True
    ui.box.click()
    assert not ui.thing.enabled


def test_a_node_of_the_wrong_type_cannot_be_chosen(scene: Any, a_selector: Any) -> None:
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    with pytest.raises(TypeError, match="vtkMRMLSegmentationNode"):
        a_selector.setCurrentNode(volume)


def test_a_selector_follows_the_scene(scene: Any, a_selector: Any) -> None:
    heard: list[Any] = []
    a_selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    first = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "first")
    second = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "second")
    assert a_selector.nodeCount() == 2 and a_selector.currentNode() is first
    scene.RemoveNode(first)
    assert a_selector.currentNode() is second
    scene.RemoveNode(second)
    assert a_selector.currentNode() is None and heard == [first, second, None]


def test_a_selector_that_may_choose_none_chooses_none(scene: Any, a_selector: Any) -> None:
    a_selector.noneEnabled = True
    scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert a_selector.currentNode() is None


def test_a_selector_makes_a_node_without_display_nodes(scene: Any, a_selector: Any) -> None:
    a_selector.baseName = "Lesions"
    node = a_selector.addNode()
    assert node.GetName() == "Lesions" and a_selector.currentNode() is node
    assert node.GetNumberOfDisplayNodes() == 0


def test_a_renamed_node_is_listed_by_its_new_name(scene: Any, a_selector: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "before")
    node.SetName("after")
    assert a_selector._box.currentText == "after"


def test_a_range_stays_in_order_and_within_its_ends(scene: Any) -> None:
    import ctk

    widget, heard = ctk.ctkRangeWidget(), []
    widget.connect("valuesChanged(double,double)", lambda *values: heard.append(values))
    widget.setValues(20, 60)
    widget.maximum = 50
    widget.minimumValue = 70
    assert heard == [(20, 60), (20, 50), (50, 50)]


def test_a_collapsed_part_hides_its_contents_and_only_those_it_hid(qt: Any, slicer_app: Any) -> None:
    import ctk

    part = ctk.ctkCollapsibleButton()
    layout = qt.QVBoxLayout(part)
    shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    layout.addWidget(shown)
    layout.addWidget(hidden)
    hidden.visible = False
    part.show()
    part.collapsed = True
    assert not shown.visible
    part.collapsed = False
    assert shown.visible and not hidden.visible


def test_a_volume_has_the_geometry_it_was_given(add_volume: Any) -> None:
    import slicer
    import vtk

    ijk_to_ras = np.array([[0, 0, -3, 10], [0.5, 0, 0, 20], [0, 2, 0, -30], [0, 0, 0, 1.0]])
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    node = add_volume(array, ijk_to_ras, "Läsion 脳")
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    assert np.allclose(slicer.util.arrayFromVTKMatrix(matrix), ijk_to_ras)
    assert np.array_equal(slicer.util.arrayFromVolume(node), array) and node.GetName() == "Läsion 脳"


def test_each_test_begins_with_an_empty_scene(scene: Any) -> None:
    assert scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode") == 0


def test_waiting_ends_with_the_event_or_with_an_error(qt: Any, wait_until: Any) -> None:
    heard: list[int] = []
    qt.QTimer.singleShot(20, lambda: heard.append(1))
    wait_until(lambda: heard, seconds=5)
    with pytest.raises(TimeoutError, match=r"not within 0\.05 s"):
        wait_until(lambda: len(heard) > 1, seconds=0.05)


def test_packages_are_asked_for_and_not_installed(scene: Any, tmp_path: Path) -> None:
    import slicer.packaging

    path = tmp_path / "requirements.txt"
    path.write_text("# why\nnumpy>=2  # why\n--no-deps\nno-such-wheel>=1\n", encoding="utf-8")
    requirements = slicer.packaging.load_requirements(path)
    assert [str(one) for one in requirements] == ["numpy>=2", "no-such-wheel>=1"]
    assert slicer.packaging.pip_check(requirements[0]) and not slicer.packaging.pip_check(requirements)
    slicer.packaging.pip_ensure(requirements, requester="AutoMedSAM")
    request = slicer.packaging.asked.pop()
    assert request.requester == "AutoMedSAM" and request.skipped_in_testing
    with pytest.raises(TypeError, match="Requirement"):
        slicer.packaging.pip_ensure(["numpy"])


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"uris": None}, TypeError, "NoneType"),
        ({"uris": None, "customDownloader": print}, TypeError, "NoneType"),
        ({"uris": None, "fileNames": None, "customDownloader": print}, TypeError, "NoneType"),
        ({"uris": [], "fileNames": None, "customDownloader": print}, TypeError, "NoneType"),
        ({"checksums": "abc"}, ValueError, "SHA256:<digest>"),
        ({"uris": ["a", "b"]}, ValueError, "same length"),
        ({"thumbnailFileName": "/nowhere.png"}, ValueError, "no picture"),
        ({"uris": [], "fileNames": [], "checksums": []}, ValueError, "neither an address"),
    ],
)
def test_sample_data_that_slicer_could_not_use_fails(
    scene: Any, changed: dict[str, Any], error: type[Exception], said: str
) -> None:
    from SampleData import SampleDataLogic

    good = {"sampleName": "head", "uris": "https://x/head.nrrd", "fileNames": "head.nrrd", "checksums": "SHA256:0a"}
    with pytest.raises(error, match=said):
        SampleDataLogic.registerCustomSampleDataSource(**(good | changed))


def test_dicom_database_only_logs_what_it_does_not_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from dicom_files import dataset

    from harness.dicom_database import ctkDICOMDatabase

    database, added, path = ctkDICOMDatabase(), [], tmp_path / "one.dcm"
    database.connect("instanceAdded(QString)", added.append)
    dataset(np.zeros((4, 4), np.int16), SOPInstanceUID="1.2").save_as(path, enforce_file_format=True)
    database.prepareInsert()
    assert database.insert(str(path), True, False) is None and not database.isOpen
    database.openDatabase(str(tmp_path / "ctkDICOM.sql"))
    assert database.insert(str(path), True, False) is None and not added
    with pytest.raises(ValueError, match="overload"):
        database.insert(path, True, False)
    for _ in range(2):
        database.prepareInsert()
        database.insert(str(path), True, False)
    assert added == ["1.2"] and database.fileForInstance("1.2") != str(path)
    assert len(caplog.records) == 2
