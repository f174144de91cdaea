"""What is written of a video: a mask for each frame, and the video itself with outlines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.segmentation import Segment, Segmentation
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_folder, atomic_write, check_folder, check_writable
from automedsam.io.segmentation_writer import (
    LABEL_MAP_SUFFIXES,
    PICTURE_SUFFIX,
    check_output,
    mask_image,
    write_segmentation,
    write_verified,
)
from automedsam.video.clip import Clip
from automedsam.video.video_file import import_av
from automedsam.visualization.overlay import Picture, draw

OVERLAY_SUFFIX = ".mp4"

ProgressCallback = Callable[[Iterable[Any], int | None], Iterable[Any]]

# Video halves the resolution of colours, in which a thinner line would be lost.
_MIN_WIDTH = 2
# What is finer is of no player's concern, and MPEG-4 has no room for it.
_FINEST_RATE = 1001


def is_mask_folder(output: Path) -> bool:
    """Whether masks go to a folder of PNG files, rather than into one file."""
    return output.is_dir() or not output.name.lower().endswith(LABEL_MAP_SUFFIXES)


def check_video_output(output: Path, overlay: Path | None, source: Path) -> None:
    """Finds out before a run whether the masks and the overlay can be written.

    Args:
        output: a folder that does not exist yet or is empty, or a label map (`.seg.nrrd`, `.nii.gz` and others).
        overlay: the mp4 file, or None.
        source: the video, or the folder of its frames.

    Raises:
        AutoMedSAMError: if a suffix is of another format, a folder is missing, holds files or cannot be written, an
            output is the input or both are one, or PyAV is missing for the overlay.
    """
    if not is_mask_folder(output):
        check_output(output, inputs=[source])
    elif output.suffix.lower() == PICTURE_SUFFIX and not output.is_dir():
        message = f"{output} is one PNG, and each frame has its own; name a folder, or a file in .seg.nrrd or .nii.gz."
        raise AutoMedSAMError(message)
    elif output.suffix and not output.is_dir():
        message = (
            f"{output} is of no format for masks; name a folder for numbered PNG files, or a file in "
            f"{', '.join(LABEL_MAP_SUFFIXES)}."
        )
        raise AutoMedSAMError(message)
    else:
        check_folder(output, [source])
    if overlay is None:
        return
    if overlay.suffix.lower() != OVERLAY_SUFFIX:
        message = f"The overlay {overlay} of a video is a video; let it end in {OVERLAY_SUFFIX}."
        raise AutoMedSAMError(message)
    if overlay.resolve().parent == output.resolve():
        message = f"The overlay {overlay} would lie among the masks; give it a place outside of {output}."
        raise AutoMedSAMError(message)
    import_av()
    check_writable(overlay, [source])


def write_video_result(
    clip: Clip,
    segmentation: Segmentation,
    gray: NDArray[np.uint8],
    output: Path,
    overlay: Path | None,
    progress: ProgressCallback = lambda things, total: things,
) -> None:
    """Writes the masks and, if one is wanted, the overlay: both, or neither.

    Args:
        clip: what was segmented.
        segmentation: what was found in it.
        gray: `(N, h, w)` as the network saw it, shown where the clip has more than 8 bits.
        output: a folder, for one PNG a frame of its size, named by the frame's number in the source with six digits
            or more (0 and 255 for a single segment, else the labels' values); or a label map's file.
        overlay: an mp4 of the same size and frame rate.
        progress: is given what is written one by one, with its number, to show that something happens.

    Raises:
        AutoMedSAMError: if a file cannot be written, or the video not be read again.
    """
    with ExitStack() as stack:
        if overlay is not None:
            unfinished = stack.enter_context(atomic_write(overlay, [clip.source.path]))
            frames = _drawn(clip, segmentation.labels, segmentation.segments, gray)
            write_video(progress(frames, len(clip)), clip.source.rate, unfinished)
        if not is_mask_folder(output):
            write_segmentation(segmentation, output)
            return
        folder = stack.enter_context(atomic_folder(output, [clip.source.path]))
        for index, labels in enumerate(progress(segmentation.labels, len(clip)), clip.first):
            write_verified(mask_image(labels, segmentation.segments), folder / f"{index:06d}{PICTURE_SUFFIX}")


def write_video(pictures: Iterable[Picture], rate: Fraction, path: Path) -> None:
    """Writes H.264 in mp4; where FFmpeg was built without its encoder, MPEG-4.

    Args:
        pictures: RGB `(h, w, 3)`, all of one size. Where a side is odd, colours are kept for each pixel, since the
            usual halving of their resolution leaves no odd sizes.
        rate: frames a second.
        path: an existing file to write to.

    Raises:
        AutoMedSAMError: if PyAV is missing.
        OSError: if it cannot be written.
    """
    av = import_av()
    rate = rate.limit_denominator(_FINEST_RATE)
    with _as_os_errors(av), av.open(f"file:{path}", "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = None
        for index, picture in enumerate(pictures):
            if stream is None:
                stream = _add_stream(av, container, picture.shape[:2], rate)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))


def _add_stream(av: Any, container: Any, size: tuple[int, ...], rate: Fraction) -> Any:
    height, width = size
    h264 = "libx264" in av.codecs_available
    stream = container.add_stream("libx264" if h264 else "mpeg4", rate=rate)
    stream.width, stream.height = width, height
    stream.pix_fmt = "yuv444p" if h264 and (height % 2 or width % 2) else "yuv420p"
    # A thin line should be seen and keep its colour to itself: quicker presets smear it over its neighbours.
    stream.options = {"crf": "12", "preset": "fast"} if h264 else {"qscale": "2"}
    return stream


@contextmanager
def _as_os_errors(av: Any) -> Iterator[None]:
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


def _drawn(
    clip: Clip, labels: NDArray[np.generic], segments: Sequence[Segment], gray: NDArray[np.uint8]
) -> Iterator[Picture]:
    """The clip's frames with outlines."""
    count = 0
    for picture, seen, found in zip(clip.pictures(), gray, labels, strict=False):
        count += 1
        ground = picture if picture.dtype == np.uint8 else seen
        yield draw(ground, found, segments, min_width=_MIN_WIDTH)
    if count < len(clip):
        message = f"{clip.source.path} has changed while it was segmented; segment it again."
        raise AutoMedSAMError(message)
