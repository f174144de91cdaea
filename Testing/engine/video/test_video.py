"""Frames of any video come out as they are seen, in their order, and no other file is taken for a video."""

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.core.volume import Volume
from automedsam.detection.detector import stack_adjacent_slices
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume
from automedsam.video.clip import FRAME_PLANE, Clip, open_frames, parse_frames, read_clip
from automedsam.video.frame_source import FrameSource
from automedsam.video.video_writer import write_video

COUNT, HEIGHT, WIDTH = 12, 48, 64


def some_frames(count: int = COUNT, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Grey frames, each of its own brightness, with a bright corner at the top left and a bar that moves right."""
    frames = np.repeat(np.arange(count, dtype=np.uint8)[:, None, None] * 10 + 20, height, 1).repeat(width, 2)
    frames[:, :16, :24] = 220
    for index, frame in enumerate(frames):
        frame[32:, 4 * index : 4 * index + 8] = 160
    return frames


def colour(frames: np.ndarray) -> Iterator[np.ndarray]:
    return (np.repeat(frame[..., None], 3, -1) for frame in frames)


def write_clip(path: Path, frames: np.ndarray, codec: str = "libx264") -> Path:
    av = pytest.importorskip("av", reason="the extra 'video' is not installed")
    with av.open(str(path), "w", format="mp4" if path.suffix == ".m4v" else None) as file:
        stream = file.add_stream(codec, rate=Fraction(30000, 1001))
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for frame in colour(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode(None))
    return path


def write_pictures(folder: Path, frames: np.ndarray, name: str = "frame{}.png") -> Path:
    folder.mkdir()
    for index, frame in enumerate(frames):
        sitk.WriteImage(sitk.GetImageFromArray(frame, isVector=frame.ndim == 3), str(folder / name.format(index)))
    return folder


def write_cine(path: Path, frames: np.ndarray, **tags: str) -> Path:
    image = sitk.GetImageFromArray(frames, isVector=frames.ndim == 4)
    for tag, value in tags.items():
        image.SetMetaData(tag.replace("_", "|")[1:], value)
    sitk.WriteImage(image, str(path))
    return path


def source_of(path: Path) -> FrameSource:
    found = open_frames(path)
    assert found is not None
    return found


def read(path: Path, frames: tuple[int, int | None] | None = None) -> Clip:
    return read_clip(source_of(path), frames)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.MP4", "libx264"), ("a.m4v", "mpeg4"),
                                             ("a.mov", "libx264"), ("a.avi", "mpeg4"), ("a.avi", "mjpeg")])  # fmt: skip
def test_frames_of_a_file_come_in_order_and_upright(name: str, codec: str, tmp_path: Path) -> None:
    frames = some_frames()
    path = write_clip(tmp_path / f"größe 1{Path(name).suffix}", frames, codec)
    clip = read(path)
    assert clip.volume.array.dtype == np.uint8 and clip.volume.shape == (COUNT, HEIGHT, WIDTH)
    assert np.abs(clip.volume.array.astype(int) - frames).mean() < 4
    np.testing.assert_array_equal(clip.volume.to_frames(FRAME_PLANE)[0], clip.volume.array)
    assert clip.source.rate == Fraction(30000, 1001)
    assert clip.volume.frame_spacing(FRAME_PLANE) == (1, 1, 1)


def test_film_held_upright_is_read_as_it_is_shown(tmp_path: Path) -> None:
    """A quarter turn that a player makes, counterclockwise as FFmpeg counts."""
    av = pytest.importorskip("av", reason="the extra 'video' is not installed")
    path, frames = tmp_path / "turned.mp4", some_frames()
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write a turned film")
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.set_display_rotation(90)
        for frame in colour(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode(None))
    clip = read(path)
    assert clip.volume.shape == (COUNT, WIDTH, HEIGHT)
    # The corner that was at the top left comes to lie at the bottom left.
    assert clip.volume.array[:, -24:, :16].mean() > 200 > 180 > clip.volume.array[:, :24, :16].mean()


def test_frames_of_a_folder_are_sorted_by_their_numbers(tmp_path: Path) -> None:
    frames = some_frames()
    folder = write_pictures(tmp_path / "frames", frames)
    (folder / "notes.txt").write_text("not a frame")
    (folder / ".hidden.png").write_text("not a frame either")
    np.testing.assert_array_equal(read(folder).volume.array, frames)


def test_colour_frame_becomes_what_the_same_image_becomes(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (3, 20, 30, 3)).astype(np.uint8)
    folder = write_pictures(tmp_path / "frames", frames)
    clip = read(folder)
    for index in range(3):
        np.testing.assert_array_equal(clip.volume.array[index], read_volume(folder / f"frame{index}.png").array[0])
    np.testing.assert_array_equal(np.stack(list(clip.pictures())), frames)


def test_ultrasound_of_several_frames_is_a_video(tmp_path: Path) -> None:
    frames = some_frames()
    path = write_cine(tmp_path / "heart.dcm", frames, _0008_0060="US", _0018_1063="40.0", _0018_0040="99")
    clip = read(path)
    np.testing.assert_array_equal(clip.volume.array, frames)
    assert clip.source.rate == 25 and len(clip) == clip.source.count == COUNT
    path = path.rename(tmp_path / "no suffix")
    np.testing.assert_array_equal(read(path).volume.array, frames)


def test_colour_ultrasound_becomes_luminance(tmp_path: Path) -> None:
    frames = np.stack(list(colour(some_frames())))
    clip = read(write_cine(tmp_path / "doppler.dcm", frames, _0008_0060="US", _0018_0040="30"))
    np.testing.assert_array_equal(clip.volume.array, some_frames())
    np.testing.assert_array_equal(np.stack(list(clip.pictures())), frames)
    assert clip.source.rate == 30


def test_frames_in_space_stay_a_volume(tmp_path: Path) -> None:
    path = write_cine(tmp_path / "ct.dcm", some_frames(), _0008_0060="CT")
    assert open_frames(path) is None
    assert read_volume(path).shape == (COUNT, HEIGHT, WIDTH)


def test_series_with_a_preview_beside_it_stays_a_volume(
    a_volume: Volume, write_dicom_series: Callable[..., None], tmp_path: Path
) -> None:
    write_dicom_series(a_volume, tmp_path / "series")
    sitk.WriteImage(sitk.GetImageFromArray(some_frames()[0]), str(tmp_path / "series" / "preview.png"))
    assert open_frames(tmp_path / "series") is None
    assert read_volume(tmp_path / "series").shape == a_volume.shape


@pytest.mark.parametrize("name", ["head.nii.gz", "xray.png", "missing.dcm", "empty"])
def test_other_files_are_no_video(name: str, tmp_path: Path) -> None:
    if name == "empty":
        (tmp_path / name).mkdir()
    elif name != "missing.dcm":
        array = some_frames() if "nii" in name else some_frames()[0]
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / name))
    assert open_frames(tmp_path / name) is None


def test_a_part_of_the_frames_is_that_part(tmp_path: Path) -> None:
    frames = some_frames()
    folder = write_pictures(tmp_path / "frames", frames)
    clip = read(folder, (3, 5))
    np.testing.assert_array_equal(clip.volume.array, frames[3:6])
    np.testing.assert_array_equal(np.stack(list(clip.pictures())), frames[3:6])
    assert clip.provenance == {"frames": [3, 5], "frames_per_second": "25/1"}
    np.testing.assert_array_equal(read(folder, (10, None)).volume.array, frames[10:])
    np.testing.assert_array_equal(read(folder, (4, 4)).volume.array, frames[4:5])


@pytest.mark.parametrize(
    ("text", "frames"), [("3:5", (3, 5)), (":5", (0, 5)), ("3:", (3, None)), (":", (0, None)), (" 0:0 ", (0, 0))]
)
def test_frames_are_asked_for_as_first_and_last(text: str, frames: tuple[int, int | None]) -> None:
    assert parse_frames(text) == frames


@pytest.mark.parametrize("text", ["", "5", "5:3", "-1:3", "a:b", "1:2:3", "1.5:2"])
def test_frames_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(AutoMedSAMError, match="such as 0:99"):
        parse_frames(text)


@dataclass
class Made:
    """Frames that are made while they are asked for, so that only what is kept of them takes memory."""

    number: int
    side: int
    path: Path = Path("made.mp4")
    rate: Fraction = Fraction(25)
    made: int = 0

    @property
    def count(self) -> int:
        return self.number

    def frames(self) -> Iterator[np.ndarray]:
        self.made = 0
        while self.made < self.number:
            self.made += 1
            yield np.full((self.side, self.side, 3), self.made % 256, np.uint8)


def test_clip_is_in_memory_once_and_grey() -> None:
    source = Made(200, 256)
    tracemalloc.start()
    try:
        clip = read_clip(source)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert clip.volume.array.nbytes == 200 * 256 * 256
    assert peak < 2.2 * clip.volume.array.nbytes


def test_neighbours_as_channels_take_no_memory_of_their_own() -> None:
    slices = np.random.default_rng(1).integers(0, 255, (300, 64, 64)).astype(np.uint8)
    tracemalloc.start()
    try:
        frames = stack_adjacent_slices(slices, 1.0, 2.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert frames.shape == (300, 64, 64, 3)
    assert peak < 1.2 * slices.nbytes


def test_clip_too_long_for_memory_is_refused_at_its_first_frame() -> None:
    source = Made(1_000_000, 256)
    with pytest.raises(AutoMedSAMError, match="than the 32768 that are read at once; take it in parts with --frames"):
        read_clip(source)
    assert source.made == 1
    assert len(read_clip(source, (100, 109))) == 10


@pytest.mark.parametrize("size", [(48, 64), (47, 63), (1, 1)])
def test_written_video_has_the_size_the_rate_and_the_frames_given(size: tuple[int, int], tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="the extra 'video' is not installed")
    frames = np.random.default_rng(1).integers(0, 256, (7, 1, 1, 3)).repeat(size[0], 1).repeat(size[1], 2)
    path = tmp_path / "größe 1.mp4"
    path.touch()
    write_video(iter(frames.astype(np.uint8)), Fraction(30000, 1001), path)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        shown = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
        assert stream.average_rate == Fraction(30000, 1001)
    assert [frame.shape[:2] for frame in shown] == [size] * 7
    assert np.abs(np.stack(shown).astype(int) - frames).max() < 12
