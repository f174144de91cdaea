"""The window of models: what a person sees and can click while models are downloaded, imported and removed."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from built_in import BUILT_IN_NAMES, NAMES, VERSION
from bundle_zip import zip_of

pytest_plugins = ["panel_fixtures"]


@pytest.fixture
def dialog(panel: Any, slicer_app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The window over recorded requests, opened from the panel, before the engine has answered."""
    monkeypatch.setenv("AUTOMEDSAM_MODELS", str(tmp_path / "models"))
    slicer_app.userSettings().remove("AutoMedSAM/AcceptedTerms")
    panel.widget.ui.modelsButton.click()
    opened = panel.widget.inputs.models_dialog
    yield opened
    opened.dialog.close()
    slicer_app.userSettings().remove("AutoMedSAM")


@pytest.fixture
def requests(panel: Any, dialog: Any) -> Any:
    return panel.widget.logic.model_requests


def answer(requests: Any, **more: Any) -> None:
    """The engine's answer to what was asked last."""
    done, _ = requests.asked[-1]
    done({"event": "models", "folder": "/models", "installed": [], "faulty": {}, "unfinished": {}, **more})


def rows(dialog: Any) -> dict[str, list[str]]:
    items = [dialog.tree.topLevelItem(index) for index in range(dialog.tree.topLevelItemCount)]
    return {item.text(0): [item.text(column) for column in range(1, 6)] for item in items}


def select(dialog: Any, name: str) -> None:
    for index in range(dialog.tree.topLevelItemCount):
        if dialog.tree.topLevelItem(index).text(0) == name:
            dialog.tree.setCurrentItem(dialog.tree.topLevelItem(index))
            return
    raise AssertionError(name)


def installed(name: str, folder: Path | str = "/models/x") -> dict[str, Any]:
    return {"name": name, "version": "1", "folder": str(folder), "bytes": 156_000_000}


def test_catalog_is_shown_before_the_engine_answers(dialog: Any, requests: Any) -> None:
    assert "medsam2" in rows(dialog) and dialog.dialog.visible
    assert rows(dialog)["medsam2-ct-lesion"][1:] == ["Lesion", "CT", "156 MB", ""]
    select(dialog, "medsam2")
    assert "do not redistribute" in dialog.terms_label.text
    assert not dialog.download_button.enabled and not dialog.import_button.enabled
    answer(requests)
    assert dialog.status.text == "Models are kept in /models." and dialog.download_button.enabled


def test_before_the_first_download_the_folder_is_not_known(dialog: Any, requests: Any, slicer_app: Any) -> None:
    answer(requests, folder="")
    assert dialog.status.text == "No model has been downloaded yet." and dialog.import_button.enabled
    assert not slicer_app.userSettings().contains("AutoMedSAM/ModelsFolder")


def test_search_keeps_what_matches(dialog: Any, requests: Any) -> None:
    answer(requests)
    dialog.search.text = "liver mri"
    assert list(rows(dialog)) == ["medsam2-mri-liver-lesion"]
    dialog.search.text = "nothing"
    assert not rows(dialog) and not dialog.download_button.enabled


def test_state_of_each_model_is_shown(dialog: Any, requests: Any) -> None:
    answer(
        requests,
        installed=[installed("medsam2"), installed("mine")],
        unfinished={"sam2.1-tiny": 45_000_000},
        faulty={"broken": "The bundle in /models/broken has a faulty bundle.json."},
    )
    shown = rows(dialog)
    assert shown["medsam2"][-1] == "Installed" and shown["mine"][-2:] == ["156 MB", "Installed"]
    assert shown["sam2.1-tiny"][-1] == "45 MB here" and shown["broken"][-1] == "Faulty"
    for name, buttons in {
        "medsam2": ("Download", False, True),
        "sam2.1-tiny": ("Continue", True, True),
        "sam2.1-small": ("Download", True, False),
        "broken": ("Continue", False, True),
    }.items():
        select(dialog, name)
        text, download, remove = buttons
        assert (dialog.download_button.enabled, dialog.remove_button.enabled) == (download, remove), name
        assert dialog.download_button.text == text or not download


def test_download_asks_for_terms_and_shows_progress(
    dialog: Any, requests: Any, panel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AutoMedSAMLib.panel import questions

    asked = []
    monkeypatch.setattr(
        questions, "accepts_terms", lambda model, _parent=None: bool(asked.append(model.terms)) or len(asked) > 1
    )
    answer(requests)
    select(dialog, "medsam2")
    dialog.download_button.click()
    assert not requests.transfers and "not accepted" in dialog.status.text
    dialog.download_button.click()
    assert requests.transfers == [("medsam2", None)] and len(asked) == 2
    assert dialog.progress.visible and dialog.cancel_button.enabled and not dialog.download_button.enabled
    dialog.on_transfer(39_000_000, 156_000_000)
    assert (dialog.progress.value, dialog.progress.maximum) == (250, 1000)
    assert dialog.progress.format == "39.0 of 156.0 MB"
    dialog.on_stopped()
    assert not dialog.progress.visible and len(requests.asked) == 2
    answer(requests, unfinished={"medsam2": 39_000_000})
    assert "Continue resumes" in dialog.status.text and rows(dialog)["medsam2"][-1] == "39 MB here"
    dialog.download_button.click()
    assert len(asked) == 2 and len(requests.transfers) == 2


def test_detector_is_passed_on_for_a_checkpoint(dialog: Any, requests: Any) -> None:
    answer(requests)
    select(dialog, "sam2.1-tiny")
    dialog.detector.currentIndex = dialog.detector.findText("Detector of glioma")
    dialog.download_button.click()
    assert requests.transfers == [("sam2.1-tiny", "glioma")]


def test_stop_and_close_cancel_the_transfer(dialog: Any, requests: Any) -> None:
    answer(requests)
    select(dialog, "sam2.1-tiny")
    dialog.download_button.click()
    dialog.cancel_button.click()
    assert requests.cancelled == 1
    dialog.close_button.click()
    assert requests.cancelled > 1 and not dialog.dialog.visible


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A bundle in the folder of models."""
    from AutoMedSAMLib.model.bundle_info import BUILT_IN

    folder = tmp_path / "models" / "mine" / "mine"
    shutil.copytree(BUILT_IN / "glioma", folder)
    shutil.copytree(BUILT_IN / "segmenters", folder.parent / "segmenters")
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, "name": "mine"}))
    return folder


def test_installed_model_is_chosen_and_a_removed_one_is_gone(
    dialog: Any, requests: Any, panel: Any, mine: Path
) -> None:
    answer(requests)
    selector = panel.widget.ui.modelSelector
    dialog.on_installed(installed("mine", mine), ["A note."])
    answer(requests, installed=[installed("mine", mine)])
    assert dialog.status.text == "Installed mine 1. A note." and selector.currentText == f"Mine {VERSION}"
    select(dialog, "mine")
    dialog.remove_button.click()
    name, done, _ = requests.removed[-1]
    assert name == "mine"
    shutil.rmtree(mine.parent)
    done(156_000_000)
    answer(requests)
    assert dialog.status.text == "Removed mine: 156.0 MB are free again."
    assert [selector.itemText(index) for index in range(selector.count)] == BUILT_IN_NAMES
    assert selector.currentText == f"Glioma {VERSION}" and panel.widget.inputs.model.name == "glioma"


def test_failure_is_a_sentence_and_the_window_stays_usable(dialog: Any, requests: Any) -> None:
    answer(requests)
    select(dialog, "sam2.1-tiny")
    dialog.download_button.click()
    dialog.on_failed("huggingface.co cannot be reached: check the network.")
    answer(requests)
    assert dialog.status.text.startswith("huggingface.co cannot be reached") and dialog.download_button.enabled
    requests.asked[-1][1]("The engine stopped.")
    assert dialog.status.text == "The engine stopped." and dialog.import_button.enabled


def test_import_passes_the_file_on(dialog: Any, requests: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    answer(requests)
    chosen = [""]
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", lambda *_: chosen[0])
    dialog.import_button.click()
    assert not requests.transfers
    chosen[0] = "/data/my bundle.zip"
    dialog.detector.currentIndex = 1
    dialog.import_button.click()
    assert requests.transfers == [("/data/my bundle.zip", None)] and "my bundle.zip" in dialog.status.text


def test_refused_installation_downloads_nothing(dialog: Any, requests: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from AutoMedSAMLib.engine import installation
    from AutoMedSAMLib.errors import AutoMedSAMError

    def refuse() -> None:
        message = "declined"
        raise AutoMedSAMError(message)

    monkeypatch.setattr(installation, "ensure_downloads", refuse)
    answer(requests)
    select(dialog, "sam2.1-tiny")
    dialog.download_button.click()
    assert dialog.status.text == "declined" and not requests.transfers


def test_installed_models_are_listed_when_slicer_starts_again(
    module: Any, scene: Any, slicer_app: Any, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AutoMedSAMLib.scene import model_folder

    monkeypatch.delenv("AUTOMEDSAM_MODELS", raising=False)
    (mine.parents[1] / "broken").mkdir()
    (mine.parents[1] / "broken" / "bundle.json").write_text("{")
    model_folder.remember(str(mine.parents[1]))
    logic = module.new_logic()
    try:
        assert [model.name for model in logic.models()] == [*NAMES, "mine"]
    finally:
        logic.close()
        slicer_app.userSettings().remove("AutoMedSAM/ModelsFolder")


def test_import_and_removal_with_the_real_engine(
    module_widget: Any, tmp_path: Path, wait_until: Any, monkeypatch: pytest.MonkeyPatch, slicer_app: Any
) -> None:
    import qt

    pytest.importorskip("onnxruntime")
    assert sys.executable
    monkeypatch.setenv("AUTOMEDSAM_MODELS", str(tmp_path / "models"))
    path = zip_of("hippocampus", tmp_path / "h.zip", name="hippo-2")
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", lambda *_: str(path))
    widget = module_widget.widget
    widget.ui.modelsButton.click()
    dialog = widget.inputs.models_dialog
    wait_until(lambda: dialog.import_button.enabled, seconds=60)
    assert str(tmp_path / "models") in dialog.status.text
    dialog.import_button.click()
    wait_until(lambda: dialog.status.text.startswith("Installed hippo-2") and dialog.import_button.enabled, seconds=60)
    assert widget.ui.modelSelector.currentText == f"Hippo-2 {VERSION}"
    assert widget.inputs.model.precisions == {"int8", "fp32"}
    select(dialog, "hippo-2")
    dialog.remove_button.click()
    wait_until(lambda: "are free again" in dialog.status.text and dialog.import_button.enabled, seconds=60)
    assert not any((tmp_path / "models").iterdir()) and widget.inputs.model.name == "glioma"
    dialog.dialog.close()
    slicer_app.userSettings().remove("AutoMedSAM/ModelsFolder")
