"""`automedsam segment`: files in, a segmentation file out, and what happened on the terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import typer
from rich.console import Console

from automedsam.bundle import load_bundle
from automedsam.cli import terms
from automedsam.cli.console import RunProgress, report_table
from automedsam.cli.image_output import check_picture_overlay, write_image_result
from automedsam.cli.measure import write_table
from automedsam.cli.terminal import STOPPED, say
from automedsam.contract.backends import Backend
from automedsam.core.boxes import Tracklet
from automedsam.core.events import Finished, RunReport, SliceSegmented
from automedsam.core.memory import peak_memory_mb
from automedsam.core.segmentation import Segmentation, segment_masks
from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import check_writable
from automedsam.io.image_reader import is_image_file
from automedsam.io.role_reader import InputImage, files_of, parse_input, read_modalities
from automedsam.io.segmentation_writer import check_output, write_segmentation
from automedsam.io.volume_reader import is_dicom
from automedsam.pipeline.int8_files import make_int8, needs_int8
from automedsam.pipeline.prompt_file import read_prompts
from automedsam.pipeline.run import SegmentationRun, check_prompted
from automedsam.video.clip import FRAME_PLANE, open_frames, parse_frames, read_clip
from automedsam.video.video_writer import check_video_output, write_video_result


def segment_files(
    inputs: list[Path],
    output: Path,
    *,
    model: str,
    backend: Backend,
    threshold: float | None,
    plane: Plane | None,
    device: str,
    overlay: Path | None = None,
    frames: str | None = None,
    series: int | None = None,
    prompts: Path | None = None,
    table: Path | None = None,
    seg_type: str = "binary",
) -> None:
    """Segments what is in the files and writes it; see `automedsam.pipeline.run.SegmentationRun` for the options.

    A run that is stopped with Ctrl-C is written as far as it went, and ends with exit code 130. Stopped before the
    first slice is segmented, it writes nothing, and an older result stays.

    Args:
        inputs: the modalities of a volume or an image, each as a path or as ROLE=PATH; or one video (see
            `automedsam.video.clip.open_frames`).
        output: a file, or for a video a folder.
        model: a bundle's name or folder.
        backend: what computes.
        threshold: the confidence from which an object is accepted.
        plane: of the slices of a volume.
        device: where the FP32 backend computes.
        overlay: a picture or a video to draw what was found on.
        frames: which frames of a video, as `FIRST:LAST`.
        series: which volume of a DICOM folder that holds several, from 1.
        prompts: a file of objects to segment instead of what is detected, see `automedsam.pipeline.prompt_file`.
        table: a CSV file for the measures of the objects of a volume.
        seg_type: "binary" or "labelmap", for DICOM SEG.

    Raises:
        AutoMedSAMError: If an input, an option or the output is not what it should be; nothing is written.
        KeyboardInterrupt: If it is stopped before anything is finished.
    """
    check_prompted(prompts, threshold)
    images = [parse_input(one) for one in inputs]
    inputs = [one.path for one in images]
    source = next((found for found in map(open_frames, inputs) if found is not None), None)
    if source is None:
        if frames is not None:
            message = f"--frames selects frames of a video, but {inputs[0]} is not a video: omit --frames."
            raise AutoMedSAMError(message)
        _segment_volume(
            images, output, overlay, model, backend, threshold, plane, device, series, prompts, table, seg_type
        )
        return
    if table is not None:
        message = f"--table measures volumes, but {source.path} is a video: omit --table."
        raise AutoMedSAMError(message)
    if len(inputs) > 1:
        message = f"{source.path} is a video, which must be the only input: run each video separately."
        raise AutoMedSAMError(message)
    if series is not None:
        message = f"--series selects a volume of a DICOM folder, but {source.path} is a video: omit --series."
        raise AutoMedSAMError(message)
    if plane is not None:
        message = f"--plane applies to volumes, but {source.path} is a video: omit --plane."
        raise AutoMedSAMError(message)
    wanted = None if frames is None else parse_frames(frames)
    check_video_output(output, overlay, source.path)
    bundle = load_bundle(model)
    terms.ask(bundle)
    with RunProgress() as progress:
        clip = read_clip(source, wanted, lambda found, total: progress.track("Reading", found, total))
        run = SegmentationRun(
            clip.volume, bundle, backend=backend, threshold=threshold, plane=FRAME_PLANE, device=device
        )
        objects = (
            None if prompts is None else read_prompts(prompts, run.volume, bundle, run.plane, first_slice=clip.first)
        )
        report, finished = _execute(run, progress, objects)
        _say_remarks(run)
        result = run.result()
        result.provenance |= clip.provenance
        write_video_result(
            clip,
            result,
            run.slices,
            output,
            overlay,
            lambda things, total: progress.track("Writing", things, total),
        )
    found = {f"Frames with {name}": f"{int(mask.any((1, 2)).sum())}" for name, mask in _masks(result)}
    _print_summary(run, report, finished, output, overlay, found, "frame")


def _segment_volume(
    images: list[InputImage],
    output: Path,
    overlay: Path | None,
    model: str,
    backend: Backend,
    threshold: float | None,
    plane: Plane | None,
    device: str,
    series: int | None,
    prompts: Path | None,
    table: Path | None,
    seg_type: str,
) -> None:
    """A volume, or a single image, which is a volume of one slice."""
    inputs, kept = [one.path for one in images], files_of(images)
    check_output(output, inputs=kept)
    if overlay is not None:
        # Whether DICOM files hold a single image is known once they are read.
        _check_overlay(all(is_image_file(path) or is_dicom(path) for path in inputs))
        check_picture_overlay(overlay, output, kept)
    bundle = load_bundle(model)
    volume = read_modalities(images, bundle.roles, bundle.name, series=series)
    picture = volume.shape[0] == 1
    if picture and table is not None:
        message = "--table measures volumes, and this is a single image: omit --table."
        raise AutoMedSAMError(message)
    if overlay is not None:
        _check_overlay(picture)
    check_output(output, volume, kept)
    if table is not None:
        check_writable(table, [*kept, output])
    run = SegmentationRun(volume, bundle, backend=backend, threshold=threshold, plane=plane, device=device)
    objects = None if prompts is None else read_prompts(prompts, volume, bundle, run.plane)
    terms.ask(bundle)
    with RunProgress() as progress:
        report, finished = _execute(run, progress, objects)
    _say_remarks(run)
    result = run.result()
    found = None
    if picture:
        write_image_result(run, result, output, overlay, inputs)
        found = {
            f"Area of {name}": f"{np.count_nonzero(mask)} pixels ({mask.mean():.2%})" for name, mask in _masks(result)
        }
    else:
        numbers = run.object_numbers()
        result.objects = numbers
        write_segmentation(result, output, seg_type=seg_type)
        if table is not None:
            write_table(run.measure(numbers), table)
    _print_summary(run, report, finished, output, overlay, found, "slice")


def _say_remarks(run: SegmentationRun) -> None:
    """Notes and warnings, once nothing can refuse the run: what is refused ends in one sentence."""
    say(*run.volume.notes, *(warning.sentence for warning in run.input_warnings))


def _check_overlay(picture: bool) -> None:
    if not picture:
        message = "--overlay draws on single images and videos only: open the segmentation of a volume in 3D Slicer."
        raise AutoMedSAMError(message)


def _execute(
    run: SegmentationRun, progress: RunProgress, objects: list[Tracklet] | None
) -> tuple[RunReport | None, int]:
    """Runs to the end, or to Ctrl-C; gives the report, or None, and how many slices were segmented."""
    if needs_int8(run.bundle, run.backend):
        if objects is None and not run.bundle.has_detector:
            raise AutoMedSAMError(run.bundle.no_detector_message)
        say(f"{run.bundle.name} has no INT8 files yet: they are made now, once.")
        run.bundle = make_int8(run.bundle, run.channels, progress.quantize)
    report: RunReport | None = None
    finished: set[int] = set()
    try:
        for event in run.events() if objects is None else run.propagate(objects):
            progress.show(event)
            if isinstance(event, SliceSegmented):
                finished.add(event.index)
            elif isinstance(event, Finished):
                report = event.report
    except KeyboardInterrupt:
        if not finished:
            raise
        report = None
    return report, len(finished)


def _print_summary(
    run: SegmentationRun,
    report: RunReport | None,
    finished: int,
    output: Path,
    overlay: Path | None,
    found: dict[str, str] | None,
    unit: str,
) -> None:
    """The end of a run on the terminal."""
    line = terms.notice(run.bundle)
    if report is None:
        say(*filter(None, [line]), f"Stopped: {output} contains the {finished} {unit}s that were segmented so far.")
        raise typer.Exit(STOPPED)
    written = [output] if overlay is None else [output, overlay]
    # Writing may have taken more memory than the run.
    report = replace(report, peak_memory_mb=peak_memory_mb())
    Console().print(report_table(report, *written, found=found, unit=f"{unit.capitalize()}s"))
    if line:
        say(line)
    if not report.objects:
        say(
            f"Nothing was found at a threshold of {run.linking.threshold:g}: {output} contains "
            f"{'empty masks' if unit == 'frame' else 'an empty segmentation'}. A lower --threshold finds more."
        )


def _masks(result: Segmentation) -> list[tuple[str, np.ndarray]]:
    return [(segment.name, mask) for segment, mask in segment_masks(result.labels, result.segments)]
