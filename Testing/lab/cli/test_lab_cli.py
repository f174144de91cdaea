"""What a person at a terminal relies on when they train and measure."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from automedsam.bundle import Bundle
from automedsam_lab.cli.app import main
from automedsam_lab.data.builtin_dataset import BuiltinDataset
from automedsam_lab.data.dataset import select_cases

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """A function that runs `automedsam-lab` with arguments; gives exit code, output, and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        output, error = capsys.readouterr()
        return int(left.value.code or 0), output, error

    return run


def assert_one_sentence(result: tuple[int, str, str], *words: str) -> None:
    code, output, error = result
    assert (code, output) == (2, "")
    assert len(error.strip().splitlines()) == 1 and error.startswith("automedsam-lab: "), error
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "evaluate"),
        (("train",), "segmenter"),
        (("train", "detector"), "--steps"),
        (("train", "segmenter"), "--start-from"),
        (("evaluate",), "--backends"),
    ],
)
def test_help_names_what_there_is(command: Command, arguments: tuple[str, ...], message: str) -> None:
    code, output, _ = command(*arguments, "--help")
    assert code == 0 and message in output


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    program = "import sys, automedsam_lab.cli.app; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, encoding="utf-8").stdout
    assert not {"torch", "onnxruntime", "sam2", "SimpleITK", "scipy", "matplotlib"} & set(loaded.split())


def test_a_missing_bundle_is_named(command: Command, tmp_path: Path) -> None:
    assert_one_sentence(command("evaluate", "liver", "--cases", tmp_path), "no model liver")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--task", "liver"), "knows no task 'liver'"),
        (("--split", "best"), "no split 'best'; choose one of train, val, test, unseen"),
        (("--part", "validation"), "No glioma cases were found"),
        (("--backends", "int4"), "no backend 'int4'; use any of int8, fp32, fp32-onnx"),
        (("--backends", ","), "no backend ','"),
        ((), "No glioma cases were found"),
    ],
)
def test_what_cannot_be_measured_is_reported(
    command: Command, a_manifest: Bundle, tmp_path: Path, options: tuple[str, ...], word: str
) -> None:
    out = tmp_path / "out"
    asked = ("evaluate", a_manifest.folder, "--cases", tmp_path, "-o", out, *options)
    assert_one_sentence(command(*asked), word)
    assert not out.exists()


def test_a_bundle_without_its_files_measures_nothing(
    command: Command, a_manifest: Bundle, shared_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'lab' is not installed")
    assert select_cases(BuiltinDataset("glioma", shared_data))
    asked = ("evaluate", a_manifest.folder, "--cases", shared_data, "-o", tmp_path / "out", "--limit", 1)
    assert_one_sentence(command(*asked), "has no INT8 files here")
    assert not (tmp_path / "out" / "results.csv").exists()


@pytest.mark.parametrize("what", [("detector", "hippocampus"), ("segmenter",)])
def test_training_without_data_names_the_searched_folder(
    command: Command, what: tuple[str, ...], tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("cv2", reason="the lab's training packages are not installed")
    asked = ("train", *what, "--data", tmp_path, "--out", tmp_path / "out", "--steps", 1)
    assert_one_sentence(command(*asked), "cases were found in")
    assert not (tmp_path / "out").exists()


def test_a_device_that_is_not_there_is_refused_before_the_data_are_read(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    asked = ("train", "segmenter", "--data", tmp_path, "--out", tmp_path / "out", "--device", "abacus")
    assert_one_sentence(command(*asked), "cannot use the device abacus")


def test_weights_to_start_from_must_be_there(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    asked = ("train", "segmenter", "--data", tmp_path, "--out", tmp_path, "--start-from", tmp_path / "no.pt")
    assert_one_sentence(command(*asked), "no weights to start from")


def test_a_missing_package_names_the_extra_that_brings_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("segmenter_data", "train_segmenter"):
        monkeypatch.delitem(sys.modules, f"automedsam_lab.{name}", raising=False)
    asked = ("train", "segmenter", "--data", tmp_path, "--out", tmp_path)
    assert_one_sentence(command(*asked), "needs torch", "automedsam[train]")


@pytest.mark.parametrize(("old", "new"), [("memories", "memory-length"), ("rival", "baseline")])
def test_old_command_names_are_accepted_and_hidden(old: str, new: str, command: Command) -> None:
    assert command(old, "--help")[0] == 0
    listed = command("--help")[1].split()
    assert new in listed and old not in listed


def test_old_name_of_an_option_is_accepted_with_a_warning(command: Command, tmp_path: Path) -> None:
    code, _, error = command("evaluate", "glioma", "--cases", tmp_path, "--rival", tmp_path / "gone")
    assert code == 2 and "--rival has been renamed to --baseline" in error and "removed" in error
