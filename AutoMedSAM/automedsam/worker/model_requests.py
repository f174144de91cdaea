"""Requests about models: which there are, downloads, imports and removals."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automedsam.bundle import Bundle, faulty_bundles, list_bundles
from automedsam.contract.catalog import find_model, read_catalog
from automedsam.errors import AutoMedSAMError
from automedsam.io.models_folder import models_folder
from automedsam.models.install import Installed, download_model, import_file
from automedsam.models.remove import remove_model, unfinished_downloads
from automedsam.worker.channel import Send

_SECONDS_BETWEEN_EVENTS = 0.1


class _CancelledError(Exception):
    """The transfer is no longer wanted."""


def answer_model_request(request: Mapping[str, Any], send: Send, cancelled: threading.Event) -> None:
    """Works on a request about models to its last event.

    Args:
        request: "models", "download", "import" or "remove" of the protocol, checked.
        send: Sends an event.
        cancelled: Set when the request is no longer wanted.

    Raises:
        AutoMedSAMError: If the user can correct what is wrong.
    """
    number = request["id"]
    match request["op"]:
        case "models":
            built_in = {bundle.folder for bundle in list_bundles(installed=False)}
            send(
                "models",
                id=number,
                folder=_folder(),
                installed=[_fields(bundle) for bundle in list_bundles() if bundle.folder not in built_in],
                faulty=faulty_bundles(),
                unfinished=unfinished_downloads(),
            )
        case "remove":
            send("removed", id=number, freed=remove_model(request["name"]))
        case _:
            try:
                installed = _transfer(request, _Progress(number, send, cancelled))
            except _CancelledError:
                send("cancelled", id=number, confidence=[], crops={})
                return
            send("installed", id=number, model=_fields(installed.bundle), notes=list(installed.notes))


class _Progress:
    """Sends the progress of a transfer, and ends it when it is cancelled."""

    def __init__(self, number: int, send: Send, cancelled: threading.Event) -> None:
        self._number, self._send, self._cancelled = number, send, cancelled
        self._sent = 0.0

    def __call__(self, done: int, total: int | None) -> None:
        if self._cancelled.is_set():
            raise _CancelledError
        now = time.monotonic()
        if done == total or now - self._sent >= _SECONDS_BETWEEN_EVENTS:
            self._sent = now
            self._send("transfer", id=self._number, done=done, total=total)


def _transfer(request: Mapping[str, Any], progress: _Progress) -> Installed:
    detector = request.get("detector")
    if request["op"] == "download":
        return download_model(find_model(request["name"], read_catalog()), progress, detector=detector)
    return import_file(Path(request["path"]), progress, name=request.get("name"), detector=detector)


def _folder() -> str:
    try:
        return str(models_folder())
    except AutoMedSAMError:
        # Before the first download platformdirs may be missing: then there are no models either.
        return ""


def _fields(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "version": bundle.version,
        "folder": str(bundle.folder),
        "bytes": bundle.size_bytes,
    }
