"""The messages of `protocol` about models: which there are, downloads, imports and removals."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict


class ModelsRequest(TypedDict):
    """Ask which models are installed and which can be downloaded. Answered by models."""

    op: Literal["models"]
    id: int


class DownloadRequest(TypedDict):
    """Download a model of the catalog, whose terms the user has accepted.

    `detector` names the model whose detector a published checkpoint gets. Answered by transfer, then installed, or
    cancelled, which keeps what has arrived for the next download.
    """

    op: Literal["download"]
    id: int
    name: str
    detector: NotRequired[str | None]


class ImportRequest(TypedDict):
    """Import a bundle's zip file or a published checkpoint. Answered by transfer, then installed or cancelled."""

    op: Literal["import"]
    id: int
    path: str
    name: NotRequired[str | None]
    detector: NotRequired[str | None]


class RemoveRequest(TypedDict):
    """Remove a downloaded or imported model, or what is left of a download. Answered by removed."""

    op: Literal["remove"]
    id: int
    name: str


class InstalledModelFields(TypedDict):
    """A downloaded or imported model: its folder is that of its manifest."""

    name: str
    version: str
    folder: str
    bytes: int


class ModelsEvent(TypedDict):
    """The installed models.

    `folder` is that of models, empty if it is not known yet. `faulty` has a sentence for each model that cannot be
    used, `unfinished` the bytes that are here of each download that was stopped.

    What can be downloaded is in the catalog, see `automedsam.contract.catalog`.
    """

    event: Literal["models"]
    id: int
    folder: str
    installed: list[InstalledModelFields]
    faulty: dict[str, str]
    unfinished: dict[str, int]


class TransferEvent(TypedDict):
    """The bytes that are here, and all bytes, None if they are not known."""

    event: Literal["transfer"]
    id: int
    done: int
    total: int | None


class InstalledEvent(TypedDict):
    """A model was installed; `notes` are sentences for the user."""

    event: Literal["installed"]
    id: int
    model: InstalledModelFields
    notes: list[str]


class RemovedEvent(TypedDict):
    """A model was removed; `freed` bytes are free again."""

    event: Literal["removed"]
    id: int
    freed: int
