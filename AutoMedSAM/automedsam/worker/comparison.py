"""Answers a request to compare INT8 with FP32."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from automedsam.bundle import load_bundle
from automedsam.contract.backends import Backend
from automedsam.core.events import SliceDetected, SlicePropagated, SliceSegmented, Stage, StageStarted
from automedsam.core.ijk_boxes import IjkBoxConverter
from automedsam.pipeline.comparison import ComparisonRun
from automedsam.worker.channel import Send
from automedsam.worker.label_file import create_label_file
from automedsam.worker.messages import read_plane, read_volume, with_names

# About the parts of a run's time, for the progress bar.
_BEGINS = {"load": 0.0, Stage.DETECT.value: 0.1, Stage.SEGMENT.value: 0.4, "end": 1.0}
_NEXT = {"load": Stage.DETECT.value, Stage.DETECT.value: Stage.SEGMENT.value, Stage.SEGMENT.value: "end"}


def answer_comparison(request: Mapping[str, Any], send: Send, cancelled: threading.Event) -> None:
    """Compares, and sends how far it is.

    Args:
        request: a "compare" request that `check_request` has checked.
        send: sends an event.
        cancelled: set when it is no longer wanted.

    Raises:
        AutoMedSAMError: If the volume or the model is not what a comparison takes.
    """
    number = request["id"]
    bundle = load_bundle(request["model"])
    volume = with_names(read_volume(request["volume"]), request)
    plane = read_plane(request) or volume.default_plane(bundle.plane)
    slices = request.get("slices")
    threshold = request.get("threshold")
    run = ComparisonRun(
        volume,
        bundle,
        threshold=None if threshold is None else float(threshold),
        plane=plane,
        slices=None if slices is None else IjkBoxConverter(volume, plane).frame_range((slices[0], slices[1])),
        device=request.get("device", "auto"),
    )
    progress = _Progress(send, number)
    progress.enter(Backend.INT8, "load")
    for backend, event in run.events():
        match event:
            case StageStarted(stage, total):
                progress.enter(backend, stage.value, total)
            case SliceDetected() | SliceSegmented() | SlicePropagated():
                progress.count()
        if cancelled.is_set():
            send("cancelled", id=number, confidence=[])
            return
    comparison = run.result()
    labels = create_label_file(Path(request["difference"]), volume.shape)
    labels[:] = comparison.difference.labels
    send(
        "compared",
        id=number,
        reference=comparison.reference.value,
        rows=[asdict(row) for row in comparison.rows],
        segments=[{"value": s.value, "name": s.name, "color": s.color} for s in comparison.difference.segments],
    )


class _Progress:
    """How far the two runs are, each half of the whole."""

    def __init__(self, send: Send, number: int) -> None:
        self._send, self._number = send, number
        self.now = Backend.INT8
        self._stage, self._done, self._total = "load", 0, 0

    def enter(self, backend: Backend, stage: str, total: int = 0) -> None:
        self.now, self._stage, self._done, self._total = backend, stage, 0, total
        self._report()

    def count(self) -> None:
        self._done = min(self._done + 1, self._total)
        self._report()

    def _report(self) -> None:
        begin, end = _BEGINS[self._stage], _BEGINS[_NEXT[self._stage]]
        share = begin + (end - begin) * (self._done / self._total if self._total else 0.0)
        done = share / 2 if self.now is Backend.INT8 else 0.5 + share / 2
        self._send("comparing", id=self._number, backend=self.now.value, stage=self._stage, done=round(done, 4))
