"""The catalog of models that can be downloaded, `catalog.json`: read and checked field by field.

Standard library only, so that every side can use it. docs/models.md describes the format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from automedsam.contract.checks import (
    Fields,
    fail,
    integer,
    is_name,
    is_text,
    list_of,
    nullable,
    number,
    one_of,
    parse_object,
    range_of,
    shown,
)
from automedsam.contract.errors import AutoMedSAMError
from automedsam.contract.manifest import is_sha256
from automedsam.contract.planes import PLANES

CATALOG = Path(__file__).resolve().parents[1] / "bundles" / "catalog.json"
SCHEMA_VERSION = 1
CHECKPOINT, BUNDLE = "checkpoint", "bundle"

_MAX_BYTES = 16_000_000
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._+-]{0,62}[A-Za-z0-9+_-])?")
# Names that Windows gives to devices, with any ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,120}\.(pt|pth|zip)")


@dataclass(frozen=True)
class CatalogFile:
    """The file of a model.

    Attributes:
        name: The file's name.
        url: Its HTTPS address.
        bytes: Its exact size; None if it is not known.
        sha256: Its SHA-256 in hexadecimal digits; None if it is not known.
    """

    name: str
    url: str
    bytes: int | None
    sha256: str | None


@dataclass(frozen=True)
class CatalogModel:
    """A model that can be downloaded.

    Attributes:
        name: The short name that a user types.
        version: The version of the weights.
        kind: "checkpoint" for a published `.pt` file, "bundle" for a bundle's zip file.
        about: What it is, in a few words.
        labels: The names of the segments that it writes.
        modalities: What each input channel is, in order.
        window: The intensities that map to 0 and 255; None for each volume's percentiles.
        plane: The plane of the slices.
        network: For a checkpoint, the name of its network; else None.
        terms: The terms of the weights.
        page: The web page of the publisher.
        megabytes: The size of the download for display, in units of 10^6 bytes.
        file: What is downloaded.
    """

    name: str
    version: str
    kind: str
    about: str
    labels: tuple[str, ...]
    modalities: tuple[str, ...]
    window: tuple[float, float] | None
    plane: str
    network: str | None
    terms: str
    page: str
    megabytes: float
    file: CatalogFile

    @property
    def license(self) -> str:
        """The terms of the weights, under the name that a bundle has for them."""
        return self.terms

    def matches(self, text: str) -> bool:
        """Whether every word of a text begins a word of the name, the description, the labels or the inputs."""
        return matches(text, self.name, self.about, *self.labels, *self.modalities)


def read_catalog(path: Path = CATALOG, *, allow_loopback: bool = False) -> tuple[CatalogModel, ...]:
    """Reads and checks a catalog.

    Args:
        path: The JSON file.
        allow_loopback: Whether plain HTTP addresses of this computer itself are accepted; tests use them.

    Raises:
        AutoMedSAMError: If the file cannot be read, or a field is missing or wrong.
    """
    try:
        with path.open("rb") as file:
            catalog = parse_object(file.read(_MAX_BYTES))
        _CATALOG("", catalog)
        models = tuple(_model(entry) for entry in catalog["models"])
        for index, model in enumerate(models):
            where = f"models[{index}]"
            if not may_download_from(model.file.url, allow_loopback=allow_loopback):
                fail(f"{where}.file.url", f"{shown(model.file.url)} is not an https:// address")
            if (model.kind == CHECKPOINT) != (model.network is not None):
                fail(f"{where}.network", "a checkpoint names its network, and a bundle does not")
            if [other.name for other in models].count(model.name) > 1:
                fail(where, f"two models have the name {model.name}")
    except OSError as error:
        message = f"The catalog {path} cannot be read ({error.strerror}): install AutoMedSAM again."
        raise AutoMedSAMError(message) from error
    except ValueError as error:
        message = f"The catalog {path} is faulty ({error}): install AutoMedSAM again."
        raise AutoMedSAMError(message) from error
    return models


def matches(text: str, *searched: str) -> bool:
    """Whether every word of a text begins a word of the texts that are searched; upper and lower case are the same."""
    words = " ".join(searched).lower()
    return all(re.search(rf"(?<![a-z0-9]){re.escape(word)}", words) for word in text.lower().split())


def find_model(name: str, models: tuple[CatalogModel, ...]) -> CatalogModel:
    """A model of a catalog by its name.

    Raises:
        AutoMedSAMError: If there is none of this name.
    """
    for model in models:
        if model.name.lower() == name.lower():
            return model
    known = ", ".join(model.name for model in models)
    message = f"The catalog has no model {name:.200}: choose one of {known}."
    raise AutoMedSAMError(message)


def published_size(file_name: str) -> int | None:
    """The exact size in bytes of a published file of this name; None if it is not known."""
    return next((model.file.bytes for model in read_catalog() if model.file.name == file_name), None)


def may_download_from(url: str, *, allow_loopback: bool = False) -> bool:
    """Whether an address is HTTPS, or, where that is allowed, of this computer itself."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host) and parts.username is None
    return allow_loopback and parts.scheme == "http" and host in ("127.0.0.1", "localhost", "::1")


def is_model_name(name: str) -> bool:
    """Whether a model may have this name: letters, digits, `.`, `_`, `+`, `-`, and a folder's name everywhere."""
    return bool(_NAME.fullmatch(name)) and not _DEVICE.fullmatch(name)


def _model_name(where: str, value: Any) -> None:
    is_name(where, value)
    if not is_model_name(value):
        fail(where, f"{shown(value)} is not a model's name")


def _file_name(where: str, value: Any) -> None:
    is_name(where, value)
    if not _FILE_NAME.fullmatch(value):
        fail(where, f"{shown(value)} is not the name of a .pt, .pth or .zip file")


_CATALOG = Fields(
    {
        "schema": integer(SCHEMA_VERSION, SCHEMA_VERSION),
        "models": list_of(
            Fields(
                {
                    "name": _model_name,
                    "version": is_name,
                    "kind": one_of(CHECKPOINT, BUNDLE),
                    "about": is_name,
                    "labels": list_of(is_name, 1, 255),
                    "modalities": list_of(is_name, 1, 16),
                    "window": nullable(range_of(number(-1e6, 1e6))),
                    "plane": one_of(*PLANES),
                    "terms": is_text,
                    "page": is_name,
                    "megabytes": number(0, 1e6),
                    "file": Fields(
                        {
                            "name": _file_name,
                            "url": is_name,
                            "bytes": nullable(integer(1, 10**12)),
                            "sha256": nullable(is_sha256),
                        },
                        closed=True,
                    ),
                },
                {"network": nullable(is_name)},
            ),
            0,
            10_000,
        ),
    }
)


def _model(entry: dict[str, Any]) -> CatalogModel:
    window, file = entry["window"], entry["file"]
    return CatalogModel(
        name=entry["name"],
        version=entry["version"],
        kind=entry["kind"],
        about=entry["about"],
        labels=tuple(entry["labels"]),
        modalities=tuple(entry["modalities"]),
        window=None if window is None else (float(window[0]), float(window[1])),
        plane=entry["plane"],
        network=entry.get("network"),
        terms=entry["terms"],
        page=entry["page"],
        megabytes=float(entry["megabytes"]),
        file=CatalogFile(file["name"], file["url"], file["bytes"], file["sha256"]),
    )
