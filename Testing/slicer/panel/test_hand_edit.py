"""To the Segment Editor and back: what was edited by hand is a prompt."""

import numpy as np
import pytest

from recorded_logic import a_box, a_tracklet

pytest_plugins = ["panel_fixtures"]

SHAPE = (40, 60, 50)


def edit(panel, slices):
    """Draws masks `{slice: (rows, columns) slices}` into the result's segment, as the Segment Editor does."""
    import slicer

    node, volume = panel.boxes.own_request().segmentation, panel.boxes.volume
    labels = np.zeros(SHAPE, np.uint8)
    for at, part in slices.items():
        labels[(at, *part)] = 1
    segment = node.GetSegmentation().GetNthSegmentID(0)
    slicer.util.updateSegmentBinaryLabelmapFromArray(labels, node, segment, volume)


def come_back(panel, wait_until):
    """Returns to the panel, and waits until it has looked."""
    panel.enter()
    wait_until(lambda: not panel.widget.prompts._edited._timer.active)


def masks(widget):
    """Of each object that would be segmented, its masks by slice."""
    found = []
    for tracklet in widget.boxes.table.propagation()[1]:
        found.append({one["slice"]: one["mask"].mask().astype(bool) for one in tracklet.get("masks", [])})
    return found


def test_the_segment_editor_opens_with_everything_chosen(done, panel, scene):
    from harness import modules

    modules.SELECTED.clear()
    done.boxes.tree.select(1)
    assert done.ui.handEditButton.enabled
    done.ui.handEditButton.click()
    assert modules.SELECTED == ["SegmentEditor"]
    node = scene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    result = done.boxes.own_request().segmentation
    assert node.GetSegmentationNode() is result and node.GetSourceVolumeNode() is done.boxes.volume
    assert node.GetSelectedSegmentID() == result.GetSegmentation().GetNthSegmentID(0)


def test_an_edited_slice_is_a_prompt_of_the_selected_object_and_its_seed(done, panel, wait_until):
    done.boxes.tree.select(3)
    done.ui.handEditButton.click()
    part = (slice(30, 45), slice(31, 44))
    edit(done, {21: part})
    come_back(panel, wait_until)
    first, second = masks(done)
    assert first == {} and list(second) == [21]
    expected = np.zeros(SHAPE[1:], bool)
    expected[part] = True
    assert (second[21] == expected).all()
    assert done.boxes.table.propagation()[1][1]["seed"] == 21
    assert "1 slice edited by hand is a prompt now" in done.ui.statusLabel.text
    assert done.ui.propagateButton.enabled


def test_undo_takes_the_prompt_back_and_it_does_not_return_by_itself(done, panel, wait_until):
    edit(done, {10: (slice(10, 20), slice(10, 20)), 12: (slice(10, 20), slice(10, 20))})
    panel.exit()
    come_back(panel, wait_until)
    assert sorted(masks(done)[0]) == [10, 12]
    done.ui.undoStepButton.click()
    assert masks(done)[0] == {}
    panel.exit()
    come_back(panel, wait_until)
    assert masks(done)[0] == {}
    edit(done, {10: (slice(11, 20), slice(10, 20))})
    panel.exit()
    come_back(panel, wait_until)
    assert list(masks(done)[0]) == [10], "another edit is another prompt"


def test_each_object_gets_its_own_part_of_an_edited_slice(done, panel, wait_until):
    boxes = [a_box(1, 10, 0.9), a_box(2, 12, 0.8), a_box(3, 10, 0.7, at=34.0, side=10.0)]
    done.boxes.table.receive_boxes(boxes)
    done.boxes.table.receive_tracklets([a_tracklet([1, 2], 10), a_tracklet([3], 10)])
    done.boxes.save()
    done.boxes.refresh()
    both = np.zeros(SHAPE[1:], bool)
    both[12:28, 12:28] = both[36:42, 36:42] = True
    edit(done, {10: np.nonzero(both)})
    panel.exit()
    come_back(panel, wait_until)
    first, second = masks(done)
    assert second == {} and first[10][12:28, 12:28].all() and not first[10][36:42, 36:42].any()


def test_a_slice_that_was_emptied_by_hand_is_without_the_object(done, panel, wait_until):
    from AutoMedSAMLib.panel.prompts.hand_edit import adopt

    adopt(done.boxes.table, {1: {12: np.zeros(SHAPE[1:], bool)}}, None, set())
    assert done.boxes.table.propagation()[1][0]["empty"] == [12]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_along_any_axis_are_cut_from_a_cropped_segment(add_volume, scene, axis):
    import slicer

    from AutoMedSAMLib.scene.geometry import ijk_to_segmentation
    from AutoMedSAMLib.scene.shared_labelmap import SegmentPlanes

    volume = add_volume(np.zeros(SHAPE, np.int16), np.diag([-1, -1, 2.5, 1.0]))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    labels = np.zeros(SHAPE, np.uint8)
    labels[7:9, 20:33, 4:40] = np.random.default_rng(0).integers(0, 2, (2, 13, 36))
    segment = node.GetSegmentation().AddEmptySegment("one")
    slicer.util.updateSegmentBinaryLabelmapFromArray(labels, node, segment, volume)
    node.GetSegmentation().CollapseBinaryLabelmaps()
    planes = SegmentPlanes(node.GetSegmentation().GetSegment(segment), SHAPE, ijk_to_segmentation(volume, node), axis)
    assert planes.is_on_grid
    found = np.stack([planes.plane(number) for number in range(SHAPE[axis])], axis=axis)
    assert (found == (labels > 0)).all()
