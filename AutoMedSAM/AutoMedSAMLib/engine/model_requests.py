"""Asks the engine for the models that are installed, and to download, import and remove some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from AutoMedSAMLib.engine.client import EngineClient, PendingRequest, engine_stopped
from AutoMedSAMLib.model.run import Message


class TransferListener(Protocol):
    """Receives the progress of a download or an import; the last call is one of the last three."""

    def on_transfer(self, done: int, total: int | None) -> None:
        """`done` bytes of `total` are here; `total` is None if it is not known."""

    def on_installed(self, model: Message, notes: list[str]) -> None:
        """The model is installed; see `InstalledModelFields` of the protocol."""

    def on_stopped(self) -> None:
        """It was cancelled; what has arrived is kept."""

    def on_failed(self, message: str) -> None:
        """It failed, for the reason in this sentence."""


class ModelRequests:
    """One transfer at a time.

    Args:
        engine: the engine.
    """

    def __init__(self, engine: EngineClient) -> None:
        self._engine = engine
        self._transfer: PendingRequest | None = None

    def ask(self, done: Callable[[Message], None], failed: Callable[[str], None]) -> None:
        """Asks for the installed models; `done` is called with the protocol's "models" event."""
        self._engine.ask({"op": "models"}, done, failed)

    def remove(self, name: str, done: Callable[[int], None], failed: Callable[[str], None]) -> None:
        """Removes a model; `done` is called with the bytes that are free again."""
        self._engine.ask({"op": "remove", "name": name}, lambda event: done(event["freed"]), failed)

    def download(self, name: str, detector: str | None, listener: TransferListener) -> None:
        """Downloads a model of the catalog, whose terms the user has accepted."""
        self._start({"op": "download", "name": name, "detector": detector}, listener)

    def import_file(self, path: str, detector: str | None, listener: TransferListener) -> None:
        """Imports a bundle's zip file or a published checkpoint."""
        self._start({"op": "import", "path": path, "detector": detector}, listener)

    def cancel(self) -> None:
        """Stops the transfer within a second."""
        if self._transfer is not None:
            self._engine.cancel(self._transfer)

    def _start(self, message: Message, listener: TransferListener) -> None:
        def heard(event: Message) -> None:
            if event["event"] == "transfer":
                listener.on_transfer(event["done"], event["total"])
                return
            self._transfer = None
            match event["event"]:
                case "installed":
                    listener.on_installed(event["model"], event["notes"])
                case "cancelled":
                    listener.on_stopped()
                case _:
                    listener.on_failed(event["message"])

        def died(_: str) -> None:
            self._transfer = None
            listener.on_failed(engine_stopped())

        self._transfer = self._engine.send(message, heard, died)
