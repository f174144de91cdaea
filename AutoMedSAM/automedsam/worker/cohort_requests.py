"""Requests about cohorts: run one in this process, list and open its cases, and save what a person decides."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from automedsam import __version__
from automedsam.bundle import Bundle, load_bundle
from automedsam.cohort.inputs import find_cases
from automedsam.cohort.lock import holder_of
from automedsam.cohort.output_folder import OutputFolder
from automedsam.cohort.pool import InProcess, Pool
from automedsam.cohort.session import Watch, check_model, segment_cases
from automedsam.cohort.settings import CohortSettings
from automedsam.cohort.worker import CaseWorker, Record
from automedsam.contract.backends import Backend
from automedsam.core.segmentation import Segment
from automedsam.core.volume import Plane, Volume
from automedsam.errors import AutoMedSAMError
from automedsam.pipeline.run import check_threshold
from automedsam.review.results import Results
from automedsam.review.stored_case import StoredCase, open_case, save_case
from automedsam.worker.channel import Send
from automedsam.worker.label_file import create_label_file
from automedsam.worker.messages import MessageCodec, read_volume

_GRAY = (0.5, 0.5, 0.5)


def answer_cohort_request(request: Mapping[str, Any], send: Send, cancelled: threading.Event) -> None:
    """Works on a request about a cohort to its last event.

    Args:
        request: "cohort", "worklist", "case", "decide" or "save_case" of the protocol, checked.
        send: Sends an event.
        cancelled: Set when the request is no longer wanted.

    Raises:
        AutoMedSAMError: If the user can correct what is wrong.
    """
    match request["op"]:
        case "cohort":
            _run(request, send, cancelled)
        case "worklist":
            listed = Results(Path(request["folder"])).summary()
            send("worklist", id=request["id"], title=listed["title"], model=listed["model"], cases=listed["cases"])
        case "case":
            _write_image(request, send)
        case "decide":
            results = Results(Path(request["folder"]))
            send("decided", id=request["id"], case=_decide(results, request, request["decision"]))
        case "save_case":
            _save(request, send)


def reopen(request: Mapping[str, Any], send: Send) -> None:
    """Sends the events of the run that made a stored result, and writes its labels; nothing is computed.

    Raises:
        AutoMedSAMError: If a file is missing, or the volume is not that of the case.
    """
    number = request["id"]
    case = open_case(Path(request["folder"]), request["case"])
    bundle = case.settings.bundle()
    volume = read_volume(request["volume"])
    if not volume.same_grid(case.result.volume):
        message = f"The volume is not the image of {case.name}: open the case again."
        raise AutoMedSAMError(message)
    codec = MessageCodec(volume, case.result.plane)
    labels = create_label_file(Path(request["labels"]), volume.shape)
    labels[...] = case.result.labels
    count = volume.shape[codec.grid.axis]
    send(
        "started",
        id=number,
        plane=case.result.plane.value,
        axis=codec.grid.axis,
        slices=[0, count - 1],
        threshold=bundle.linking.threshold if case.settings.threshold is None else case.settings.threshold,
        device="",
        model={"name": bundle.name, "version": bundle.version, "hash": bundle.hash},
        engine=__version__,
        warnings=[{"code": "", "sentence": sentence} for sentence in case.record.get("warnings", [])],
    )
    boxes = [(frame, box) for tracklet in case.tracklets for frame, box in tracklet.boxes.items()]
    for done, (frame, box) in enumerate(boxes, start=1):
        send("boxes", id=number, slice=codec.grid.slice_index(frame), boxes=codec.boxes(frame, [box]), done=done)
    tracklets = codec.tracklets(case.tracklets)
    send("tracklets", id=number, tracklets=tracklets)
    send(
        "finished",
        id=number,
        report=_report(case, count),
        objects=[],
        provenance=case.result.provenance,
        tracklets=tracklets,
        confidence=_confidence(case, codec),
        crops={},
    )


def _report(case: StoredCase, count: int) -> dict[str, Any]:
    figures = case.record["figures"]
    return {
        "seconds": {},
        "slices": count,
        "segmented_slices": len(case.confidence),
        "objects": figures["objects"],
        "volume_ml": figures["volume_ml"],
        "peak_memory_mb": figures.get("peak_memory_mb", 0),
        "device": "",
    }


def _confidence(case: StoredCase, codec: MessageCodec) -> list[dict[str, Any]]:
    found = [
        {"slice": codec.grid.slice_index(frame), "confidence": share, "reason": reason}
        for frame, share, reason in case.confidence
    ]
    return sorted(found, key=lambda one: one["slice"])


def _run(request: Mapping[str, Any], send: Send, cancelled: threading.Event) -> None:
    number, threshold, plane = request["id"], request.get("threshold"), request.get("plane")
    backend = Backend(request.get("backend", Backend.INT8.value))
    check_threshold(threshold)
    bundle = load_bundle(request["model"])
    check_model(bundle, backend)
    settings = CohortSettings.of(
        bundle, request["model"], backend=backend, threshold=threshold, plane=None if plane is None else Plane(plane)
    )
    folder = OutputFolder(Path(request["folder"]).absolute())
    cases = find_cases(request["input"], bundle.modalities, folder.path, [])

    @contextmanager
    def opened(settings: CohortSettings, folder: OutputFolder, count: int) -> Iterator[tuple[Pool, Watch]]:
        worker = CaseWorker(settings.to_json(), str(folder.path))
        if reason := worker.prepare(__version__, holder_of(folder.path)):
            raise AutoMedSAMError(reason)
        done = 0

        def watch(record: Record) -> None:
            nonlocal done
            done += 1
            send("case_done", id=number, case=record["case"], message=record["message"], done=done, total=count)
            if cancelled.is_set():
                # As Ctrl-C on the command line: what is finished stays.
                raise KeyboardInterrupt

        yield InProcess(worker), watch

    finished = segment_cases(request["input"], cases, bundle, settings, folder, opened)
    send(
        "cohort",
        id=number,
        folder=str(folder.path),
        count=finished.count,
        done=finished.earlier + finished.outcome.done,
        failed=[list(one) for one in finished.outcome.failed],
        stopped=finished.outcome.is_stopped,
    )


def _write_image(request: Mapping[str, Any], send: Send) -> None:
    case = open_case(Path(request["folder"]), request["case"])
    bundle = case.settings.bundle()
    volume = case.image(bundle)
    if not volume.same_grid(case.result.volume):
        message = f"The image of {case.name} was replaced by one on another grid: run the cohort again."
        raise AutoMedSAMError(message)
    into = Path(request["into"])
    channels = volume.array if volume.array.ndim == 4 else volume.array[np.newaxis]
    grid = {"spacing": volume.spacing, "origin": volume.origin, "direction": volume.direction}
    written = []
    for index, channel in enumerate(channels):
        path = into / f"image-{index}.npy"
        try:
            np.save(path, np.ascontiguousarray(channel), allow_pickle=False)
        except OSError as error:
            message = f"The image cannot be written to {into} ({error.strerror or error}): make room there."
            raise AutoMedSAMError(message) from error
        name = case.name if len(channels) == 1 else f"{case.name} {_modality(bundle, index)}"
        written.append({"path": str(path), "name": name, **grid})
    send(
        "case",
        id=request["id"],
        case=case.name,
        model=case.settings.model,
        backend=case.settings.backend,
        volumes=written,
    )


def _modality(bundle: Bundle, index: int) -> str:
    return bundle.modalities[index] if index < len(bundle.modalities) else str(index + 1)


def _decide(results: Results, request: Mapping[str, Any], decision: str) -> dict[str, Any]:
    try:
        return results.decide(request["case"], decision, request.get("note", ""))
    except KeyError as error:
        message = f"{request['folder']} has no case {request['case']}: open the folder again."
        raise AutoMedSAMError(message) from error


def _save(request: Mapping[str, Any], send: Send) -> None:
    folder, labels = Path(request["folder"]), read_volume(request["labels"])
    if labels.array.ndim != 3 or labels.array.dtype != np.uint8:
        message = "The labels are no label map: save the case again."
        raise AutoMedSAMError(message)
    save_case(folder, request["case"], _whole(labels), [_segment(one) for one in request["segments"]])
    send("decided", id=request["id"], case=_decide(Results(folder), request, "accept"))


def _whole(labels: Volume) -> Volume:
    """The labels in memory: the mapped file may go."""
    return replace(labels, array=np.array(labels.array))


def _segment(fields: Mapping[str, Any]) -> Segment:
    red, green, blue = fields.get("color") or _GRAY
    return Segment(fields["value"], fields["name"], (red, green, blue), fields.get("terminology", ""))
