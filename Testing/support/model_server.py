"""A web server on this computer that sends a file as servers and networks do: slowly, cut off, or not at all."""

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ServedFile:
    """What the server does; tests change it between requests.

    Attributes:
        content: The file.
        ranges: Whether a part of the file can be asked for.
        etag: The version of the file; None to send none.
        status: What is answered instead of the file, if not 200.
        cuts: After how many bytes of the answer the connection is closed, one for each request; then it is whole.
        pause: Seconds between pieces of 16 KiB.
        stated_sha256: Sent as Hugging Face does.
        location: Where the request is sent on to.
        requests: The headers of each request.
    """

    content: bytes
    ranges: bool = True
    etag: str | None = '"1"'
    status: int = 200
    cuts: list[int] = field(default_factory=list)
    pause: float = 0.0
    stated_sha256: str | None = None
    location: str | None = None
    requests: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    file: ServedFile


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        file = self.server.file
        file.requests.append(dict(self.headers))
        if file.location is not None:
            self._head(302, {"Location": file.location, "Content-Length": "0"})
        elif file.status != 200:
            self._head(file.status, {"Content-Length": "0"})
        else:
            self._send_file(file, self._start(file))

    def _start(self, file: ServedFile) -> int | None:
        """The byte from which the file is asked for; None for the whole file."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in (None, file.etag)
        return int(found[1]) if found and file.ranges and same else None

    def _send_file(self, file: ServedFile, start: int | None) -> None:
        length = len(file.content)
        if start is not None and start >= length:
            self._head(416, {"Content-Range": f"bytes */{length}", "Content-Length": "0"})
            return
        body = file.content[start or 0 :]
        headers = {
            "Content-Length": str(len(body)),
            "Content-Range": None if start is None else f"bytes {start}-{length - 1}/{length}",
            "ETag": file.etag,
            "X-Linked-Etag": file.stated_sha256 and f'"{file.stated_sha256}"',
        }
        self._head(200 if start is None else 206, headers)
        sent = body[: file.cuts.pop(0)] if file.cuts else body
        for offset in range(0, len(sent), 1 << 14):
            self.wfile.write(sent[offset : offset + (1 << 14)])
            time.sleep(file.pause)
        self.close_connection = len(sent) < len(body)

    def _head(self, status: int, headers: Mapping[str, str | None]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(OSError):  # the client has gone
            super().handle()


@contextmanager
def serving(file: ServedFile) -> Iterator[ServedFile]:
    """Serves a file at `file.url` while the block lasts."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.file = file
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    file.url = f"http://127.0.0.1:{server.server_address[1]}/weights.pt"
    try:
        yield file
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
