"""A run that is stopped before anything is finished writes nothing, and an older result stays."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.cli import image_output, segment
from automedsam.cli.terminal import ended_like_ctrl_c
from automedsam.core.events import Event, Stage, StageStarted
from automedsam.pipeline.run import SegmentationRun

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while boxes are searched for."""

    def events(self: SegmentationRun, *_: Any) -> Iterator[Event]:
        yield StageStarted(Stage.DETECT, 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(SegmentationRun, "events", events)
    monkeypatch.setattr(SegmentationRun, "detect", events)


def noise(path: Path, *shape: int) -> Path:
    voxels = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    return path


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    (tmp_path / "frames").mkdir()
    for index in range(3):
        noise(tmp_path / "frames" / f"{index}.png", 20, 30)
    return tmp_path / "frames"


def stopped(answer: tuple[int, str, str]) -> None:
    code, output, error = answer
    assert code == 130 and not output
    assert error == "Stopped before anything was finished: nothing was written.\n"


@pytest.mark.usefixtures("stop")
def test_older_mask_of_a_volume_stays(command: Command, tmp_path: Path) -> None:
    old = tmp_path / "old.nii.gz"
    old.write_bytes(b"old")
    stopped(command("segment", noise(tmp_path / "head.nii", 4, 20, 30), "-o", old))
    assert old.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.nii", "old.nii.gz"]


@pytest.mark.usefixtures("stop")
def test_older_mask_and_overlay_of_an_image_stay(command: Command, tmp_path: Path) -> None:
    for name in ("mask.png", "over.png"):
        (tmp_path / name).write_bytes(b"old")
    source = noise(tmp_path / "image.png", 20, 30)
    stopped(command("segment", source, "-o", tmp_path / "mask.png", "--overlay", tmp_path / "over.png"))
    assert all((tmp_path / name).read_bytes() == b"old" for name in ("mask.png", "over.png"))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.usefixtures("stop")
@pytest.mark.parametrize("output", ["masks", "masks.seg.nrrd"])
def test_nothing_is_made_of_a_video(command: Command, frames: Path, output: str, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the extra 'video' is not installed")
    (tmp_path / "over.mp4").write_bytes(b"old")
    stopped(command("segment", frames, "-o", tmp_path / output, "--overlay", tmp_path / "over.mp4"))
    assert (tmp_path / "over.mp4").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "over.mp4"]


@pytest.mark.usefixtures("stop")
def test_older_boxes_stay(command: Command, tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text("old")
    stopped(command("detect", noise(tmp_path / "head.nii", 4, 20, 30), "-o", tmp_path / "boxes.json"))
    assert (tmp_path / "boxes.json").read_text() == "old" and len(list(tmp_path.iterdir())) == 2


def test_stopped_while_reading(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(segment, "read_modalities", interrupted)
    stopped(command("segment", noise(tmp_path / "head.nii", 4, 20, 30), "-o", tmp_path / "mask.nii"))
    assert not (tmp_path / "mask.nii").exists()


def test_stopped_while_writing_leaves_neither_file(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(image_output, "write_segmentation", interrupted)
    monkeypatch.setattr(SegmentationRun, "events", lambda self: iter(()))
    monkeypatch.setattr(segment, "_execute", lambda run, progress, objects: (None, 1))
    source = noise(tmp_path / "image.png", 20, 30)
    stopped(command("segment", source, "-o", tmp_path / "mask.png", "--overlay", tmp_path / "over.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["image.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_end_that_the_system_asks_for_is_a_ctrl_c(name: str) -> None:
    number = getattr(signal, name)
    # nohup, under which the tests may run, has SIGHUP ignored.
    outside = signal.signal(number, signal.SIG_DFL)

    def end() -> None:
        with ended_like_ctrl_c():
            os.kill(os.getpid(), number)
            time.sleep(1)

    try:
        with pytest.raises(KeyboardInterrupt):
            end()
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, outside)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_signal_that_is_ignored_stays_ignored() -> None:
    program = (
        "import os, signal\n"
        "from automedsam.cli.terminal import ended_like_ctrl_c\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with ended_like_ctrl_c():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_signals_are_left_alone_in_other_threads() -> None:
    failed = []

    def enter() -> None:
        try:
            with ended_like_ctrl_c():
                pass
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not failed
