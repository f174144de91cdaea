"""Pictures of what is not on the way from Apply to the result: several modalities, comparisons, questions, windows."""

import numpy as np
import pytest

from prompts import show

pytest_plugins = ["picture_fixtures", "panel_fixtures"]

SIZE = 440, 900
SECONDS = 120
# Patients whom no training saw.
HIPPOCAMPUS = "msd_task04_hippocampus/{}/hippocampus_023.nii.gz"
GLIOMA = "BraTS2021_01484"
# Those of its tumor.
SLICES = 70, 90


def run(widget, wait_until):
    wait_until(lambda: widget.warnings.are_known, SECONDS)
    widget.ui.applyButton.click()
    wait_until(lambda: widget.logic.is_running, SECONDS)
    wait_until(lambda: not widget.logic.is_running, SECONDS)
    assert widget.boxes.table.objects(), widget.ui.statusLabel.text
    wait_until(lambda: has_surface(widget.parameters.segmentation), SECONDS)


def has_surface(segmentation):
    ids = segmentation.GetSegmentation().GetSegmentIDs()
    return any(segmentation.GetClosedSurfaceInternalRepresentation(one) for one in ids)


def choose_model(widget, name, slicer_app):
    widget.parameters.model = name
    slicer_app.processEvents()
    widget.inputs.choose_defaults()
    slicer_app.processEvents()


def test_two_modalities_one_of_them_on_another_grid(
    module_widget, shared_data, load_volume, album, slicer_app, wait_until
):
    import slicer

    folder = shared_data / "brats2021" / GLIOMA
    flair, t1c = (
        load_volume(folder / f"{GLIOMA}_{file}.nii.gz", name) for file, name in (("flair", "FLAIR"), ("t1ce", "T1c"))
    )
    widget = module_widget.widget
    show(flair)
    choose_model(widget, "brats", slicer_app)
    module_widget.show(*SIZE)
    wait_until(lambda: widget.warnings.are_known, SECONDS)
    album.take(module_widget.window, "brats/panel-idle")

    moved = slicer.vtkMRMLScalarVolumeNode()
    slicer.mrmlScene.AddNode(moved)
    moved.Copy(t1c)
    moved.SetName("T1c, earlier")
    moved.SetOrigin(*np.add(t1c.GetOrigin(), (0.5, 0.0, 0.0)))
    widget.inputs.volume_selectors[1].setCurrentNode(moved)
    slicer_app.processEvents()
    button = widget.inputs.resample.widget
    assert button.isVisibleTo(module_widget.window) and button.text.startswith("Resample T1c, earlier onto")
    album.take(module_widget.window, "brats/resample")

    widget.inputs.volume_selectors[1].setCurrentNode(t1c)
    widget.ui.advancedButton.collapsed = False
    widget.ui.slicesRange.setValues(*SLICES)
    run(widget, wait_until)
    assert widget.parameters.segmentation.GetSegmentation().GetNumberOfSegments() == 3
    largest = max(widget.boxes.table.objects(), key=lambda group: len(group.boxes))
    widget.boxes.tree.select(next(box.id for box in largest.boxes if box.slice == largest.seed))
    album.take_composition(module_widget.window, "brats/composed")


@pytest.fixture
def hippocampus(module_widget, shared_data, load_volume, slicer_app, wait_until):
    """The panel after a run on a hippocampus."""
    show(load_volume(shared_data / HIPPOCAMPUS.format("imagesTr"), "T1"))
    choose_model(module_widget.widget, "hippocampus", slicer_app)
    module_widget.show(*SIZE)
    run(module_widget.widget, wait_until)
    return module_widget


def test_table_of_objects_with_a_reference_segmentation(hippocampus, shared_data, album, slicer_app, wait_until):
    import slicer

    widget = hippocampus.widget
    labels = slicer.modules.volumes.logic().AddArchetypeVolume(
        str(shared_data / HIPPOCAMPUS.format("labelsTr")), "Expert", 1
    )
    reference = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Expert")
    reference.SetReferenceImageGeometryParameterFromVolumeNode(widget.parameters.volume(0))
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, reference)
    reference.CreateDefaultDisplayNodes()
    reference.GetDisplayNode().SetVisibility(False)
    names = [one["name"] for one in widget.inputs.model.segments]
    segments = reference.GetSegmentation()
    for index, name in enumerate(names):
        segments.GetNthSegment(index).SetName(name)
    widget.ui.referenceSelector.setCurrentNode(reference)
    tree = widget.ui.objectTree
    last = tree.columnCount - 1
    wait_until(lambda: tree.topLevelItem(0).text(last), SECONDS)
    assert all(float(tree.topLevelItem(row).text(last)) > 0.6 for row in range(tree.topLevelItemCount))
    tree.setCurrentItem(tree.topLevelItem(0))
    # Dice is a column more.
    hippocampus.window.resize(SIZE[0] + 60, SIZE[1])
    album.take(hippocampus.window, "hippocampus/panel-reference")


def test_comparison_of_int8_and_fp32(hippocampus, album, slicer_app, wait_until):
    pytest.importorskip("torch", reason="the FP32 backend is not installed")
    import slicer

    widget = hippocampus.widget
    widget.ui.slicesRange.setValues(12, 20)
    slicer_app.processEvents()
    widget.compare.widget.click()
    wait_until(lambda: "FP32" in widget.ui.statusLabel.text, SECONDS)
    album.take(hippocampus.window, "hippocampus/compare-running")
    wait_until(lambda: not widget.logic.is_running, 3 * SECONDS)
    assert "lowest Dice 0." in widget.ui.statusLabel.text
    widget.ui.detailsButton.checked = True
    widget.parameters.segmentation.GetDisplayNode().SetVisibility(False)
    difference = slicer.util.getNode("T1 hippocampus difference")
    assert difference.GetSegmentation().GetNumberOfSegments() > 0
    difference.CreateClosedSurfaceRepresentation()
    album.take_composition(hippocampus.window, "hippocampus/compared")


def test_amber_line_for_an_image_that_is_not_the_models(module_widget, add_volume, album, slicer_app, wait_until):
    from phantoms import two_lesions

    add_volume(two_lesions()[0].array, name="FLAIR")
    choose_model(module_widget.widget, "hippocampus", slicer_app)
    module_widget.show(*SIZE)
    wait_until(lambda: module_widget.widget.warnings.are_known, SECONDS)
    label = module_widget.widget.ui.inputWarningLabel
    assert label.isVisibleTo(module_widget.window) and label.text
    album.take(module_widget.window, "windows/panel-warning")


def test_window_of_models(panel, album, slicer_app, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMEDSAM_MODELS", str(tmp_path))
    panel.widget.ui.modelsButton.click()
    dialog = panel.widget.inputs.models_dialog
    done, _ = panel.widget.logic.model_requests.asked[-1]
    installed = [{"name": "sam2.1-tiny", "version": "2.1", "folder": "/home/anna/models/x", "bytes": 156_000_000}]
    done(
        {
            "event": "models",
            "folder": "/home/anna/models",
            "installed": installed,
            "faulty": {},
            "unfinished": {"medsam2": 45_000_000},
        }
    )
    names = [dialog.tree.topLevelItem(index).text(0) for index in range(dialog.tree.topLevelItemCount)]
    dialog.tree.setCurrentItem(dialog.tree.topLevelItem(names.index("medsam2")))
    slicer_app.processEvents()
    album.take(dialog.dialog, "windows/models")
    dialog.download_button.click()
    dialog.on_transfer(97_500_000, 156_000_000)
    assert dialog.progress.visible
    album.take(dialog.dialog, "windows/models-downloading")
    dialog.dialog.close()
    slicer_app.userSettings().remove("AutoMedSAM")


@pytest.mark.parametrize("question", ["terms", "replace"])
def test_question(question, panel, album, slicer_app, scene, monkeypatch):
    import qt

    from AutoMedSAMLib.panel import questions

    monkeypatch.setattr(type(slicer_app), "testingEnabled", lambda _self: False)
    model = panel.widget.inputs.model
    asks = {
        "terms": lambda: questions.accepts_terms(model, panel.window),
        "replace": lambda: questions.replace_or_beside("FLAIR", panel.window) is None,
    }
    taken, failures = [], []

    def look():
        box = slicer_app.activeModalWidget()
        if box is None:
            return
        timer.stop()
        try:
            taken.append(album.take(box, f"windows/question-{question}"))
        except AssertionError as failure:
            # Qt would drop it.
            failures.append(failure)
        box.buttons()[0 if question == "terms" else -1].click()

    timer = qt.QTimer()
    timer.connect("timeout()", look)
    timer.start(10)
    assert asks[question]()
    assert taken and not failures, failures


def test_options_of_the_effect_in_the_segment_editor(module, scene, add_volume, album, slicer_app, monkeypatch):
    from AutoMedSAMLib.editor import effect
    from harness.segment_editor import SegmentEditor
    from prompts import drag
    from recorded_logic import RecordedLogic

    monkeypatch.setattr(effect, "AutoMedSAMLogic", RecordedLogic)
    volume = add_volume(np.zeros((40, 60, 50), np.int16), name="FLAIR")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().AddEmptySegment("one", "one")
    show(volume)
    editor = SegmentEditor("AutoMedSAM", node, volume, "one")
    frame = editor.effect.optionsFrame()
    frame.resize(SIZE[0], frame.sizeHint.height())
    frame.show()
    drag(volume, (10, 20, 12), (30, 44, 12))
    slicer_app.processEvents()
    assert editor.effect.self()._options.propagate_button.enabled
    album.take(frame, "windows/editor-effect")
    frame.hide()
    editor.close()


def test_worklist_of_a_cohort(module_widget, album, slicer_app, tmp_path, wait_until):
    import SimpleITK as sitk
    from phantoms import two_lesions
    from typer.testing import CliRunner

    from automedsam.cli.app import app

    head, _ = two_lesions()
    for number, name in enumerate(("anna", "berta")):
        pixels = head.array if number == 0 else np.ascontiguousarray(head.array[:, :, ::-1])
        (tmp_path / "in").mkdir(exist_ok=True)
        sitk.WriteImage(head.to_image(pixels), str(tmp_path / "in" / f"{name}_flair.nii.gz"))
    ran = CliRunner().invoke(app, ["cohort", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--workers", "1"])
    assert ran.exit_code == 0, ran.output
    widget = module_widget.widget
    module_widget.show(*SIZE)
    widget.worklist.open_folder(tmp_path / "out")
    wait_until(lambda: widget.worklist.cases, SECONDS)
    widget.worklist.open_next()
    wait_until(lambda: widget.worklist.shown and widget.ui.saveCaseButton.enabled, SECONDS)
    widget.ui.worklistButton.collapsed = False
    for button in (widget.ui.inputsButton, widget.ui.boxesButton):
        button.collapsed = True
    slicer_app.processEvents()
    module_widget.window.resize(SIZE[0], 560)
    album.take(module_widget.window, "windows/worklist")
