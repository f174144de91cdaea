"""Downloads: resumed where they stopped, checked by SHA-256, complete or not there at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automedsam.bundle import file_hash
from automedsam.contract.catalog import CatalogFile, may_download_from
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import write_error_message
from automedsam.io.file_lock import file_lock
from automedsam.io.models_folder import check_space
from automedsam.models.download_errors import connection_message, status_message

if TYPE_CHECKING:
    from requests import Response, Session

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and all bytes of the file, None if unknown; may raise to stop the download."""

# What a lost connection loses at most.
_CHUNK = 1 << 16
_CONNECT_SECONDS, _READ_SECONDS = 15, 60
# Lost connections in a row that brought nothing new.
_MAX_FAILURES = 4
_LOCK = "lock"
_OK, _PARTIAL, _BEYOND_END = 200, 206, 416


class ResumingDownloader:
    """A downloader for `pooch.retrieve` that continues a download that was stopped or cut off.

    Args:
        part: The unfinished file. A note beside it identifies the version of the server's file.
        resume_unverified: Whether to continue although the server gives no version (ETag) of the file: the caller
            has its SHA-256.
        progress: Called after each piece.
        allow_loopback: Whether plain HTTP addresses of this computer itself are accepted; tests use them.
        pause: Seconds to wait after a lost connection, doubled each time.

    Attributes:
        resumed: Whether the file was put together from more than one connection.
        stated_sha256: The SHA-256 that the server gives for the file; None if it gives none.
    """

    def __init__(
        self,
        part: Path,
        *,
        resume_unverified: bool,
        progress: Progress,
        allow_loopback: bool = False,
        pause: float = 1.0,
    ) -> None:
        self._part, self._note = part, part.with_name(part.name + ".json")
        self._resume_unverified, self._progress = resume_unverified, progress
        self._allow_loopback, self._pause = allow_loopback, pause
        self._received = 0
        self.resumed = False
        self.stated_sha256: str | None = None

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Downloads `url` to `output_file`.

        Raises:
            AutoMedSAMError: If the address is not allowed, cannot be reached or does not have the file.
            OSError: If the file cannot be written.
        """
        import requests

        failures, most = 0, self._size()
        while True:
            try:
                self._receive(url)
                break
            except requests.RequestException as error:
                failures = 0 if self._size() > most else failures + 1
                most = max(most, self._size())
                if not self._received or failures > _MAX_FAILURES:
                    raise AutoMedSAMError(connection_message(url, error, begun=self._received > 0)) from error
                time.sleep(self._pause * 2**failures)
        os.replace(self._part, output_file)
        self.discard()

    def discard(self) -> None:
        """Removes the unfinished file."""
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _receive(self, url: str) -> None:
        import requests

        with requests.Session() as session:
            response = self._open(session, url)
            if response.status_code == _BEYOND_END or (
                response.status_code == _PARTIAL and not _starts_at(response, self._size())
            ):
                # The unfinished file is not the beginning of the server's.
                response.close()
                self.discard()
                response = self._open(session, url)
            with response:
                self._save(response)

    def _open(self, session: Session, url: str) -> Response:
        headers = {"Accept-Encoding": "identity"}  # a packed answer cannot be continued
        here, etag = self._size(), self._etag(url)
        if here and (etag or self._resume_unverified):
            headers["Range"] = f"bytes={here}-"
            if etag:
                headers["If-Range"] = etag
        response = session.get(url, headers=headers, stream=True, timeout=(_CONNECT_SECONDS, _READ_SECONDS))
        addresses = [one.url for one in (*response.history, response)]
        if not all(may_download_from(one, allow_loopback=self._allow_loopback) for one in addresses):
            response.close()
            message = f"{url} leads to {addresses[-1]:.200}, which is not an https:// address: nothing was downloaded."
            raise AutoMedSAMError(message)
        if response.status_code not in (_OK, _PARTIAL, _BEYOND_END) or ("Range" not in headers and not response.ok):
            response.close()
            raise AutoMedSAMError(status_message(url, response.status_code))
        self.stated_sha256 = _stated_sha256(response)
        return response

    def _save(self, response: Response) -> None:
        import requests

        continued = response.status_code == _PARTIAL
        here = self._size() if continued else 0
        self.resumed = self.resumed or continued
        rest = response.headers.get("Content-Length", "")
        total = here + int(rest) if rest.isdigit() and "Content-Encoding" not in response.headers else None
        if total is not None:
            check_space(self._part.parent, total - here)
        if not continued:
            self.discard()
            self._remember(response)
        with self._part.open("ab") as file:
            self._progress(here, total)
            for piece in response.iter_content(_CHUNK):
                file.write(piece)
                here += len(piece)
                self._received += len(piece)
                self._progress(here, total)
        if total is not None and here != total:
            message = f"the connection was closed after {here:,} of {total:,} bytes"
            raise requests.exceptions.ChunkedEncodingError(message)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _etag(self, url: str) -> str | None:
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        etag = note.get("etag") if isinstance(note, dict) and note.get("url") == url else None
        return etag if isinstance(etag, str) else None

    def _remember(self, response: Response) -> None:
        etag = response.headers.get("ETag", "")
        url = response.history[0].url if response.history else response.url
        # Only a strong ETag stands for the same bytes.
        self._note.write_text(json.dumps({"url": url, "etag": etag if etag.startswith('"') else None}), "utf-8")


def download(
    file: CatalogFile,
    folder: Path,
    progress: Progress,
    *,
    allow_loopback: bool = False,
    pause: float = 1.0,
) -> Path:
    """Downloads a file, or continues where an earlier download stopped.

    A download that is stopped by an exception of `progress`, or by Ctrl-C, leaves the unfinished file for the next
    call. A file of the wrong SHA-256 is removed.

    Args:
        file: What to download. Without a SHA-256, the file is checked against the one that the server states, if any.
        folder: Where to put it; made if it does not exist.
        progress: Called after each piece.
        allow_loopback: Whether plain HTTP addresses of this computer itself are accepted; tests use them.
        pause: Seconds to wait after a lost connection, doubled each time.

    Returns:
        The complete file in `folder`.

    Raises:
        AutoMedSAMError: If the file cannot be downloaded or written, or is not the one that the catalog names.
    """
    if not may_download_from(file.url, allow_loopback=allow_loopback):
        message = f"{file.url:.200} is not an https:// address: nothing was downloaded."
        raise AutoMedSAMError(message)
    pooch = _import_pooch()
    downloader = ResumingDownloader(
        unfinished_file(file, folder),
        resume_unverified=file.sha256 is not None,
        progress=progress,
        allow_loopback=allow_loopback,
        pause=pause,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if file.bytes is not None and not unfinished_file(file, folder).exists():
            check_space(folder, file.bytes)
        with file_lock(folder / _LOCK, f"downloading {file.name}"):
            return _retrieve(pooch, file, folder, downloader)
    except OSError as error:
        with suppress(OSError):
            downloader.discard()  # a full disk stops other programs as well
        raise AutoMedSAMError(write_error_message(folder / file.name, error)) from error
    finally:
        _remove_if_empty(folder)


def unfinished_file(file: CatalogFile, folder: Path) -> Path:
    """Where the beginning of a file lies while it is downloaded to a folder."""
    return folder / f"{file.name}.part"


def _retrieve(pooch: Any, file: CatalogFile, folder: Path, downloader: ResumingDownloader) -> Path:
    known = None if file.sha256 is None else f"sha256:{file.sha256}"
    (folder / file.name).unlink(missing_ok=True)
    while True:
        try:
            path = Path(pooch.retrieve(file.url, known_hash=known, fname=file.name, path=folder, downloader=downloader))
        except ValueError as error:  # pooch's for another hash; it has removed the file
            if downloader.resumed:
                # The beginning may have been of another file: once more from the start.
                downloader.resumed = False
                continue
            message = (
                f"The file from {file.url} is not the one that the catalog names (another SHA-256), and was removed: "
                "try again. If it stays so, a proxy changes what you download, or the publisher replaced the file."
            )
            raise AutoMedSAMError(message) from error
        stated = downloader.stated_sha256
        if known is None and stated is not None and file_hash(path) != stated:
            path.unlink()
            message = f"The file from {file.url} was damaged on the way (another SHA-256 than stated): try again."
            raise AutoMedSAMError(message)
        return path


def _import_pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        message = f"Downloading needs {error.name}, which is not installed: pip install {error.name}"
        raise AutoMedSAMError(message) from error
    pooch.get_logger().setLevel("WARNING")
    return pooch


def _remove_if_empty(folder: Path) -> None:
    """Leaves nothing behind where nothing was downloaded."""
    with suppress(OSError):
        if not any(path.name != _LOCK for path in folder.iterdir()):
            shutil.rmtree(folder)
            folder.parent.rmdir()


def _starts_at(response: Response, offset: int) -> bool:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == offset


def _stated_sha256(response: Response) -> str | None:
    """What Hugging Face sends with the redirection to a large file: its SHA-256 as X-Linked-Etag."""
    for one in (*response.history, response):
        etag = one.headers.get("X-Linked-Etag", "").strip('"').lower()
        if re.fullmatch(r"[0-9a-f]{64}", etag):
            return etag
    return None
