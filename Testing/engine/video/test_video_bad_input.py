"""Whatever is wrong with a video or where it shall go: one sentence, exit code 2, and nothing is written."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.cli.app import main
from automedsam.video.video_writer import write_video

Refusal = Callable[..., str]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where outputs go, which stays empty."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def refuses(out: Path, capfd: pytest.CaptureFixture[str]) -> Refusal:
    """A function that runs `automedsam segment`, and gives its one sentence; FFmpeg must be silent, too."""

    def run(*arguments: object) -> str:
        before = sorted(out.rglob("*"))
        with pytest.raises(SystemExit) as left:
            main(["segment", *map(str, arguments)])
        output, error = capfd.readouterr()
        assert left.value.code == 2, error
        assert not output and sorted(out.rglob("*")) == before
        sentence = error.removeprefix("automedsam: ").removesuffix("\n")
        assert "\n" not in sentence and "Traceback" not in error
        assert sentence.endswith(".") and not re.search(r"[.!?]\s", sentence), sentence
        return sentence

    return run


def noise(count: int = 40, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def clip(path: Path, count: int = 40) -> Path:
    """An mp4 file with its index at the beginning, so that a part of it can be played."""
    pytest.importorskip("av", reason="the extra 'video' is not installed")
    path.touch()
    write_video(iter(noise(count)), Fraction(25), path)
    return path


@pytest.fixture
def a_clip(tmp_path: Path) -> Path:
    return clip(tmp_path / "clip.mp4")


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """A folder of five frames."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(noise(5)):
        sitk.WriteImage(sitk.GetImageFromArray(frame, isVector=True), str(folder / f"{index}.png"))
    return folder


def test_missing_clip(refuses: Refusal, tmp_path: Path, out: Path) -> None:
    pytest.importorskip("av", reason="the extra 'video' is not installed")
    assert "no.mp4 does not exist" in refuses(tmp_path / "no.mp4", "-o", out / "masks")


@pytest.mark.parametrize("content", [b"", b"not a film " * 200, b"#EXTM3U\n#EXTINF:1,\nhttp://localhost/a.ts\n"])
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mov"])
def test_file_that_is_no_video(refuses: Refusal, content: bytes, suffix: str, tmp_path: Path, out: Path) -> None:
    pytest.importorskip("av", reason="the extra 'video' is not installed")
    path = tmp_path / f"clip{suffix}"
    path.write_bytes(content)
    assert f"clip{suffix} is no video that can be read" in refuses(path, "-o", out / "masks")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_clip_that_broke_off(refuses: Refusal, a_clip: Path, share: float, out: Path) -> None:
    content = a_clip.read_bytes()
    a_clip.write_bytes(content[: int(share * len(content))])
    assert "incomplete" in refuses(a_clip, "-o", out / "masks")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_avi_that_broke_off(refuses: Refusal, share: float, tmp_path: Path, out: Path) -> None:
    av = pytest.importorskip("av", reason="the extra 'video' is not installed")
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in noise():
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode(None))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "incomplete" in refuses(path, "-o", out / "masks")


def test_sound_frames_of_a_clip_that_broke_off_can_be_had(refuses: Refusal, a_clip: Path, out: Path) -> None:
    content = a_clip.read_bytes()
    a_clip.write_bytes(content[: len(content) // 2])
    hint = re.search(r"--frames (0:\d+)\.$", refuses(a_clip, "-o", out / "masks"))
    assert hint
    with pytest.raises(SystemExit) as left:
        main(["segment", str(a_clip), "-o", str(out / "masks"), "--frames", hint[1]])
    assert left.value.code in (None, 0)
    assert len(list((out / "masks").iterdir())) == int(hint[1][2:]) + 1 > 5


def test_clip_of_an_unknown_codec(refuses: Refusal, a_clip: Path, out: Path) -> None:
    a_clip.write_bytes(a_clip.read_bytes().replace(b"avc1", b"zzz9"))
    assert "codec" in refuses(a_clip, "-o", out / "masks")


@pytest.mark.parametrize("name", ["sound.mp4", "sound.mov"])
def test_sound_alone(refuses: Refusal, name: str, tmp_path: Path, out: Path) -> None:
    av = pytest.importorskip("av", reason="the extra 'video' is not installed")
    with av.open(str(tmp_path / name), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert "holds sound and no pictures" in refuses(tmp_path / name, "-o", out / "masks")


def test_clip_of_one_frame(refuses: Refusal, tmp_path: Path, out: Path) -> None:
    assert "only 1 frame" in refuses(clip(tmp_path / "still.mp4", 1), "-o", out / "masks")


def test_clip_without_frames(refuses: Refusal, tmp_path: Path, out: Path) -> None:
    assert "none.mp4" in refuses(clip(tmp_path / "none.mp4", 0), "-o", out / "masks")


def test_folder_of_one_frame(refuses: Refusal, frames: Path, out: Path) -> None:
    for index in range(1, 5):
        (frames / f"{index}.png").unlink()
    assert "only 1 frame" in refuses(frames, "-o", out / "masks")


def test_frames_of_different_sizes(refuses: Refusal, frames: Path, out: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(noise(1)[0, :20], isVector=True), str(frames / "3.png"))
    sentence = refuses(frames, "-o", out / "masks")
    assert "Frame 3 of" in sentence and "64 x 20" in sentence and "64 x 48" in sentence


def test_a_corrupt_frame_among_many(refuses: Refusal, frames: Path, out: Path) -> None:
    (frames / "2.png").write_bytes((frames / "2.png").read_bytes()[:500])
    assert "2.png cannot be read as an image" in refuses(frames, "-o", out / "masks")


@pytest.mark.parametrize("asked", ["0:5", "5:", "9:12", "0:999999", "4:2", "some"])
def test_frames_that_the_video_has_not(refuses: Refusal, frames: Path, asked: str, out: Path) -> None:
    sentence = refuses(frames, "-o", out / "masks", "--frames", asked)
    assert "0 to 4" in sentence or "such as 0:99" in sentence


def test_frames_of_a_volume(refuses: Refusal, tmp_path: Path, out: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(noise()[..., 0]), str(tmp_path / "head.nii.gz"))
    sentence = refuses(tmp_path / "head.nii.gz", "-o", out / "a.nii.gz", "--frames", "0:3")
    assert "--frames" in sentence and "head.nii.gz" in sentence


def test_planes_of_a_video(refuses: Refusal, frames: Path, out: Path) -> None:
    assert "--plane" in refuses(frames, "-o", out / "masks", "--plane", "axial")


def test_two_videos_at_once(refuses: Refusal, frames: Path, a_clip: Path, out: Path) -> None:
    assert "only input" in refuses(frames, a_clip, "-o", out / "masks")


def test_output_folder_with_other_files(refuses: Refusal, frames: Path, out: Path) -> None:
    (out / "thesis.docx").write_text("mine")
    sentence = refuses(frames, "-o", out)
    assert "holds 1 file already" in sentence and "new folder" in sentence
    assert (out / "thesis.docx").read_text() == "mine"


def test_output_folder_is_that_of_the_frames(refuses: Refusal, frames: Path) -> None:
    before = sorted(path.read_bytes() for path in frames.iterdir())
    assert "input" in refuses(frames, "-o", frames)
    assert sorted(path.read_bytes() for path in frames.iterdir()) == before


def test_output_folder_that_is_a_file(refuses: Refusal, frames: Path, out: Path) -> None:
    (out / "masks").touch()
    assert "is a file" in refuses(frames, "-o", out / "masks")


def test_output_folder_in_no_folder(refuses: Refusal, frames: Path, out: Path) -> None:
    assert "does not exist" in refuses(frames, "-o", out / "new" / "masks")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="only Linux has a folder that root cannot write to")
def test_output_folder_that_cannot_be_made(refuses: Refusal, frames: Path) -> None:
    assert "cannot be written" in refuses(frames, "-o", "/proc/masks")


@pytest.mark.parametrize(("name", "word"), [("a.png", "folder"), ("a.mp4", "folder"), ("a.docx", ".seg.nrrd")])
def test_output_of_no_format_for_masks(refuses: Refusal, frames: Path, name: str, word: str, out: Path) -> None:
    assert word in refuses(frames, "-o", out / name)


@pytest.mark.parametrize("name", ["over.png", "over.avi", "over"])
def test_overlay_of_a_video_that_is_none(refuses: Refusal, frames: Path, name: str, out: Path) -> None:
    assert ".mp4" in refuses(frames, "-o", out / "masks", "--overlay", out / name)


def test_overlay_among_the_masks(refuses: Refusal, frames: Path, out: Path) -> None:
    pytest.importorskip("av", reason="the extra 'video' is not installed")
    assert "among the masks" in refuses(frames, "-o", out, "--overlay", out / "over.mp4")


def test_overlay_over_the_clip(refuses: Refusal, a_clip: Path, out: Path) -> None:
    before = a_clip.read_bytes()
    assert "input" in refuses(a_clip, "-o", out / "masks", "--overlay", a_clip)
    assert a_clip.read_bytes() == before


@pytest.mark.parametrize("overlay", [True, False])
def test_package_for_videos_is_missing(
    refuses: Refusal, frames: Path, overlay: bool, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    source = frames if overlay else frames.with_name("clip.mp4")
    source.touch()
    more = ("--overlay", out / "over.mp4") if overlay else ()
    assert "pip install 'automedsam[video]'" in refuses(source, "-o", out / "masks", *more)


def test_a_video_where_a_volume_is_wanted(capsys: pytest.CaptureFixture[str], a_clip: Path) -> None:
    with pytest.raises(SystemExit) as left:
        main(["detect", str(a_clip)])
    assert left.value.code == 2
    assert "clip.mp4 is a video" in capsys.readouterr().err
