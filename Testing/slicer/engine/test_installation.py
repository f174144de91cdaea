"""What is installed, when, and what is never touched."""

import os
import sys
import types
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def in_earnest(slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slicer as a person runs it, not as a test does."""
    monkeypatch.setattr(type(slicer_app), "testingEnabled", lambda _self: False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What `slicer.packaging` was asked for, with pip's settings at that moment."""
    import slicer

    calls: list[Any] = []
    ensure = slicer.packaging.pip_ensure

    def recorded(*arguments: Any, **options: Any) -> None:
        ensure(*arguments, **options)
        calls.append((slicer.packaging.asked[-1], os.environ.get("PIP_ONLY_BINARY")))

    monkeypatch.setattr(slicer.packaging, "pip_ensure", recorded)
    yield calls
    slicer.packaging.asked.clear()


@pytest.fixture
def without_packaging(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Slicer 5.10: no `slicer.packaging`. Returns what pip is asked to install."""
    import slicer

    installed: list[Any] = []
    monkeypatch.delattr(slicer, "packaging")
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", installed.append)
    return installed


def answer(monkeypatch: pytest.MonkeyPatch, yes: bool) -> list[str]:
    import slicer

    questions: list[str] = []

    def ask(text: str, **_: Any) -> bool:
        questions.append(text)
        return yes

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", ask)
    return questions


def test_a_test_of_slicer_installs_nothing(scene: Any, asked: list[Any]) -> None:
    from AutoMedSAMLib.engine import installation

    installation.ensure("fp32")
    assert asked == []


def test_opening_the_module_asks_for_nothing(scene: Any, in_earnest: None, asked: list[Any]) -> None:
    from AutoMedSAMLib.logic import AutoMedSAMLogic

    logic = AutoMedSAMLogic()
    logic.models()
    logic.describe_device("int8", lambda _: None)
    logic.close()
    assert asked == []


def test_the_first_apply_asks_for_wheels_and_pins_what_is_slicers(
    scene: Any, add_volume: Any, in_earnest: None, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    from AutoMedSAMLib.logic import AutoMedSAMLogic
    from runs import Recorder, ScriptedEngine, request_for

    monkeypatch.setenv("PIP_ONLY_BINARY", "somepackage")
    logic = AutoMedSAMLogic(start_process=ScriptedEngine)
    logic.start(request_for(add_volume(np.zeros((3, 4, 5), np.int16))), Recorder())
    logic.close()
    ((call, only_binary),) = asked
    assert {requirement.name for requirement in call.requirements} == {"onnxruntime", "scipy"}
    assert call.requester == "AutoMedSAM" and only_binary == ":all:"
    assert f"numpy=={metadata.version('numpy')}" in call.constraints.splitlines()
    assert f"SimpleITK=={metadata.version('SimpleITK')}" in call.constraints.splitlines()
    assert os.environ["PIP_ONLY_BINARY"] == "somepackage"


def test_declining_is_reported_in_one_sentence_and_nothing_runs(
    scene: Any, add_volume: Any, in_earnest: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    import slicer

    from AutoMedSAMLib.errors import AutoMedSAMError
    from AutoMedSAMLib.logic import AutoMedSAMLogic
    from runs import Recorder, request_for

    def decline(*_: Any, **__: Any) -> None:
        message = "User declined package installation"
        raise RuntimeError(message)

    monkeypatch.setattr(slicer.packaging, "pip_ensure", decline)
    logic = AutoMedSAMLogic()
    with pytest.raises(AutoMedSAMError, match="declined; click Apply to be asked again"):
        logic.start(request_for(add_volume(np.zeros((3, 4, 5), np.int16))), Recorder())
    assert not logic.is_running and logic.engine.process is None and logic.exchange.folder is None
    logic.close()


def test_first_download_asks_for_what_downloads_need_as_well(
    scene: Any, in_earnest: None, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    from AutoMedSAMLib.engine import installation
    from AutoMedSAMLib.errors import AutoMedSAMError

    installation.ensure_downloads()
    names = [{requirement.name for requirement in call.requirements} for call, _ in asked]
    assert names == [{"onnxruntime", "scipy"}, {"pooch", "requests", "platformdirs"}]

    def decline(*_: Any, **__: Any) -> None:
        message = "User declined package installation"
        raise RuntimeError(message)

    monkeypatch.setattr(slicer.packaging, "pip_ensure", decline)
    with pytest.raises(AutoMedSAMError, match=r"Nothing was downloaded, since .* was declined; click again"):
        installation.ensure_downloads()


def test_an_older_slicer_asks_and_installs_just_what_is_missing(
    scene: Any, in_earnest: None, without_packaging: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from AutoMedSAMLib.engine import installation

    monkeypatch.setattr(installation, "_requirement_lines", lambda *_: ["numpy>=1", "no-such-package>=3"])
    questions = answer(monkeypatch, yes=True)
    installation.ensure("int8")
    ((*options, package),) = without_packaging
    assert package == "no-such-package>=3" and "--only-binary=:all:" in options and "--constraint" in options
    assert len(questions) == 1 and "no-such-package" in questions[0]


def test_an_older_slicer_that_has_everything_asks_nothing(
    scene: Any, in_earnest: None, without_packaging: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from AutoMedSAMLib.engine import installation

    questions = answer(monkeypatch, yes=True)
    installation.ensure("int8")
    assert questions == [] and without_packaging == []


def test_fp32_without_the_pytorch_extension_explains_which_to_install(
    scene: Any, in_earnest: None, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from AutoMedSAMLib.engine import installation
    from AutoMedSAMLib.errors import AutoMedSAMError

    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(AutoMedSAMError, match="install the extension PyTorch in the Extensions Manager"):
        installation.ensure("fp32")


def test_fp32_installs_pytorch_through_its_extension_and_sam2_without_what_it_drags_in(
    scene: Any, in_earnest: None, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    from AutoMedSAMLib.engine import installation

    done: list[Any] = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation: bool = False) -> str:
            done.append(("torch", askConfirmation))
            return "torch"

    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic))
    monkeypatch.setattr(slicer.util, "pip_install", done.append)
    answer(monkeypatch, yes=True)
    installation.ensure("fp32")
    assert done[0] == ("torch", True)
    assert "--no-deps" in done[1] and done[1][-1].startswith("sam2")
    assert not any("torch" in argument for argument in done[2])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Any:
    """The panel's model of a published checkpoint."""
    from tiny_checkpoint import install_tiny

    from AutoMedSAMLib.model.bundle_info import read_model

    pytest.importorskip("torch", reason="the checkpoint is written by PyTorch")
    pytest.importorskip("sam2", reason="the checkpoint is written by PyTorch")
    return read_model(install_tiny(tmp_path / "tiny-sam").folder)


def test_making_int8_files_installs_onnx_and_nothing_else_does(
    scene: Any, in_earnest: None, asked: list[Any], checkpoint: Any
) -> None:
    from AutoMedSAMLib.engine import installation
    from AutoMedSAMLib.model.bundle_info import find_model

    def names() -> list[set[str]]:
        found = [{requirement.name for requirement in call.requirements} for call, _ in asked]
        asked.clear()
        return found

    installation.ensure_run(find_model("glioma"), "int8")
    assert names() == [{"onnxruntime", "scipy"}]
    installation.ensure_run(checkpoint, "fp32")
    assert names() == [{"onnxruntime", "scipy"}]
    installation.ensure_run(checkpoint, "int8")
    assert names() == [{"onnxruntime", "scipy"}, {"onnx"}]


def test_files_that_were_made_since_need_nothing_more(
    scene: Any, in_earnest: None, asked: list[Any], checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from AutoMedSAMLib.engine import installation

    made = replace(checkpoint, precisions=frozenset(("int8", "fp32")))
    monkeypatch.setattr(installation, "read_model", lambda folder: made)
    installation.ensure_run(checkpoint, "int8")
    assert len(asked) == 1


def test_making_int8_files_without_the_pytorch_extension_explains_which_to_install(
    scene: Any, in_earnest: None, asked: list[Any], checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AutoMedSAMLib.engine import installation
    from AutoMedSAMLib.errors import AutoMedSAMError

    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(AutoMedSAMError, match=r"Making INT8 files needs PyTorch: .* it is not needed any more"):
        installation.ensure_run(checkpoint, "int8")
