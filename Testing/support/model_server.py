"""A web server on this computer that sends a file as servers and networks do: slowly, cut off, or not at all."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def serving(file: ServedFile) -> Iterator[ServedFile]:
    """Serves a file at `file.url` while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            file.requests.append(dict(self.headers))
            if file.location is not None:
                self._head(302, {"Location": file.location, "Content-Length": "0"})
            elif file.status != 200:
                self._head(file.status, {"Content-Length": "0"})
            else:
                self._send_file()

        def _send_file(self) -> None:
            found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            same = self.headers.get("If-Range") in (None, file.etag)
            start = int(found[1]) if found and file.ranges and same else None
            if start is not None and start >= len(file.content):
                self._head(416, {"Content-Range": f"bytes */{len(file.content)}", "Content-Length": "0"})
                return
            body = file.content[start or 0 :]
            headers = {"Content-Length": str(len(body))}
            if start is not None:
                headers["Content-Range"] = f"bytes {start}-{len(file.content) - 1}/{len(file.content)}"
            if file.etag:
                headers["ETag"] = file.etag
            if file.stated_sha256:
                headers["X-Linked-Etag"] = f'"{file.stated_sha256}"'
            self._head(200 if start is None else 206, headers)
            sent = body[: file.cuts.pop(0)] if file.cuts else body
            for offset in range(0, len(sent), 1 << 14):
                self.wfile.write(sent[offset : offset + (1 << 14)])
                time.sleep(file.pause)
            self.close_connection = len(sent) < len(body)

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                pass  # the client has gone

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    file.url = f"http://127.0.0.1:{server.server_address[1]}/weights.pt"
    try:
        yield file
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
