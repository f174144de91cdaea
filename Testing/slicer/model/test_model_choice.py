"""Choosing a model: folders of one's own, faulty manifests, and precisions whose files are not here."""

import json
import shutil

import pytest
from built_in import BUILT_IN_NAMES, int8_copy

pytest_plugins = ["panel_fixtures"]


@pytest.fixture
def mine(tmp_path):
    """A model's folder of one's own."""
    from AutoMedSAMLib.model.bundle_info import BUILT_IN

    shutil.copytree(BUILT_IN / "glioma", tmp_path / "mine")
    shutil.copytree(BUILT_IN / "segmenters", tmp_path / "segmenters")
    return tmp_path / "mine"


def rewrite(folder, **changes):
    path = folder / "bundle.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, **changes}), encoding="utf-8")


def test_folder_chosen_again_is_read_again_and_listed_once(panel, mine):
    widget = panel.widget
    widget.inputs.use_model_folder(mine)
    rewrite(mine, version="9.9", modalities=["T1", "FLAIR"])
    widget.inputs.use_model_folder(mine.parent / "segmenters" / ".." / "mine")
    names = [widget.ui.modelSelector.itemText(index) for index in range(widget.ui.modelSelector.count)]
    assert names == [*BUILT_IN_NAMES, "Glioma 9.9"]
    assert widget.ui.modelSelector.currentIndex == len(BUILT_IN_NAMES)
    assert widget.inputs.model.modalities == ("T1", "FLAIR")
    assert len(widget.inputs.volume_selectors) == 2


def test_complaint_about_a_folder_ends_with_a_good_one(ready, tmp_path, mine):
    (tmp_path / "empty").mkdir()
    ready.inputs.use_model_folder(tmp_path / "empty")
    complaint = ready.ui.statusLabel.text
    assert "empty" in complaint and "choose the folder of a model" in complaint and "install" not in complaint
    ready.inputs.use_model_folder(mine)
    assert ready.ui.statusLabel.text == ""


def test_complaint_about_a_folder_ends_with_a_choice_from_the_list(ready, tmp_path):
    ready.inputs.use_model_folder(tmp_path)
    ready.ui.modelSelector.currentIndex = 1
    ready.ui.modelSelector.activated.emit(1)
    assert "bundle.json" not in ready.ui.statusLabel.text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"null",
        b'"text"',
        b"[1]",
        b'{"schema": 99}',
        b'{"schema": NaN}',
        b"1" * 10_000,
    ],
    ids=range(10),
)
def test_any_faulty_manifest_is_one_sentence(panel, mine, content):
    from AutoMedSAMLib.errors import AutoMedSAMError
    from AutoMedSAMLib.model.bundle_info import read_model

    (mine / "bundle.json").write_bytes(content)
    with pytest.raises(AutoMedSAMError):
        read_model(mine)
    panel.widget.inputs.use_model_folder(mine)
    assert str(mine) in panel.widget.ui.statusLabel.text
    assert panel.widget.parameters.model == "glioma"


@pytest.mark.parametrize(
    "changes",
    [
        {"detector": None},
        {"segments": [{"value": 1}]},
        {"modalities": "FLAIR"},
        {"segmenter": {"files": []}},
        {"plane": "oblique"},
        {"files": {"a": 1}},
        {"version": 3},
        {"license": None},
    ],
)
def test_any_faulty_field_is_one_sentence(mine, changes):
    from AutoMedSAMLib.errors import AutoMedSAMError
    from AutoMedSAMLib.model.bundle_info import read_model

    rewrite(mine, **changes)
    with pytest.raises(AutoMedSAMError, match=next(iter(changes))):
        read_model(mine)


def test_manifest_that_is_a_folder_or_a_name_that_cannot_be(mine):
    from AutoMedSAMLib.errors import AutoMedSAMError
    from AutoMedSAMLib.model.bundle_info import find_model, read_model

    (mine / "bundle.json").unlink()
    (mine / "bundle.json").mkdir()
    for wrong in (mine, "a\0b", "x" * 5000):
        with pytest.raises(AutoMedSAMError):
            read_model(wrong)
        with pytest.raises(AutoMedSAMError):
            find_model(wrong)


def test_precision_without_files_is_greyed_and_explains_why(ready, tmp_path):
    import qt

    ready.inputs.use_model_folder(int8_copy(tmp_path))
    entries = ready.ui.backendSelector.model()
    assert entries.item(0).isEnabled()
    assert not entries.item(1).isEnabled()
    assert "no FP32 files" in ready.ui.backendSelector.itemData(1, qt.Qt.ToolTipRole)
