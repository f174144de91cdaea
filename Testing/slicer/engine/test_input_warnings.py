"""The input check: an image that the model does not know is said before a run, and Apply asks once."""

import numpy as np
import pytest

pytest_plugins = ["panel_fixtures", "run_fixtures"]

WHOLE_HEAD = {"code": "skull", "sentence": "The image shows more than the brain: remove the skull first."}
SECONDS = 30


@pytest.fixture
def answers(monkeypatch):
    """What a person clicks when asked whether to run despite warnings, and what they were asked."""
    from AutoMedSAMLib.panel import questions

    class Answers:
        go_on, asked = True, []

    def asked(warnings, _parent=None):
        Answers.asked.append(list(warnings))
        return Answers.go_on

    Answers.asked = []
    monkeypatch.setattr(questions, "runs_despite", asked)
    return Answers


@pytest.fixture
def warned(panel, flair, slicer_app):
    """The panel with an image chosen that the check warns of."""
    panel.widget.logic.warnings = [WHOLE_HEAD]
    flair()
    slicer_app.processEvents()
    return panel.widget


def test_warning_stands_below_the_image_without_a_click(warned, wait_until, panel):
    label = warned.ui.inputWarningLabel
    wait_until(lambda: label.text, 2)
    assert label.text == WHOLE_HEAD["sentence"]
    panel.show()
    form = warned.ui.inputsForm
    assert label.isVisible()
    assert warned.inputs.volume_selectors[-1].y < label.y < warned.ui.segmentationSelector.y
    assert form.indexOf(label) >= 0


def test_image_that_fits_shows_no_warning(ready, wait_until):
    wait_until(lambda: ready.logic.checks, 2)
    assert ready.ui.inputWarningLabel.isHidden()
    ready.ui.applyButton.click()
    assert ready.logic.request is not None


def test_apply_asks_once_a_volume_and_model(warned, answers, flair, slicer_app):
    warned.ui.applyButton.click()
    assert answers.asked == [[WHOLE_HEAD["sentence"]]]
    warned.logic.tell_started()
    warned.logic.tell_finished()
    warned.run_panel._changed = 0
    warned.ui.applyButton.click()
    assert warned.logic.is_running and len(answers.asked) == 1
    warned.logic.tell_started()
    warned.logic.tell_finished()
    warned.parameters.set_volume(0, flair("FLAIR of another"))
    slicer_app.processEvents()
    warned.run_panel._changed = 0
    warned.ui.applyButton.click()
    assert len(answers.asked) == 2


def test_who_cancels_runs_nothing_and_is_asked_again(warned, answers):
    answers.go_on = False
    warned.ui.applyButton.click()
    assert warned.logic.request is None and warned.ui.applyButton.text == "Apply"
    answers.go_on = True
    warned.run_panel._changed = 0
    warned.ui.applyButton.click()
    assert len(answers.asked) == 2 and warned.logic.is_running


def test_apply_waits_for_a_check_that_goes_on(warned, answers):
    logic = warned.logic
    logic.warnings = None
    warned.ui.applyButton.click()
    assert logic.request is None and "training images" in warned.ui.statusLabel.text
    logic.checks[-1][2]([WHOLE_HEAD])
    assert len(answers.asked) == 1 and logic.is_running


def test_late_answer_for_another_image_is_not_shown(warned, wait_until, flair, slicer_app):
    logic = warned.logic
    logic.warnings = None
    wait_until(lambda: logic.checks, 2)
    warned.parameters.set_volume(0, flair("FLAIR of another"))
    slicer_app.processEvents()
    logic.checks[0][2]([WHOLE_HEAD])
    assert not warned.ui.inputWarningLabel.text


def test_warning_goes_with_its_image(warned, wait_until, slicer_app):
    wait_until(lambda: warned.ui.inputWarningLabel.text, 2)
    warned.parameters.set_volume(0, None)
    slicer_app.processEvents()
    assert warned.ui.inputWarningLabel.text == "" and warned.ui.inputWarningLabel.isHidden()


def test_closed_module_checks_nothing(panel, flair, slicer_app, wait_until):
    panel.widget.exit()
    flair()
    slicer_app.processEvents()
    with pytest.raises(TimeoutError):
        wait_until(lambda: panel.widget.logic.checks, 0.5)


def test_engine_warns_of_a_wrong_sequence_and_the_run_reuses_the_copy(module_widget, add_volume, wait_until):
    from phantoms import phantom_head

    volume, _ = phantom_head()
    widget = module_widget.widget
    add_volume(volume.array, np.diag([-1.0, -1.0, 2.5, 1.0]), "T1 POST GD")
    wait_until(lambda: "T1c" in widget.ui.inputWarningLabel.text, SECONDS)
    folder = widget.logic.exchange.folder
    copies = sorted(folder.glob("volume-*.npy"))
    assert len(copies) == 1
    widget.ui.applyButton.click()
    assert widget.logic.is_running
    wait_until(lambda: not widget.logic.is_running, SECONDS)
    assert sorted(folder.glob("volume-*.npy")) == copies
    assert "T1c" in widget.ui.inputWarningLabel.text


def test_script_is_never_asked(module_logic, add_volume, answers):
    from phantoms import phantom_head

    volume, _ = phantom_head()
    node = add_volume(volume.array, np.diag([-1.0, -1.0, 2.5, 1.0]), "T1 POST GD")
    assert module_logic.process(node) is not None
    assert answers.asked == []


def test_run_knows_the_warnings_and_sends_the_names(scripted_logic, small_flair, begin_run):
    small_flair.SetName("T2 of Mr Smith")
    engine, listener = begin_run()
    assert engine.sent[-1]["names"] == [{"name": "T2 of Mr Smith"}]
    assert listener.run.warnings == []


def test_dicom_tags_of_the_series_are_read(small_flair, monkeypatch):
    import slicer

    from AutoMedSAMLib.engine.input_check import names_of

    class Database:
        def instanceValue(self, uid, tag):
            assert uid == "1.2.3"
            return {"0008,0060": "MR", "0008,103e": "AX T1 POST GD"}.get(tag, "")

    small_flair.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    assert names_of(small_flair) == {
        "name": small_flair.GetName(), "Modality": "MR", "SeriesDescription": "AX T1 POST GD",
    }  # fmt: skip
    monkeypatch.setattr(slicer, "dicomDatabase", object())
    assert names_of(small_flair) == {"name": small_flair.GetName()}


@pytest.mark.alone
def test_check_never_blocks_the_window(module_logic, add_volume, slicer_app):
    import time

    from AutoMedSAMLib.model.bundle_info import find_model

    node = add_volume(np.random.default_rng(0).integers(0, 900, (160, 240, 240)).astype(np.int16), name="FLAIR")
    answers, longest = [], 0.0
    module_logic.check_input((node,), find_model("glioma"), answers.append)
    until = time.monotonic() + SECONDS
    while not answers and time.monotonic() < until:
        began = time.perf_counter()
        slicer_app.processEvents()
        longest = max(longest, time.perf_counter() - began)
        time.sleep(0.001)
    assert answers and longest < 0.2
