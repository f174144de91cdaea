"""Volumes and a model's inputs: each image goes where its name says, once, and stays there when the model changes."""

from dataclasses import replace

import pytest

from recorded_logic import RecordedLogic

pytest_plugins = ["panel_fixtures"]

FOUR = ("T1", "T1ce", "T2", "FLAIR")


@pytest.fixture
def two_models(module, scene, monkeypatch):
    """The panel with a model of FLAIR alone and one of four sequences."""
    from AutoMedSAMLib import widget
    from AutoMedSAMLib.model.bundle_info import find_model

    one = find_model("glioma")
    both = [one, replace(one, name="four", modalities=FOUR, precisions=frozenset({"int8"}))]
    monkeypatch.setattr(RecordedLogic, "models", lambda _self: list(both))
    monkeypatch.setattr(widget, "AutoMedSAMLogic", RecordedLogic)
    opened = module.open_panel()
    yield opened.widget
    opened.close()


def choose_model(widget, index):
    widget.ui.modelSelector.currentIndex = index
    widget.ui.modelSelector.activated.emit(index)


def chosen(widget):
    volumes = [widget.parameters.volume(index) for index in range(len(widget.inputs.model.modalities))]
    return [None if volume is None else volume.GetName() for volume in volumes]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("case_t1ce", "case_t1", "case_t2", "case_flair"), ["case_t1", "case_t1ce", "case_t2", "case_flair"]),
        (("AX T1 POST GD", "T1w", "T2 FLAIR", "T2w"), ["T1w", "AX T1 POST GD", "T2w", "T2 FLAIR"]),
        (("t1c", "t1gd"), [None, "t1c", None, None]),
        (("cat12 report", "pt10 scan", "T1 KM"), [None, "T1 KM", None, None]),
    ],
)
def test_image_is_assigned_by_its_name_and_nowhere_else(two_models, flair, slicer_app, names, expected):
    choose_model(two_models, 1)
    for name in names:
        flair(name)
    slicer_app.processEvents()
    two_models.inputs.choose_defaults()
    assert chosen(two_models) == expected


def test_image_stays_with_its_sequence_when_the_model_changes(two_models, flair, slicer_app):
    flair("scan 7")
    slicer_app.processEvents()
    assert chosen(two_models) == ["scan 7"]
    choose_model(two_models, 1)
    assert chosen(two_models) == [None, None, None, "scan 7"]
    choose_model(two_models, 0)
    assert chosen(two_models) == ["scan 7"]


def test_one_image_chosen_twice_is_reported_before_the_run(two_models, flair, slicer_app):
    choose_model(two_models, 1)
    volumes = [flair(name) for name in FOUR]
    slicer_app.processEvents()
    assert two_models.ui.applyButton.enabled
    two_models.parameters.set_volume(2, volumes[0])
    slicer_app.processEvents()
    assert not two_models.ui.applyButton.enabled
    assert two_models.ui.statusLabel.text == "T1 is chosen as T1 and as T2: choose two volumes."


def test_dicom_description_outweighs_nothing_but_adds_to_the_name():
    from AutoMedSAMLib.model.volume_roles import match

    volumes = [{"name": "301: unnamed", "Modality": "MR", "SeriesDescription": "AX T1 +C"}, {"name": "302", "x": "T1"}]
    assert match(("T1", "T1ce"), [None, None], volumes) == [None, 0]
    assert match(("FLAIR",), [None], [{"name": "FLAIR", "Modality": "CT"}]) == [None]
    assert match(("Perfusion map",), [None], [{"name": "perfusion mapped"}, {"name": "x perfusion_map"}]) == [1]
