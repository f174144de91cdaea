"""Objects that start with prompts: without a detector, before the first run, and after it was undone."""

import pytest

from prompt_fixtures import draw, go_to, point, tracklets
from prompts import write_bundle_without_detector

pytest_plugins = ["panel_fixtures", "prompt_fixtures"]


@pytest.fixture
def blind(shown, tmp_path, slicer_app):
    """The panel with a model that finds nothing by itself, a bundle in a folder of its own."""
    write_bundle_without_detector(tmp_path)
    shown.parameters.model = str(tmp_path)
    slicer_app.processEvents()
    assert shown.inputs.model.name == "blind" and not shown.inputs.model.has_detector
    return shown


def test_a_model_without_a_detector_waits_for_prompts(blind):
    blind.ui.applyButton.click()
    assert "finds nothing by itself: draw a box" in blind.ui.statusLabel.text and blind.logic.request is None
    draw(blind, 12, (10, 20), (30, 44))
    blind.ui.applyButton.click()
    assert blind.logic.propagated is not None and blind.logic.request.model.name == "blind"


def test_a_box_of_an_object_by_hand_is_ignored_and_used_again(shown):
    draw(shown, 12, (10, 20), (30, 44))
    draw(shown, 14, (10, 20), (30, 44))
    number = shown.boxes.table.propagation()[0][1]["id"]
    shown.boxes.tree.select(number)
    shown.ui.rejectButton.click()
    assert tracklets(shown)[0]["boxes"] != [] and number not in tracklets(shown)[0]["boxes"]
    shown.boxes.tree.select(number)
    shown.ui.rejectButton.click()
    assert number in tracklets(shown)[0]["boxes"] and len(tracklets(shown)) == 1


def test_a_box_that_is_added_by_the_button_joins_an_object_by_hand(shown):
    draw(shown, 12, (10, 20), (30, 44))
    go_to(shown, 15)
    shown.ui.addButton.click()
    assert [len(one["boxes"]) for one in tracklets(shown)] == [2]


def test_a_step_that_is_undone_after_a_run_does_not_make_the_next_run_write_beside(shown):
    draw(shown, 12, (10, 20), (30, 44))
    point(shown, (20, 30, 12))
    shown.ui.undoStepButton.click()
    shown.ui.redoStepButton.click()
    shown.ui.propagateButton.click()
    assert shown.logic.request.beside
    shown.logic.tell_started()
    shown.logic.tell_finished()
    shown.ui.undoStepButton.click()
    shown.ui.propagateButton.click()
    assert not shown.logic.request.beside
    shown.logic.tell_started()
    shown.logic.tell_finished()
    shown.ui.undoButton.click()
    shown.ui.propagateButton.click()
    assert not shown.logic.request.beside, "the first run is still there"


def test_undoing_the_first_run_makes_the_next_one_the_first_again(shown):
    draw(shown, 12, (10, 20), (30, 44))
    shown.ui.propagateButton.click()
    shown.logic.tell_started()
    shown.logic.tell_finished()
    shown.ui.undoButton.click()
    assert shown.ui.propagateButton.text == "Propagate"
    shown.ui.propagateButton.click()
    assert shown.logic.request.beside
