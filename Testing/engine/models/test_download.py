"""A download is the whole right file or a sentence, and one that stopped continues where it was."""

import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from model_server import ServedFile, serving

from automedsam.contract.catalog import CatalogFile
from automedsam.errors import AutoMedSAMError
from automedsam.models import download as download_module
from automedsam.models.download import Progress, download, unfinished_file

CONTENT = os.urandom(1 << 20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[ServedFile]:
    with serving(ServedFile(CONTENT)) as file:
        yield file


def entry(server: ServedFile, sha256: str | None = SHA256) -> CatalogFile:
    return CatalogFile("weights.pt", server.url, None, sha256)


def fetch(file: CatalogFile, folder: Path, progress: Progress = lambda done, total: None) -> Path:
    return download(file, folder, progress, allow_loopback=True, pause=0.001)


class StoppedError(Exception):
    """A user who stops."""


def stop_after(count: int) -> Progress:
    def progress(done: int, total: int | None) -> None:
        if done >= count:
            raise StoppedError

    return progress


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()} - {"lock"}


def test_whole_file_arrives_with_progress(server: ServedFile, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = fetch(entry(server), tmp_path / "new", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)
    assert files(tmp_path) == {"weights.pt"}


def test_stopped_download_continues_where_it_was(server: ServedFile, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        fetch(entry(server), tmp_path, stop_after(500_000))
    part = unfinished_file(entry(server), tmp_path).stat().st_size
    assert 500_000 <= part < len(CONTENT) and not (tmp_path / "weights.pt").exists()
    assert fetch(entry(server), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1]["Range"] == f"bytes={part}-"
    assert files(tmp_path) == {"weights.pt"}


def test_ctrl_c_leaves_no_file_that_looks_complete(server: ServedFile, tmp_path: Path) -> None:
    def press(done: int, total: int | None) -> None:
        if done > 300_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(entry(server), tmp_path, press)
    assert files(tmp_path) == {"weights.pt.part", "weights.pt.part.json"}
    assert fetch(entry(server), tmp_path).read_bytes() == CONTENT


def test_connection_that_is_cut_is_taken_up_again(server: ServedFile, tmp_path: Path) -> None:
    server.cuts = [200_000, 300_000, 100_000]
    assert fetch(entry(server), tmp_path).read_bytes() == CONTENT
    assert "Range" not in server.requests[0]
    starts = [int(request["Range"].removeprefix("bytes=").removesuffix("-")) for request in server.requests[1:]]
    # Each continues where the last one was cut, but for a piece that had not arrived whole.
    assert all(cut - 2 * 65536 < start <= cut for start, cut in zip(starts, (200_000, 500_000, 600_000), strict=True))


def test_server_without_ranges_starts_over(server: ServedFile, tmp_path: Path) -> None:
    server.ranges, server.cuts = False, [400_000]
    assert fetch(entry(server), tmp_path).read_bytes() == CONTENT


def test_server_that_always_cuts_at_the_same_place_is_given_up(server: ServedFile, tmp_path: Path) -> None:
    server.ranges, server.cuts = False, [400_000] * 50
    with pytest.raises(AutoMedSAMError, match=r"The connection to 127\.0\.0\.1 was lost: repeat the command"):
        fetch(entry(server), tmp_path)
    assert len(server.requests) < 10


def test_slow_server_is_waited_for(server: ServedFile, tmp_path: Path) -> None:
    server.pause = 0.005
    assert fetch(entry(server), tmp_path).read_bytes() == CONTENT


def test_file_that_changed_on_the_server_is_not_spliced(server: ServedFile, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        fetch(entry(server, None), tmp_path, stop_after(500_000))
    server.content, server.etag = CONTENT[::-1], '"2"'
    assert fetch(entry(server, None), tmp_path).read_bytes() == CONTENT[::-1]


def test_without_hash_and_version_a_download_starts_over(server: ServedFile, tmp_path: Path) -> None:
    server.etag = None
    with pytest.raises(StoppedError):
        fetch(entry(server, None), tmp_path, stop_after(500_000))
    assert fetch(entry(server, None), tmp_path).read_bytes() == CONTENT
    assert "Range" not in server.requests[-1]


def test_wrong_beginning_is_discarded_after_the_hash_check(server: ServedFile, tmp_path: Path) -> None:
    server.etag = None
    unfinished_file(entry(server), tmp_path).write_bytes(b"\0" * 1000)
    assert fetch(entry(server), tmp_path).read_bytes() == CONTENT
    assert [request.get("Range") for request in server.requests] == ["bytes=1000-", None]


def test_beginning_longer_than_the_file_is_thrown_away(server: ServedFile, tmp_path: Path) -> None:
    unfinished_file(entry(server), tmp_path).write_bytes(b"\0" * (len(CONTENT) + 1))
    assert fetch(entry(server), tmp_path).read_bytes() == CONTENT


def test_wrong_hash_is_refused_and_nothing_is_kept(server: ServedFile, tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match=r"is not the one that the catalog names .* was removed: try again"):
        fetch(entry(server, "0" * 64), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_hash_that_the_server_states_is_checked(server: ServedFile, tmp_path: Path) -> None:
    server.stated_sha256 = SHA256
    assert fetch(entry(server, None), tmp_path).read_bytes() == CONTENT
    server.stated_sha256 = "0" * 64
    with pytest.raises(AutoMedSAMError, match="damaged on the way"):
        fetch(entry(server, None), tmp_path)
    assert not files(tmp_path)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            404,
            r"does not have this file any more \(HTTP 404\): update AutoMedSAM, or download http.*models import FILE",
        ),
        (410, "does not have this file any more"),
        (401, "refuses it .*IT department"),
        (403, "refuses it .*IT department"),
        (429, "too busy"),
        (500, "out of order .*try again later"),
        (503, "too busy"),
        (418, "answered HTTP 418"),
    ],
)
def test_answer_without_the_file_is_explained(server: ServedFile, tmp_path: Path, status: int, words: str) -> None:
    server.status = status
    with pytest.raises(AutoMedSAMError, match=words):
        fetch(entry(server), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_no_network_is_one_sentence(server: ServedFile, tmp_path: Path) -> None:
    closed = replace(entry(server), url="http://127.0.0.1:9/weights.pt")
    with pytest.raises(AutoMedSAMError, match=r"cannot be reached \(connection refused\): check the network.*firewall"):
        fetch(closed, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_server_that_does_not_answer_is_one_sentence(
    server: ServedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "_READ_SECONDS", 0.2)
    server.pause = 1.0
    with pytest.raises(AutoMedSAMError, match=r"cannot be reached \(no answer\)"):
        fetch(entry(server), tmp_path)


def test_full_disk_is_one_sentence_and_leaves_nothing(
    server: ServedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    class Full:
        """A file on a disk that is full after 300 KB."""

        def __init__(self, file: Any) -> None:
            self._file, self._left = file, 300_000

        def write(self, data: bytes) -> int:
            self._left -= len(data)
            if self._left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return int(self._file.write(data))

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

    monkeypatch.setattr(
        Path,
        "open",
        lambda path, *rest, **named: (
            Full(real(path, *rest, **named)) if path.suffix == ".part" else real(path, *rest, **named)
        ),
    )
    with pytest.raises(AutoMedSAMError, match=r"cannot be written \(No space left on device\); free space there"):
        fetch(entry(server), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_download_that_cannot_fit_is_refused_before_it_begins(
    server: ServedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=60_000_000))
    with pytest.raises(
        AutoMedSAMError, match=r"needs 156 MB, and .* has 60 MB free: free space there, or set AUTOMEDSAM"
    ):
        fetch(replace(entry(server), bytes=156_000_000), tmp_path)
    assert not server.requests


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x.pt", "ftp://example.org/x.pt", "file:///etc/passwd", "https:///x"]
)
def test_only_https_is_downloaded(tmp_path: Path, url: str) -> None:
    with pytest.raises(AutoMedSAMError, match="is not an https:// address: nothing was downloaded"):
        download(CatalogFile("weights.pt", url, None, SHA256), tmp_path, lambda done, total: None)


def test_redirection_away_from_https_is_refused(server: ServedFile, tmp_path: Path) -> None:
    server.location = "http://localhost.localdomain:1/x.pt"
    with serving(ServedFile(CONTENT)) as other:
        server.location = other.url.replace("127.0.0.1", "0.0.0.0")
        with pytest.raises(AutoMedSAMError, match="which is not an https:// address: nothing was downloaded"):
            fetch(entry(server), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_two_downloads_of_one_file_do_not_mix(server: ServedFile, tmp_path: Path) -> None:
    def again(done: int, total: int | None) -> None:
        if done:
            fetch(entry(server), tmp_path)

    with pytest.raises(AutoMedSAMError, match=r"Another process is downloading weights\.pt already"):
        fetch(entry(server), tmp_path, again)
