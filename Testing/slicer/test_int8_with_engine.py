"""INT8 of a downloaded checkpoint through the panel over the real engine: made by the first run, and kept."""

import numpy as np
import pytest

from prompts import drag, show
from runs import labels_in

pytest.importorskip("onnxruntime", reason="the engine is not installed")
pytest.importorskip("torch", reason="INT8 files are made of PyTorch weights")
pytest.importorskip("sam2", reason="INT8 files are made of PyTorch weights")
pytest.importorskip("onnx", reason="INT8 files are written with onnx")

SECONDS = 120


@pytest.fixture
def checkpoint(tmp_path):
    from tiny_checkpoint import install_tiny

    return install_tiny(tmp_path / "models" / "tiny-sam").folder


@pytest.fixture
def widget(add_volume, module_widget, checkpoint, slicer_app):
    """The panel with the checkpoint chosen, and a box drawn around a bright block."""
    array = np.random.default_rng(0).integers(0, 90, (8, 40, 48)).astype(np.uint8)
    array[1:7, 10:28, 12:30] += 120
    volume = add_volume(array, name="CT")
    show(volume)
    module_widget.show(440, 900)
    widget = module_widget.widget
    widget.inputs.use_model_folder(checkpoint)
    slicer_app.processEvents()
    draw(widget, 3)
    return widget


def draw(widget, at):
    from AutoMedSAMLib.scene.slice_views import jump_to_slice

    volume = widget.parameters.volume(0)
    jump_to_slice(volume, 0, at)
    widget.ui.drawBoxButton.checked = True
    drag(volume, (12, 10, at), (29, 27, at))


def propagate(widget):
    assert widget.ui.propagateButton.enabled, widget.ui.propagateButton.toolTip
    widget.ui.propagateButton.click()


def test_int8_can_be_chosen_and_states_what_its_first_run_does(widget):
    import qt

    entry = widget.ui.backendSelector.model().item(0)
    assert entry.isEnabled() and widget.parameters.backend == "int8"
    tip = widget.ui.backendSelector.itemData(0, qt.Qt.ToolTipRole)
    assert "The first run in INT8 makes the INT8 files of tiny-sam" in tip
    assert widget.ui.deviceLabel.text == "The first run makes the INT8 files, once"
    assert "INT8 and FP32" not in widget.inputs.missing_input()


def test_click_before_the_first_run_explains_what_to_do(widget, wait_until):
    wait_until(lambda: "has no INT8 files yet: its first run makes them" in widget.ui.statusLabel.text, SECONDS)


def test_first_run_makes_the_files_and_keeps_the_box(widget, wait_until, checkpoint):
    texts = []
    widget.run_panel.show_progress, show_progress = (
        lambda fraction, text: (texts.append(text), show_progress(fraction, text)),
        widget.run_panel.show_progress,
    )
    model = widget.inputs.model
    propagate(widget)
    wait_until(lambda: not widget.logic.is_running, SECONDS)
    assert "failed" not in widget.ui.statusLabel.text, widget.ui.statusLabel.text
    assert "Making the INT8 files, once: step 5 of 14 is done" in texts
    assert widget.inputs.model.precisions == {"int8", "fp32"} and widget.inputs.model.hash == model.hash
    assert widget.ui.deviceLabel.text.startswith("CPU: INT8")
    segmentation = widget.parameters.segmentation
    ids = {1: segmentation.GetSegmentation().GetNthSegmentID(0)}
    assert labels_in(segmentation, widget.boxes.volume, ids).any()
    # The box is still there; now a box shows its mask at once, and the second run only segments.
    draw(widget, 5)
    wait_until(lambda: widget.prompts.preview.outline.node is not None, SECONDS)
    assert {box.slice for group in widget.boxes.table.objects() for box in group.boxes} == {3, 5}
    texts.clear()
    propagate(widget)
    wait_until(lambda: not widget.logic.is_running, SECONDS)
    assert not any("INT8" in text for text in texts)
    assert (checkpoint / "image_encoder.int8.onnx").is_file()


def test_cancel_leaves_the_model_as_it_was(widget, wait_until, checkpoint):
    before = (checkpoint / "bundle.json").read_bytes()
    texts = []
    widget.run_panel.show_progress = lambda fraction, text: texts.append(text)
    propagate(widget)
    wait_until(lambda: any("Making the INT8 files" in text for text in texts), SECONDS)
    widget.logic.cancel()
    wait_until(lambda: not widget.logic.is_running, 10)
    assert (checkpoint / "bundle.json").read_bytes() == before
    assert not list(checkpoint.glob("*.int8.onnx"))
    assert widget.inputs.model.precisions == {"fp32"} and "int8" in widget.inputs.model.backends
