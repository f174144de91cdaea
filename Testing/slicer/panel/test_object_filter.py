"""The filter of the table of objects: what it shows as boxes change, and that it changes nothing but the table."""

import pytest
import slicer

from panel_fixtures import REPORT
from recorded_logic import a_box, a_tracklet

pytest_plugins = ["panel_fixtures"]


def measure(number, ml, slices, boxes=(), doubtful=(), label=1, segment="Glioma, whole tumour"):
    fields = {"label": label, "segment": segment, "number": number, "ml": ml, "slices": list(slices)}
    fields |= {"slice_count": slices[1] - slices[0] + 1, "diameter_slice": slices[0], "long_mm": 3.0, "short_mm": 2.0}
    fields |= {"agreement": 0.8, "doubtful": list(doubtful), "dice": None}
    return fields if number is None else fields | {"boxes": list(boxes)}


ONE_LABEL = [
    measure(None, 24.5, (10, 30), doubtful=[12, 30]),
    measure(1, 20.0, (10, 12), boxes=[1, 2], doubtful=[12]),
    measure(2, 4.0, (20, 20), boxes=[3]),
    measure(3, 0.5, (30, 30), boxes=[4], doubtful=[30]),
]
TWO_LABELS = [
    measure(None, 24.0, (10, 20)),
    measure(1, 20.0, (10, 12), boxes=[1, 2]),
    measure(2, 4.0, (20, 20), boxes=[3]),
    measure(None, 0.5, (30, 30), label=2, segment="Edema"),
    measure(3, 0.5, (30, 30), boxes=[4], label=2, segment="Edema"),
]


@pytest.fixture
def show(running):
    """A function that ends the run with these measures, and returns the panel."""
    boxes = (a_box(1, 10, 0.9), a_box(2, 12, 0.8), a_box(3, 20, 0.7, at=30.0), a_box(4, 30, 0.6, at=5.0))

    def finish(measures):
        running.logic.listener.on_boxes(list(boxes))
        running.logic.listener.on_tracklets([a_tracklet([1, 2], 10), a_tracklet([3], 20), a_tracklet([4], 30)])
        confidence = [{"slice": at, "confidence": 0.3, "reason": ""} for at in (12, 30)]
        running.logic.tell_finished(report=REPORT, objects=measures, confidence=tuple(confidence))
        return running

    return finish


def rows(widget):
    tree = widget.ui.objectTree
    return [tree.topLevelItem(row).text(0) for row in range(tree.topLevelItemCount)]


def entries(widget):
    return [widget.ui.objectFilter.itemText(index) for index in range(widget.ui.objectFilter.count)]


def choose(widget, entry):
    (index,) = [n for n, text in enumerate(entries(widget)) if text.rsplit(" (", 1)[0] == entry]
    widget.ui.objectFilter.currentIndex = index


def test_each_entry_has_the_number_of_its_objects(show):
    panel = show(ONE_LABEL)
    assert entries(panel) == ["All (3)", "To check (2)", "Changed (0)", "Ignored (0)"]
    assert panel.ui.objectCountLabel.text == ""
    choose(panel, "To check")
    assert rows(panel) == ["1", "3"]
    assert panel.ui.objectCountLabel.text == "2 of 3 shown"
    choose(panel, "All")
    assert rows(panel) == ["All", "1", "2", "3"]


def test_an_accepted_slice_needs_no_check(show):
    panel = show(ONE_LABEL)
    choose(panel, "To check")
    panel.boxes.table.check(12)
    panel.boxes.refresh()
    assert rows(panel) == ["3"]
    assert entries(panel)[1] == "To check (1)"


def test_rows_follow_the_boxes(show):
    panel = show(ONE_LABEL)
    choose(panel, "Changed")
    assert rows(panel) == []
    panel.boxes.tree.select(2)
    panel.ui.rejectButton.click()
    assert rows(panel) == ["1"]
    choose(panel, "Ignored")
    assert rows(panel) == []
    panel.boxes.tree.select(1)
    panel.ui.rejectButton.click()
    assert rows(panel) == ["1"]
    assert entries(panel)[2:] == ["Changed (1)", "Ignored (1)"]
    panel.ui.undoStepButton.click()
    panel.ui.undoStepButton.click()
    assert rows(panel) == []
    assert entries(panel)[2:] == ["Changed (0)", "Ignored (0)"]


def test_a_moved_box_and_a_drawn_one_are_changes(show):
    panel = show(ONE_LABEL)
    choose(panel, "Changed")
    panel.boxes.table.edit(3, [31.0, 45.0, 31.0, 45.0, 20.0, 21.0])
    panel.boxes.refresh()
    assert rows(panel) == ["2"]
    panel.boxes.table.draw(31, [5.0, 20.0, 5.0, 20.0, 31.0, 32.0], 1, panel.boxes.table.group(4))
    panel.boxes.refresh()
    assert rows(panel) == ["2", "3"]


def test_an_object_of_points_alone_was_made_by_hand_and_can_be_ignored(show):
    from AutoMedSAMLib.model.prompt_record import PointPrompt

    panel = show([*ONE_LABEL, measure(4, 1.0, (34, 36))])
    table = panel.boxes.table
    table.prompts.add_point(None, 1, PointPrompt((20.0, 20.0, 35.0), True), 35)
    panel.boxes.refresh()
    choose(panel, "Changed")
    assert rows(panel) == ["4"]
    choose(panel, "Ignored")
    assert rows(panel) == []
    table.use_prompts(table.objects()[-1].keys, used=False)
    panel.boxes.refresh()
    assert rows(panel) == ["4"]


def test_a_total_is_shown_with_all_of_its_objects_only(show):
    panel = show(TWO_LABELS)
    assert entries(panel)[4:] == ["Glioma, whole tumour (2)", "Edema (1)"]
    # Edema's only object has the measures of its total.
    assert rows(panel) == ["All", "1", "2", "3"]
    choose(panel, "Glioma, whole tumour")
    assert rows(panel) == ["All", "1", "2"]
    panel.ui.smallestVolumeBox.value = 4.0
    assert rows(panel) == ["1", "2"]
    panel.ui.smallestVolumeBox.value = 4.01
    assert rows(panel) == ["1"]
    assert entries(panel) == [
        "All (1)", "To check (0)", "Changed (0)", "Ignored (0)", "Glioma, whole tumour (1)", "Edema (0)"
    ]  # fmt: skip


def test_labels_have_a_column_where_there_are_several(show):
    from AutoMedSAMLib.panel.object_columns import LABEL

    panel = show(TWO_LABELS)
    tree = panel.ui.objectTree
    assert not tree.isColumnHidden(LABEL)
    assert [tree.topLevelItem(row).text(LABEL) for row in (0, 3)] == ["Glioma, whole tumour", "Edema"]
    choose(panel, "Edema")
    assert not tree.isColumnHidden(LABEL)


def test_one_label_needs_no_column_and_no_entry(show):
    from AutoMedSAMLib.panel.object_columns import LABEL

    panel = show(ONE_LABEL)
    assert panel.ui.objectTree.isColumnHidden(LABEL)
    assert len(entries(panel)) == 4


def test_a_chosen_segment_that_went_leaves_no_filter(show, slicer_app):
    panel = show(TWO_LABELS)
    choose(panel, "Edema")
    slicer.mrmlScene.Clear()
    slicer_app.processEvents()
    assert entries(panel) == ["All (0)", "To check (0)", "Changed (0)", "Ignored (0)"]
    assert panel.ui.objectFilter.currentIndex == 0
    assert not panel.ui.objectFilter.enabled and not panel.ui.smallestVolumeBox.enabled


def test_the_selected_object_stays_selected(show):
    panel = show(ONE_LABEL)
    tree = panel.ui.objectTree
    tree.setCurrentItem(tree.topLevelItem(3))
    choose(panel, "To check")
    assert [item.text(0) for item in tree.selectedItems()] == ["3"]
    panel.boxes.table.check(12)
    panel.boxes.refresh()
    assert rows(panel) == ["3"] and [item.text(0) for item in tree.selectedItems()] == ["3"]
    choose(panel, "All")
    assert [item.text(0) for item in tree.selectedItems()] == ["3"]


def test_a_click_in_a_filtered_table_goes_to_the_object_of_its_row(show):
    panel = show(ONE_LABEL)
    choose(panel, "To check")
    tree = panel.ui.objectTree
    tree.setCurrentItem(tree.topLevelItem(1))
    assert panel.boxes.tree.selected_boxes() == [4]


def test_exports_have_all_rows_and_the_status_line_gives_both_counts(show, tmp_path, monkeypatch):
    from AutoMedSAMLib.panel.object_table import ObjectTable

    path = tmp_path / "objects.csv"
    monkeypatch.setattr(ObjectTable, "_ask_path", lambda *_: path)
    panel = show(ONE_LABEL)
    panel.ui.saveCsvButton.click()
    assert panel.ui.statusLabel.text == f"Written: {path}"
    choose(panel, "To check")
    panel.ui.saveCsvButton.click()
    assert len(path.read_text(encoding="utf-8").splitlines()) == 5
    assert panel.ui.statusLabel.text == f"All 4 rows, though the filter shows 2. Written: {path}"
    panel.ui.toTableButton.click()
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTableNode").GetNumberOfRows() == 4
    assert panel.ui.statusLabel.text.startswith("All 4 rows, though the filter shows 2. The table")


def test_dice_reaches_the_rows_that_are_shown(show):
    panel = show(ONE_LABEL)
    choose(panel, "To check")
    panel.ui.referenceSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Truth"))
    ((*_asked, done, _failed),) = panel.logic.result_requests.comparisons
    done({"dice": {"Glioma, whole tumour": 0.9}, "objects": {"1": 0.95, "2": 0.5, "3": 0.25}, "missed": 0})
    tree = panel.ui.objectTree
    assert [tree.topLevelItem(row).text(7) for row in range(2)] == ["0.950", "0.250"]


def test_the_filter_never_makes_the_panel_wider(show, panel):
    widget = show([*TWO_LABELS, measure(4, 1.0, (5, 5), label=3, segment="Peritumoral edema of the left hemisphere")])
    choose(widget, "Peritumoral edema of the left hemisphere")
    widget.ui.smallestVolumeBox.value = 1000.0
    panel.show(width=420)
    assert panel.window.width == 420


def test_volumes_are_compared_as_they_are_shown(show):
    panel = show([measure(None, 0.3, (1, 3)), measure(1, 0.1962, (1, 1)), measure(2, 0.0951, (3, 3))])
    panel.ui.smallestVolumeBox.value = 0.1
    panel.ui.smallestVolumeBox.stepUp()
    assert rows(panel) == ["1"]
    panel.ui.smallestVolumeBox.stepDown()
    assert rows(panel) == ["1", "2"]
