"""Too little memory ends in one sentence that says so, wherever it runs out."""

import errno
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.cli import segment
from automedsam.cli.console import report_table
from automedsam.core.events import RunReport
from automedsam.core.memory import check_room_for_scipy, is_out_of_memory, peak_memory_mb
from automedsam.core.segmentation import Segmentation
from automedsam.errors import AutoMedSAMError
from automedsam.io import volume_reader
from automedsam.io.atomic import write_error_message
from automedsam.io.nifti import read_nifti
from automedsam.io.segmentation_writer import write_segmentation
from automedsam.io.volume_reader import read_volume
from automedsam.pipeline.run import SegmentationRun
from automedsam.runtime.session import open_session
from automedsam.worker.__main__ import _told

Command = Callable[..., tuple[int, str, str]]

FAILED = [
    MemoryError(),
    np.exceptions.AxisError("Unable to allocate 1.2 GiB for an array"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("[ONNXRuntimeError] : 6 : bfc_arena.cc:360 Failed to allocate memory for requested buffer of size 9"),
    RuntimeError("ITK ERROR: ImportImageContainer: Failed to allocate memory for image."),
    RuntimeError("can't start new thread"),
    ImportError("libx.so: failed to map segment from shared object"),
]
OTHER = [
    OSError(errno.ENOENT, "No such file", "/data/unable to allocate/head.nii"),
    RuntimeError("cannot read /data/alloc/head.nrrd"),
    BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
    ValueError("memory of a bundle"),
]


@pytest.mark.parametrize("error", FAILED, ids=str)
def test_failed_allocation_is_recognized(error: BaseException) -> None:
    assert is_out_of_memory(error)
    outer = ValueError("x")
    outer.__cause__ = error
    assert is_out_of_memory(outer)


@pytest.mark.parametrize("error", OTHER, ids=str)
def test_other_errors_are_not_taken_for_it(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_an_error_that_leads_to_itself_ends_the_search() -> None:
    one, other = ValueError("a"), ValueError("b")
    one.__cause__, other.__cause__ = other, one
    assert not is_out_of_memory(one)


@pytest.mark.parametrize("error", FAILED, ids=str)
def test_command_ends_in_one_sentence(
    error: BaseException, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    source = tmp_path / "head.nii"
    sitk.WriteImage(sitk.GetImageFromArray(np.random.default_rng(1).normal(size=(4, 20, 30))), str(source))
    monkeypatch.setattr(SegmentationRun, "events", fail)
    code, output, sentence = command("segment", source, "-o", tmp_path / "mask.nii")
    assert code == 2 and not output and sentence.count("\n") == 1 and "not enough memory" in sentence
    assert [path.name for path in tmp_path.iterdir()] == ["head.nii"]


def test_reading_writing_and_loading_name_what_they_were_at(
    a_segmentation: Segmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    (tmp_path / "head.nii").write_bytes(b"x")
    monkeypatch.setattr(volume_reader, "read_nifti", fail)
    with pytest.raises(AutoMedSAMError, match=r"not enough memory to read .*head\.nii"):
        read_volume(tmp_path / "head.nii")
    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(AutoMedSAMError, match=r"not enough memory to write .*mask\.nrrd"):
        write_segmentation(a_segmentation, tmp_path / "mask.nrrd")
    assert "not enough memory" in write_error_message(tmp_path, MemoryError())
    ort = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(ort, "InferenceSession", fail)
    with pytest.raises(AutoMedSAMError, match="not enough memory to load"):
        open_session(tmp_path / "head.nii", 1)
    reported = _told(RuntimeError("std::bad_alloc"))
    assert "not enough memory" in reported["message"] and reported["user_error"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's address space")
@pytest.mark.parametrize("room_mb", [250, 620])
def test_process_of_little_memory_refuses_in_one_sentence(room_mb: int, tmp_path: Path) -> None:
    source = tmp_path / "head.nii"
    sitk.WriteImage(sitk.GetImageFromArray(np.random.default_rng(1).normal(size=(4, 20, 30))), str(source))
    run = subprocess.run(
        [sys.executable, "-m", "automedsam", "segment", source, "-o", tmp_path / "mask.nii.gz"],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (room_mb << 20, room_mb << 20)),
    )
    # Earlier versions of the libraries need less: there, the larger room may be enough.
    if room_mb > 250 and run.returncode == 0:
        assert (tmp_path / "mask.nii.gz").is_file()
        return
    assert run.returncode == 2 and run.stderr.count("\n") == 1 and "not enough memory" in run.stderr, run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["head.nii"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's address space")
def test_scipy_is_not_loaded_where_it_would_wait_for_memory_for_ever() -> None:
    program = (
        "import resource, sys\n"
        "from automedsam.core.memory import check_room_for_scipy\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)\n"
        "try:\n    check_room_for_scipy()\nexcept MemoryError:\n    sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 7
    check_room_for_scipy()


def test_voxels_are_in_memory_once_while_nifti_is_read(tmp_path: Path) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    voxels = np.random.default_rng(1).integers(0, 99, (40, 200, 200)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / "head.nii.gz"), useCompression=True)
    read_nifti(tmp_path / "head.nii.gz", "warm")
    tracemalloc.start()
    read_nifti(tmp_path / "head.nii.gz", "head")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * voxels.nbytes


def test_peak_memory_is_that_after_writing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(segment, "peak_memory_mb", lambda: 4321.0)
    shown: list[RunReport] = []
    monkeypatch.setattr(segment, "report_table", lambda report, *_, **__: shown.append(report) or report_table(report))
    monkeypatch.setattr(segment.terms, "notice", lambda bundle: "")
    run = type("R", (), {"bundle": None, "linking": type("L", (), {"threshold": 0.5})})
    segment._print_summary(run, RunReport(peak_memory_mb=1.0), 0, tmp_path / "mask.nii", None, None, "slice")
    assert shown[0].peak_memory_mb == 4321.0 and peak_memory_mb() > 1
