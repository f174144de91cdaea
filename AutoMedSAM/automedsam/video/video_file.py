"""Frames of a video file, decoded by FFmpeg through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.core.volume import Voxels
from automedsam.errors import AutoMedSAMError
from automedsam.video.frame_source import DEFAULT_RATE

# A text file in a video's name could otherwise make FFmpeg fetch what it lists.
_ONLY = {"protocol_whitelist": "file", "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,avi"}


def import_av() -> Any:
    """PyAV, which is an extra of this package.

    Raises:
        AutoMedSAMError: If it is not installed.
    """
    try:
        return import_module("av")
    except ModuleNotFoundError as error:
        message = (
            "Video files need PyAV, which is not installed: pip install 'automedsam[video]', or work with a folder of "
            "PNG or JPEG frames."
        )
        raise AutoMedSAMError(message) from error


@dataclass(frozen=True)
class VideoFile:
    """The first video stream of an mp4, QuickTime or AVI file.

    Attributes:
        path: the file.
    """

    path: Path

    @cached_property
    def rate(self) -> Fraction:
        """The stream's frames a second, on average where they vary."""
        with self._stream() as (_, stream):
            rate = stream.average_rate or stream.guessed_rate
        return Fraction(rate) if rate else DEFAULT_RATE

    @cached_property
    def count(self) -> int | None:
        """The file's header."""
        with self._stream() as (_, stream):
            return stream.frames or None

    def frames(self) -> Iterator[Voxels]:
        """RGB frames `(h, w, 3)` uint8 as a player shows them: rotated by the file's metadata, pixels as stored.

        Raises:
            AutoMedSAMError: If the file is no video, damaged or incomplete.
        """
        av = import_av()
        found = packets = 0
        whole = False
        try:
            with self._stream() as (container, stream):
                stream.thread_type = "AUTO"
                for packet in container.demux(stream):
                    packets += packet.size > 0
                    if packet.is_corrupt:
                        raise AutoMedSAMError(self._damaged(found))
                    for frame in packet.decode():
                        if frame.is_corrupt:
                            raise AutoMedSAMError(self._damaged(found))
                        yield _as_shown(frame)
                        found += 1
                # The header of an AVI file counts frames that were dropped as well.
                whole = _riff_is_whole(self.path) if "avi" in container.format.name else packets >= stream.frames
        except av.FFmpegError as error:
            raise AutoMedSAMError(self._damaged(found)) from error
        if not whole:
            raise AutoMedSAMError(self._damaged(found))

    @contextmanager
    def _stream(self) -> Iterator[tuple[Any, Any]]:
        """The opened container and its first stream of moving pictures."""
        av = import_av()
        if not self.path.is_file():
            message = f"{self.path} does not exist; check its spelling and folder."
            raise AutoMedSAMError(message)
        try:
            container = av.open(f"file:{self.path}", container_options=_ONLY)
        except PermissionError as error:
            message = f"{self.path} cannot be read ({error.strerror}); check its permissions."
            raise AutoMedSAMError(message) from error
        except (av.FFmpegError, OSError) as error:
            raise AutoMedSAMError(self._damaged(0)) from error
        with container:
            # The cover of a sound file is a video stream of one picture.
            cover = av.stream.Disposition.attached_pic
            streams = [stream for stream in container.streams.video if not stream.disposition & cover]
            if not streams:
                message = (
                    f"{self.path} holds sound and no pictures; choose a video."
                    if container.streams.audio
                    else self._damaged(0)
                )
                raise AutoMedSAMError(message)
            if streams[0].codec_context is None:
                message = f"{self.path} is of a codec that FFmpeg does not know here; save it as H.264 in mp4."
                raise AutoMedSAMError(message)
            yield container, streams[0]

    def _damaged(self, sound: int) -> str:
        if sound < 1:
            return f"{self.path} is no video that can be read, or damaged or incomplete; copy or export it again."
        return (
            f"{self.path} is damaged or incomplete after its first {sound} frames; copy it again, or take those with "
            f"--frames 0:{sound - 1}."
        )


def _riff_is_whole(path: Path) -> bool:
    """Whether an AVI file is as long as its first chunk states; FFmpeg plays a truncated one up to its end."""
    with path.open("rb") as file:
        start = file.read(8)
    return path.stat().st_size >= 8 + int.from_bytes(start[4:], "little")


def _as_shown(frame: Any) -> Voxels:
    picture: Voxels = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4
    return np.rot90(picture, quarters) if quarters else picture
