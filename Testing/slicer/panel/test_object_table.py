"""The table of objects: what it shows, where a click leads, and what leaves Slicer from it."""

import pytest
import slicer

from panel_fixtures import REPORT
from recorded_logic import a_box, a_tracklet

pytest_plugins = ["panel_fixtures"]

GLIOMA = "Glioma, whole tumour"


def measure(number, ml, slices, at, boxes=(), doubtful=(), agreement=0.8):
    fields = {"label": 1, "segment": GLIOMA, "number": number, "ml": ml, "slices": list(slices)}
    fields |= {"slice_count": slices[1] - slices[0] + 1, "diameter_slice": at, "long_mm": 30.0, "short_mm": 20.0}
    fields |= {"agreement": agreement, "doubtful": list(doubtful), "dice": None}
    return fields if number is None else fields | {"boxes": list(boxes)}


MEASURES = [
    measure(None, 23.456, (10, 20), 11, doubtful=[12]),
    measure(1, 20.0, (10, 12), 11, boxes=[1, 2], doubtful=[12]),
    measure(2, 3.456, (20, 20), 20, boxes=[3]),
]


@pytest.fixture
def measured(running):
    """The panel after a run with two objects that were measured."""
    for box in (a_box(1, 10, 0.9), a_box(2, 12, 0.8), a_box(3, 20, 0.6, at=30.0)):
        running.logic.listener.on_boxes([box])
    running.logic.listener.on_tracklets([a_tracklet([1, 2], 10), a_tracklet([3], 20)])
    running.logic.tell_finished(message="2 objects", report=REPORT, objects=MEASURES)
    return running


def texts(widget):
    tree = widget.ui.objectTree
    return [
        [tree.topLevelItem(row).text(column) for column in range(tree.columnCount)]
        for row in range(tree.topLevelItemCount)
    ]


def test_each_object_has_a_row_below_its_segment(measured):
    assert texts(measured) == [
        ["All", GLIOMA, "23.46", "10-20", "30.0 x 20.0", "80%", "1", ""],
        ["1", GLIOMA, "20.00", "10-12", "30.0 x 20.0", "80%", "1", ""],
        ["2", GLIOMA, "3.46", "20-20", "30.0 x 20.0", "80%", "0", ""],
    ]


def test_a_click_selects_its_boxes_and_goes_to_its_largest_diameter(measured, monkeypatch):
    from AutoMedSAMLib.scene import slice_views

    went = []
    monkeypatch.setattr(slice_views, "jump_to_slice", lambda volume, axis, at: went.append(at))
    tree = measured.ui.objectTree
    tree.setCurrentItem(tree.topLevelItem(1))
    assert measured.boxes.tree.selected_boxes() == [1, 2]
    assert went[-1] == 11
    tree.setCurrentItem(tree.topLevelItem(2))
    assert measured.boxes.tree.selected_boxes() == [3]
    assert went[-1] == 20


def test_it_comes_back_with_the_scene_and_goes_when_it_is_closed(measured, slicer_app):
    from AutoMedSAMLib.model.box_table import BoxTable

    again = BoxTable.from_text(measured.parameters.boxes)
    assert [{**one, "dice": None} for one in again.measures][1] == MEASURES[1]
    slicer.mrmlScene.Clear()
    slicer_app.processEvents()
    assert texts(measured) == []
    assert not measured.ui.toTableButton.enabled


def test_to_table_makes_a_node_with_the_columns_of_the_command_line(measured):
    measured.ui.toTableButton.click()
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTableNode")
    table = node.GetTable()
    names = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
    assert names[:3] == ["segment", "object", "volume_ml"] and "perpendicular_diameter_mm" in names
    assert node.GetNumberOfRows() == 3
    assert [table.GetValueByName(row, "object").ToString() for row in range(3)] == ["all", "1", "2"]
    assert table.GetValueByName(1, "doubtful_slices").ToString() == "12"


def test_csv_is_whole_or_not_there(measured, tmp_path, monkeypatch):
    from AutoMedSAMLib.panel.object_table import ObjectTable

    path = tmp_path / "objects.csv"
    monkeypatch.setattr(ObjectTable, "_ask_path", lambda *_: path)
    measured.ui.saveCsvButton.click()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4 and lines[2].startswith('"Glioma, whole tumour",1,20,10,12,3,11,30,20,600,0.8,1,12')
    monkeypatch.setattr(ObjectTable, "_ask_path", lambda *_: tmp_path / "missing" / "objects.csv")
    measured.ui.saveCsvButton.click()
    assert "cannot be written" in measured.ui.statusLabel.text
    assert [one.name for one in tmp_path.iterdir()] == ["objects.csv"]


def test_a_reference_shows_dice_and_another_run_asks_again(measured, slicer_app):
    reference = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Truth")
    measured.ui.referenceSelector.setCurrentNode(reference)
    (asked,) = measured.logic.result_requests.comparisons
    assert asked[1][0] is measured.boxes.segmentation and asked[2] is reference
    asked[3]({"dice": {"Glioma, whole tumour": 0.9}, "objects": {"1": 0.95, "2": 0.0}, "missed": 1})
    assert [row[-1] for row in texts(measured)] == ["0.900", "0.950", "0.000"]
    assert "0.900" in measured.ui.statusLabel.text and "not found: 1" in measured.ui.statusLabel.text
    measured.ui.referenceSelector.setCurrentNode(None)
    assert [row[-1] for row in texts(measured)] == ["", "", ""]


def test_a_volume_that_is_not_dicom_cannot_be_exported_as_dicom(measured):
    measured.ui.exportSegButton.click()
    assert "was not loaded from DICOM" in measured.ui.statusLabel.text
    assert not measured.logic.result_requests.exports


@pytest.fixture
def database(slicer_app, tmp_path, monkeypatch):
    """Slicer's DICOM database, open, with the two files of the panel's volume."""
    import numpy as np
    from dicom_files import dataset

    from harness.dicom_database import ctkDICOMDatabase

    opened = ctkDICOMDatabase()
    (tmp_path / "database").mkdir()
    assert opened.openDatabase(str(tmp_path / "database" / "ctkDICOM.sql"))
    for uid in ("1.2", "1.3", "1.4"):
        made = dataset(np.zeros((4, 4), np.int16), SOPInstanceUID=uid)
        made.save_as(tmp_path / f"{uid}.dcm", enforce_file_format=True)
        if uid != "1.4":
            opened.prepareInsert()
            opened.insert(str(tmp_path / f"{uid}.dcm"), True, False)
    monkeypatch.setattr(slicer, "dicomDatabase", opened, raising=False)
    return opened


@pytest.fixture
def export(measured, database, tmp_path, monkeypatch):
    """A function that exports the result as this file name, as the engine would; returns the status line."""
    from AutoMedSAMLib.panel.object_table import ObjectTable

    measured.boxes.volume.SetAttribute("DICOM.instanceUIDs", "1.2 1.3")
    measured.objects.show_database()

    def click(name="1.4.dcm"):
        monkeypatch.setattr(ObjectTable, "_ask_path", lambda *_: tmp_path / name)
        measured.ui.exportSegButton.click()
        *_asked, done, _failed = measured.logic.result_requests.exports[-1]
        done({"path": str(tmp_path / name)})
        return measured.ui.statusLabel.text

    return click


def test_dicom_files_go_to_the_engine(measured, export, tmp_path):
    export()
    ((volume, found, files, *_answers),) = measured.logic.result_requests.exports
    assert volume is measured.boxes.volume and found[0] is measured.boxes.segmentation
    folder = tmp_path / "database" / "dicom"
    assert files == ([str(folder / "1.2.dcm"), str(folder / "1.3.dcm")], tmp_path / "1.4.dcm")


def test_dicom_seg_goes_into_the_database_as_well(measured, database, export, tmp_path):
    assert measured.ui.dicomDatabaseBox.enabled and measured.ui.dicomDatabaseBox.checked
    assert export() == f"Written, and added to the DICOM database: {tmp_path / '1.4.dcm'}"
    assert database.fileForInstance("1.4") and (tmp_path / "1.4.dcm").is_file()


def test_dicom_seg_stays_out_of_the_database_where_that_is_not_wanted(measured, database, export, tmp_path):
    measured.ui.dicomDatabaseBox.checked = False
    assert export() == f"Written: {tmp_path / '1.4.dcm'}"
    assert not database.fileForInstance("1.4")


def test_a_file_that_the_database_refuses_is_reported(export, tmp_path, caplog):
    (tmp_path / "broken.dcm").write_text("no DICOM", encoding="utf-8")
    assert export("broken.dcm").startswith("Written, but not added to the DICOM database (see Slicer's log): import ")
    assert "cannot read" in caplog.text
    caplog.clear()


@pytest.mark.usefixtures("export")
def test_a_closed_database_disables_its_box_and_gives_the_reason(measured, database, tmp_path, monkeypatch):
    box = measured.ui.dicomDatabaseBox
    monkeypatch.setattr(slicer, "dicomDatabase", None)
    measured.objects.show_database()
    assert not box.enabled and box.toolTip == "Slicer has no DICOM database yet: open the DICOM module once."
    monkeypatch.setattr(slicer, "dicomDatabase", database)
    database.closeDatabase()
    measured.exit()
    measured.enter()
    assert not box.enabled and "is not open" in box.toolTip
    measured.ui.exportSegButton.click()
    assert measured.ui.statusLabel.text == box.toolTip and not measured.logic.result_requests.exports
    database.openDatabase(str(tmp_path / "database" / "ctkDICOM.sql"))
    measured.exit()
    measured.enter()
    assert box.enabled and box.checked


def test_the_box_follows_the_database_while_the_panel_is_open(measured, database, tmp_path):
    box, file = measured.ui.dicomDatabaseBox, str(tmp_path / "database" / "ctkDICOM.sql")
    measured.exit()
    measured.enter()
    assert box.enabled
    database.closeDatabase()
    assert not box.enabled and "is not open" in box.toolTip
    database.openDatabase(file)
    assert box.enabled and "Copy the DICOM SEG" in box.toolTip
    measured.exit()
    database.closeDatabase()
    assert box.enabled, "nobody sees it now"
    measured.enter()
    assert not box.enabled
    database.openDatabase(file)
    assert box.enabled


def test_a_database_that_closes_during_the_export_leaves_the_file(measured, database, export, tmp_path):
    export()
    *_asked, done, _failed = measured.logic.result_requests.exports[-1]
    database.closeDatabase()
    done({"path": str(tmp_path / "1.4.dcm")})
    assert measured.ui.statusLabel.text == f"Written: {tmp_path / '1.4.dcm'}"


def test_dicom_seg_has_all_objects_whatever_the_filter_shows(measured, export):
    measured.ui.smallestVolumeBox.value = 10.0
    assert export().startswith("All objects, though the filter shows fewer. Written, and added")


def test_an_answer_about_another_reference_is_not_shown(measured):
    first, second = (slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name) for name in ("A", "B"))
    for reference in (first, second):
        measured.ui.referenceSelector.setCurrentNode(reference)
    late, asked = measured.logic.result_requests.comparisons
    late[3]({"dice": {GLIOMA: 0.1}, "objects": {}, "missed": 0})
    assert [row[-1] for row in texts(measured)] == ["", "", ""]
    asked[3]({"dice": {GLIOMA: 0.9}, "objects": {"1": 0.95, "2": 0.0}, "missed": 0})
    assert [row[-1] for row in texts(measured)] == ["0.900", "0.950", "0.000"]


@pytest.fixture
def many(measured):
    """A panel with eleven objects, the last without slices, as one may be whose mask is empty."""
    sizes = (5.0, 30.0, 0.7, 12.0, 9.0, 100.0, 2.0, 3.0, 4.0, 1.0)
    objects = [measure(n, ml, (n, n), n, doubtful=range(n % 3)) for n, ml in enumerate(sizes, 1)]
    empty = measure(11, 0.0, (0, 0), None) | {"slices": None, "agreement": None}
    measured.boxes.table.measures = [measure(None, 166.7, (1, 10), 6), *objects, empty]
    measured.objects.update()
    return measured


@pytest.mark.parametrize(
    ("column", "descending", "first"),
    [
        ("OBJECT", False, ["All", "1", "2", "3"]),
        ("OBJECT", True, ["All", "11", "10", "9"]),
        ("VOLUME", True, ["All", "6", "2", "4"]),
        ("VOLUME", False, ["All", "11", "3", "10"]),
        ("SLICES", True, ["All", "10", "9", "8"]),
        ("DOUBTFUL", True, ["All", "2", "5", "8"]),
    ],
)
def test_rows_are_ordered_by_value_and_not_by_letter(many, column, descending, first):
    import qt

    from AutoMedSAMLib.panel import object_columns

    order = qt.Qt.DescendingOrder if descending else qt.Qt.AscendingOrder
    many.ui.objectTree.header().setSortIndicator(getattr(object_columns, column), order)
    shown = [row[0] for row in texts(many)]
    assert shown[:4] == first and len(shown) == 12
    assert column != "SLICES" or shown[-1] == "11"


def test_a_click_on_a_header_orders_the_rows_and_keeps_what_is_selected(many, slicer_app):
    from PySide6 import QtCore, QtTest

    from AutoMedSAMLib.panel.object_columns import VOLUME

    tree = many.ui.objectTree
    tree.setCurrentItem(tree.topLevelItem(6))
    header = tree.header()
    tree.window().show()
    slicer_app.processEvents()
    for shown in (["11", "3"], ["6", "2"]):
        middle = header.sectionViewportPosition(VOLUME) + header.sectionSize(VOLUME) // 2
        at = QtCore.QPoint(middle, 5)
        QtTest.QTest.mouseClick(header.viewport(), QtCore.Qt.LeftButton, QtCore.Qt.NoModifier, at)
        assert [row[0] for row in texts(many)][1:3] == shown
        assert [item.text(0) for item in tree.selectedItems()] == ["6"]
    assert header.isSortIndicatorShown()
    assert many.objects.measures[1]["number"] == 1, "what is exported keeps its order"
