"""`automedsam models int8`, and the first `automedsam segment` in INT8 of a downloaded checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.bundle import Bundle, load_bundle
from automedsam.cli import terms
from automedsam.contract.backends import Backend

pytest.importorskip("torch", reason="INT8 files are made of PyTorch weights")
pytest.importorskip("sam2", reason="INT8 files are made of PyTorch weights")
pytest.importorskip("onnx", reason="INT8 files are written with onnx")

from tiny_checkpoint import install_tiny

from automedsam.pipeline import int8_files

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv("AUTOMEDSAM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv(terms.ACCEPT_VARIABLE, "1")
    monkeypatch.setenv("COLUMNS", "200")
    return install_tiny(tmp_path / "models" / "tiny-sam")


@pytest.fixture
def head(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).integers(0, 90, (6, 40, 48)).astype(np.uint8)
    array[1:5, 10:28, 12:30] += 120
    sitk.WriteImage(sitk.GetImageFromArray(array), tmp_path / "head.nii.gz")
    return tmp_path / "head.nii.gz"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    boxes = [{"corners": [[12, 10, 2], [29, 27, 2]]}]
    content = {"schema": 1, "coordinates": "ijk", "objects": [{"segment": "Lesion", "boxes": boxes}]}
    (tmp_path / "prompts.json").write_text(json.dumps(content))
    return tmp_path / "prompts.json"


def test_int8_is_made_once(command: Command, bundle: Bundle, head: Path) -> None:
    code, output, _ = command("models", "int8", "tiny-sam", "--volume", head)
    assert code == 0 and output.startswith("tiny-sam runs in INT8: ")
    written = (bundle.folder / "mask_decoder.int8.onnx").stat().st_mtime_ns
    code, _, error = command("models", "int8", "tiny-sam", "--volume", head)
    assert code == 0 and "tiny-sam has INT8 files already." in error
    assert (bundle.folder / "mask_decoder.int8.onnx").stat().st_mtime_ns == written


def test_first_run_in_int8_makes_the_files(command: Command, bundle: Bundle, head: Path, prompts: Path) -> None:
    out = head.with_name("out.seg.nrrd")
    arguments = ("segment", head, "-o", out, "--model", "tiny-sam", "--prompts", prompts, "--backend", "int8")
    code, _, error = command(*arguments)
    assert code == 0 and "tiny-sam has no INT8 files yet: they are made now, once." in error
    assert load_bundle("tiny-sam").has(Backend.INT8) and out.is_file()
    code, _, error = command(*arguments)
    assert code == 0 and "made now" not in error
    code, output, _ = command("replay", out, "--input", head)
    assert code == 0 and "same" in output.lower()


def test_ctrl_c_leaves_model_and_output_as_they_were(
    command: Command, bundle: Bundle, head: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = sorted(path.name for path in bundle.folder.iterdir())
    monkeypatch.setattr(int8_files, "record_golden", stop)
    out = head.with_name("out.seg.nrrd")
    code, _, error = command("segment", head, "-o", out, "--model", "tiny-sam", "--prompts", prompts)
    assert code == 130 and "nothing was written" in error and not out.exists()
    assert command("models", "int8", "tiny-sam", "--volume", head)[0] == 130
    assert sorted(path.name for path in bundle.folder.iterdir() if path.name != ".int8.lock") == before


def test_volume_that_cannot_be_read_is_one_sentence(command: Command, bundle: Bundle, tmp_path: Path) -> None:
    code, _, error = command("models", "int8", "tiny-sam", "--volume", tmp_path / "absent.nii.gz")
    assert code == 2 and "absent.nii.gz" in error and len(error.splitlines()) == 1
    assert not load_bundle("tiny-sam").has(Backend.INT8)


def test_nothing_is_made_for_a_run_that_cannot_find_objects(command: Command, bundle: Bundle, head: Path) -> None:
    code, _, error = command("segment", head, "-o", head.with_name("out.seg.nrrd"), "--model", "tiny-sam")
    assert code == 2 and "has no detector" in error and "made now" not in error
    assert not load_bundle("tiny-sam").has(Backend.INT8)
