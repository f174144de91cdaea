"""The web server of the review page: on loopback alone, for whoever has the token, and for nothing but one cohort."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from automedsam.errors import AutoMedSAMError
from automedsam.review.results import Results

LOOPBACK = "127.0.0.1"

_PAGE = Path(__file__).parent / "page"
_STATIC = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/list.js": ("list.js", "text/javascript; charset=utf-8"),
    "/viewer.js": ("viewer.js", "text/javascript; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
}
_MAX_BODY = 1 << 16
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class ReviewServer(ThreadingHTTPServer):
    """Serves one cohort.

    Args:
        results: The cohort.
        port: 0 chooses a free one.

    Raises:
        AutoMedSAMError: If the port is taken.
    """

    daemon_threads = True

    def __init__(self, results: Results, port: int = 0) -> None:
        self.results = results
        self.token = secrets.token_urlsafe(32)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            message = f"Port {port} cannot be used ({reason}): choose another, or leave out --port."
            raise AutoMedSAMError(message) from error

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """The address with the token, which opens the page once; the browser keeps the token in a cookie."""
        return f"http://{LOOPBACK}:{self.port}/?token={self.token}"

    @property
    def cookie(self) -> str:
        """The cookie's name: cookies do not tell ports apart."""
        return f"automedsam_review_{self.port}"


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    server_version = "AutoMedSAM"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if not self._is_local():
            self._refuse(HTTPStatus.FORBIDDEN, "This address is not served.")
        elif parts.path == "/" and "token" in query and self._is_token(query["token"]):
            self.send_response(HTTPStatus.SEE_OTHER)
            # The token leaves the address bar.
            self.send_header("Location", "/")
            cookie = f"{self.server.cookie}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
            self.send_header("Set-Cookie", cookie)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif not self._has_cookie():
            self._refuse(HTTPStatus.FORBIDDEN, "Open the address that 'automedsam review' printed.")
        elif parts.path in _STATIC:
            name, kind = _STATIC[parts.path]
            self._send((_PAGE / name).read_bytes(), kind)
        else:
            self._answer(lambda: self._get(parts.path, query.get("case", "")))

    def do_POST(self) -> None:
        if not (self._is_local() and self._has_cookie() and self._is_own_page()):
            # What was not read of the request would be taken for the next one.
            self.close_connection = True
            self._refuse(HTTPStatus.FORBIDDEN, "Open the address that 'automedsam review' printed.")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _MAX_BODY:
            self.close_connection = True
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too large.")
            return
        body = self.rfile.read(int(length))
        self._answer(lambda: self._post(urlsplit(self.path).path, body))

    def _get(self, path: str, case: str) -> tuple[bytes, str]:
        results = self.server.results
        if path == "/api/cases":
            return _as_json(results.summary())
        if path == "/api/case":
            return _as_json(results.details(case))
        if path in ("/api/image", "/api/labels"):
            return results.voxels(case, path.rpartition("/")[2]), "application/octet-stream"
        if path == "/api/thumbnail":
            return results.thumbnail(case), "image/png"
        raise KeyError(path)

    def _post(self, path: str, body: bytes) -> tuple[bytes, str]:
        if path != "/api/decision":
            raise KeyError(path)
        try:
            request = json.loads(body)
            case, decision, note = (str(request[name]) for name in ("case", "decision", "note"))
        except (ValueError, KeyError, TypeError) as error:
            message = "The request is not a decision."
            raise AutoMedSAMError(message) from error
        return _as_json(self.server.results.decide(case, decision, note))

    def _answer(self, make: Callable[[], tuple[bytes, str]]) -> None:
        try:
            content, kind = make()
        except (KeyError, FileNotFoundError):
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such case.")
        except AutoMedSAMError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        else:
            self._send(content, kind)

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._send(sentence.encode(), "text/plain; charset=utf-8", status)

    def _is_local(self) -> bool:
        """Whether the browser asked for loopback: a foreign name that leads here is another page's trick."""
        return self.headers.get("Host", "") in (f"{LOOPBACK}:{self.server.port}", f"localhost:{self.server.port}")

    def _is_own_page(self) -> bool:
        origin = self.headers.get("Origin", "")
        kind = self.headers.get("Content-Type", "")
        return origin == f"http://{self.headers.get('Host', '')}" and kind.startswith("application/json")

    def _has_cookie(self) -> bool:
        try:
            morsel = SimpleCookie(self.headers.get("Cookie", "")).get(self.server.cookie)
        except CookieError:
            return False
        return morsel is not None and self._is_token(morsel.value)

    def _is_token(self, value: str) -> bool:
        return hmac.compare_digest(value.encode(), self.server.token.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  http.server names it so
        """Nothing is logged: names of cases belong nowhere else."""


def _as_json(value: object) -> tuple[bytes, str]:
    return json.dumps(value).encode(), "application/json"
