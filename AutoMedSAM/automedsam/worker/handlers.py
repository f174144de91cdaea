"""What the worker does for each request, and what it keeps warm between them: one loaded model and one run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from automedsam import __version__
from automedsam.bundle import Bundle, load_bundle
from automedsam.contract.backends import Backend
from automedsam.contract.checks import fail
from automedsam.contract.protocol import DEVICE_OF_INT8
from automedsam.contract.request_fields import check_request
from automedsam.core.boxes import Tracklet
from automedsam.core.events import (
    Event,
    Finished,
    SliceDetected,
    SlicePropagated,
    SliceSegmented,
    StageStarted,
    TrackletsLinked,
)
from automedsam.core.ijk_boxes import IjkBoxConverter
from automedsam.core.volume import Voxels
from automedsam.demo.phantom import phantom_head
from automedsam.errors import AutoMedSAMError
from automedsam.pipeline.backends import LoadedModel, load_model
from automedsam.pipeline.input_check import check_input
from automedsam.pipeline.int8_files import needs_int8
from automedsam.pipeline.run import SegmentationRun, check_threshold, link_frames
from automedsam.worker.channel import Send
from automedsam.worker.cohort_requests import answer_cohort_request, reopen
from automedsam.worker.comparison import answer_comparison
from automedsam.worker.int8_files import Int8Maker, MakingCancelledError
from automedsam.worker.label_file import create_label_file, reopen_label_file, write_mask_file
from automedsam.worker.messages import (
    MessageCodec,
    RunRequest,
    read_crops,
    read_grid,
    read_plane,
    read_volume,
    volume_fingerprint,
    with_names,
)
from automedsam.worker.model_requests import answer_model_request
from automedsam.worker.result_requests import answer_result_request

# What each backend needs beyond numpy, by the names that are imported.
_NEEDS = {
    Backend.INT8: ("onnxruntime", "scipy"),
    Backend.FP32_ONNX: ("onnxruntime", "scipy"),
    Backend.FP32_TORCH: ("onnxruntime", "scipy", "torch", "sam2"),
}


class RequestHandler:
    """Answers requests, one after the other.

    Args:
        send: sends an event.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._engine: tuple[object, LoadedModel] | None = None
        self._run: tuple[object, SegmentationRun] | None = None

    def answer(self, request: Mapping[str, Any], cancelled: threading.Event) -> None:
        """Works on a request to its last event.

        Args:
            request: what is asked.
            cancelled: set when it is no longer wanted.

        Raises:
            AutoMedSAMError: if the user can put right what is wrong.
            FieldError: if the request is none.
        """
        check_request(request)
        try:
            self._answer(request, cancelled)
        except MakingCancelledError:
            self._send("cancelled", id=request["id"], confidence=[], crops={})

    def _answer(self, request: Mapping[str, Any], cancelled: threading.Event) -> None:
        match request["op"]:
            case "segment":
                self._segment(request, cancelled)
            case "propagate":
                self._propagate(request, cancelled)
            case "preview":
                self._preview(request, cancelled)
            case "load" | "link" | "check" | "devices" | "phantom" as op:
                short = {
                    "load": self._load, "link": self._link, "check": self._check, "devices": self._devices,
                    "phantom": self._phantom,
                }  # fmt: skip
                short[op](request)
            case "compare":
                # Nothing is kept warm, so that each backend's memory is its own.
                self._engine = self._run = None
                answer_comparison(request, self._send, cancelled)
            case "models" | "download" | "import" | "remove":
                answer_model_request(request, self._send, cancelled)
            case "reopen":
                reopen(request, self._send)
            case "cohort" | "worklist" | "case" | "decide" | "save_case":
                # A cohort holds a model of its own.
                self._engine = self._run = None
                answer_cohort_request(request, self._send, cancelled)
            case "evaluate" | "export":
                answer_result_request(request, self._send, None if self._run is None else self._run[1])

    def _segment(self, request: Mapping[str, Any], cancelled: threading.Event) -> None:
        asked = RunRequest.read(request)
        bundle = load_bundle(asked.model)
        if not bundle.has_detector:
            raise AutoMedSAMError(bundle.no_detector_message)
        run = self._new_run(asked, Int8Maker(request["id"], self._send, cancelled))
        codec = MessageCodec(run.volume, run.plane)
        labels = create_label_file(Path(request["labels"]), run.volume.shape)
        self._execute(request, run, run.events(), codec, labels, cancelled)

    def _propagate(self, request: Mapping[str, Any], cancelled: threading.Event) -> None:
        asked = RunRequest.read(request)
        run = self._same_run(asked) or self._new_run(asked, Int8Maker(request["id"], self._send, cancelled))
        codec = MessageCodec(run.volume, run.plane)
        tracklets = _read_objects(request, run, codec)
        crops = read_crops(request, run.slices.shape[1:])
        path = Path(request["labels"])
        labels = reopen_label_file(path, run.volume.shape)
        if labels is None:
            labels = create_label_file(path, run.volume.shape)
        # The file holds what is shown now, whoever wrote it: this run, or one of a worker that is gone.
        run.resume_from(labels)
        self._execute(request, run, run.propagate(tracklets, crops), codec, labels, cancelled)

    def _preview(self, request: Mapping[str, Any], cancelled: threading.Event) -> None:
        began = time.perf_counter()
        if cancelled.is_set():
            self._send("cancelled", id=request["id"], confidence=[], crops={})
            return
        asked = RunRequest.read(request)
        run = self._same_run(asked) or self._new_run(asked)
        codec = MessageCodec(run.volume, run.plane)
        tracklet = _read_objects(request, run, codec)[0]
        frame, _ = codec.grid.frame_range((request["slice"], request["slice"]))
        crops = read_crops(request, run.slices.shape[1:])
        found = run.tracker.preview(run.engine.networks, tracklet, frame, cancelled.is_set, crops)
        if found is None or cancelled.is_set():
            self._send("cancelled", id=request["id"], confidence=[], crops={})
            return
        write_mask_file(Path(request["mask"]), codec.grid.volume_mask(found.mask))
        self._send(
            "preview",
            id=request["id"],
            slice=request["slice"],
            mask=request["mask"],
            area=int(np.count_nonzero(found.mask)),
            score=found.score,
            seconds=time.perf_counter() - began,
        )

    def _execute(
        self,
        request: Mapping[str, Any],
        run: SegmentationRun,
        events: Iterator[Event],
        codec: MessageCodec,
        labels: Voxels,
        cancelled: threading.Event,
    ) -> None:
        """Sends the events of a run, and keeps its labels up to date."""
        number = request["id"]
        shown = _on_frames(run, labels)
        first, last = (codec.grid.slice_index(frame) for frame in run.frames)
        self._send(
            "started",
            id=number,
            plane=run.plane.value,
            axis=codec.grid.axis,
            slices=sorted((first, last)),
            threshold=run.linking.threshold,
            device=run.engine.device,
            model={"name": run.bundle.name, "version": run.bundle.version, "hash": run.bundle.hash},
            engine=__version__,
            warnings=[asdict(one) for one in run.input_warnings],
        )
        done = total = 0
        for event in events:
            match event:
                case StageStarted(stage, total):
                    done = 0
                    self._send("stage", id=number, stage=stage.value, total=total)
                case SliceDetected(index, boxes):
                    done += 1
                    found = codec.boxes(index, boxes)
                    self._send("boxes", id=number, slice=codec.grid.slice_index(index), boxes=found, done=done)
                case TrackletsLinked(tracklets):
                    self._send("tracklets", id=number, tracklets=codec.tracklets(tracklets))
                case SliceSegmented(index, values):
                    shown[index] = values
                    done = min(done + 1, total)
                    self._send("slice", id=number, slice=codec.grid.slice_index(index), done=done)
                case SlicePropagated():
                    done = min(done + 1, total)
                    self._send("progress", id=number, done=done)
                case Finished(segmentation, report):
                    self._send(
                        "finished",
                        id=number,
                        report=asdict(report),
                        objects=_objects(run, codec),
                        provenance=segmentation.provenance,
                        tracklets=codec.tracklets(run.tracklets),
                        confidence=_confidence(run, codec.grid),
                        crops=run.crops,
                    )
                    return
            if cancelled.is_set():
                break
        self._send("cancelled", id=number, confidence=_confidence(run, codec.grid), crops=run.crops)

    def _link(self, request: Mapping[str, Any]) -> None:
        volume = read_grid(request["volume"])
        bundle = load_bundle(str(request["model"]))
        plane = read_plane(request) or volume.default_plane(bundle.plane)
        codec = MessageCodec(volume, plane)
        count = volume.shape[codec.grid.axis]
        frames = codec.grid.frame_range(request.get("slices") or (0, count - 1))
        detections: list[list[Any]] = [[] for _ in range(count)]
        for frame, box in codec.read_boxes(request["boxes"]).values():
            detections[frame].append(box)
        threshold = request.get("threshold")
        check_threshold(threshold)
        settings = bundle.linking if threshold is None else replace(bundle.linking, threshold=float(threshold))
        tracklets = link_frames(detections, volume.frame_spacing(plane)[0], settings, frames)
        self._send("tracklets", id=request["id"], tracklets=codec.tracklets(tracklets))

    def _check(self, request: Mapping[str, Any]) -> None:
        bundle = load_bundle(request["model"])
        volume = with_names(read_volume(request["volume"]), request)
        self._send("checked", id=request["id"], warnings=[asdict(one) for one in check_input(volume, bundle)])

    def _load(self, request: Mapping[str, Any]) -> None:
        bundle = load_bundle(request["model"])
        backend = Backend(request.get("backend", Backend.INT8.value))
        model = self._warm_engine(bundle, backend, request.get("device", "auto"))
        self._send("loaded", id=request["id"], device=model.device)

    def _devices(self, request: Mapping[str, Any]) -> None:
        backend = Backend(request.get("backend", Backend.INT8.value))
        missing = [name for name in _NEEDS[backend] if find_spec(name) is None]
        if backend is not Backend.FP32_TORCH:
            device = DEVICE_OF_INT8 if backend is Backend.INT8 else "CPU: FP32 on ONNX Runtime"
        elif missing:
            device = f"FP32 needs {' and '.join(missing)}, which this Python lacks"
        else:
            from automedsam.sam2.torch_networks import choose_device

            _, device = choose_device("auto")
        self._send("devices", id=request["id"], device=device, missing=missing)

    def _phantom(self, request: Mapping[str, Any]) -> None:
        volume, _ = phantom_head()
        path = str(request["path"])
        try:
            with open(path, "wb") as file:
                np.save(file, volume.array, allow_pickle=False)
        except OSError as error:
            message = f"The phantom cannot be written to {path} ({error.strerror or error}): make room there."
            raise AutoMedSAMError(message) from error
        fields = {"spacing": volume.spacing, "origin": volume.origin, "direction": volume.direction}
        self._send("phantom", id=request["id"], volume={"path": path, "name": volume.name, **fields})

    def _new_run(self, asked: RunRequest, int8: Int8Maker | None = None) -> SegmentationRun:
        # The last run's memory is given back before the next takes its own.
        self._run = None
        bundle = load_bundle(asked.model)
        volume = replace(read_volume(asked.volume), described=asked.names)
        plane = asked.plane or volume.default_plane(bundle.plane)
        through = partial(
            SegmentationRun,
            volume,
            backend=asked.backend,
            threshold=asked.threshold,
            plane=plane,
            device=asked.device,
            slices=None if asked.slices is None else IjkBoxConverter(volume, plane).frame_range(asked.slices),
        )
        if needs_int8(bundle, asked.backend):
            if int8 is None:
                # Of a preview, which each click supersedes.
                raise AutoMedSAMError(_no_int8_yet(bundle))
            self._engine = None
            bundle = int8.make(through(bundle))
        run = through(bundle, engine=self._warm_engine(bundle, asked.backend, asked.device))
        # The grey levels have been taken from it; a mapped file could not be removed on Windows.
        run.release_voxels()
        self._run = _run_key(asked, bundle), run
        return run

    def _same_run(self, asked: RunRequest) -> SegmentationRun | None:
        """The last run, if it was of the same voxels and settings; objects are compared one by one later.

        A plane or slices that are left out are the same as those that they stand for.
        """
        bundle = load_bundle(asked.model)
        if self._run is None or self._run[0] != _run_key(asked, bundle):
            return None
        run = self._run[1]
        plane = asked.plane or run.volume.default_plane(bundle.plane)
        whole = (0, len(run.slices) - 1)
        frames = whole if asked.slices is None else IjkBoxConverter(run.volume, plane).frame_range(asked.slices)
        return run if (plane, frames) == (run.plane, run.frames) else None

    def _warm_engine(self, bundle: Bundle, backend: Backend, device: str) -> LoadedModel:
        key = bundle.folder.resolve(), bundle.hash, backend, device
        if self._engine is None or self._engine[0] != key:
            self._engine = None
            self._engine = key, load_model(bundle, backend, device)
        return self._engine[1]


def _read_objects(request: Mapping[str, Any], run: SegmentationRun, codec: MessageCodec) -> list[Tracklet]:
    """The objects of "propagate" and "preview".

    Raises:
        AutoMedSAMError: If a prompt does not lie in the volume.
        FieldError: If the model has no such label.
    """
    tracklets = codec.read_tracklets(request.get("tracklets", []), codec.read_boxes(request.get("boxes", [])))
    known = {segment.value for segment in run.bundle.segments}
    for tracklet in tracklets:
        if tracklet.label not in known:
            fail("tracklets", f"the model {run.bundle.name} has no label {tracklet.label}")
    return tracklets


def _run_key(asked: RunRequest, bundle: Bundle) -> object:
    """What a run's masks depend on, its plane, slices and objects apart."""
    return volume_fingerprint(asked.volume), bundle.folder.resolve(), bundle.hash, asked.backend, asked.device


def _no_int8_yet(bundle: Bundle) -> str:
    return (
        f"The model {bundle.name} has no INT8 files yet: its first run makes them. Propagate once, or choose FP32; "
        "then each click shows its mask."
    )


def _on_frames(run: SegmentationRun, labels: Voxels) -> Voxels:
    """A view `(N, H, W)` of labels `(K, J, I)`, through which they may be written."""
    frames: Voxels = replace(run.volume, array=labels).to_frames(run.plane)[0]
    return frames


def _objects(run: SegmentationRun, codec: MessageCodec) -> list[dict[str, Any]]:
    boxes = [one["boxes"] for one in codec.tracklets(run.tracklets)]
    return [one.as_fields() | ({} if one.number is None else {"boxes": boxes[one.number - 1]}) for one in run.measure()]


def _confidence(run: SegmentationRun, grid: IjkBoxConverter) -> list[dict[str, Any]]:
    judged = [
        {"slice": grid.slice_index(one.index), "confidence": one.confidence, "reason": one.reason}
        for one in run.confidence()
    ]
    return sorted(judged, key=lambda one: one["slice"])
