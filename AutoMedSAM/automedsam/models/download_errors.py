"""The reasons why a download fails, in words that say what to do."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

_IMPORT = "or download it on another computer and run 'automedsam models import FILE'"


def status_message(url: str, status: int) -> str:
    """The sentence for an answer of a server other than the file.

    Args:
        url: What was asked for.
        status: The HTTP status.
    """
    host = urlsplit(url).hostname
    if status in (404, 410):
        return f"{host} does not have {url} any more (HTTP {status}): update AutoMedSAM, {_IMPORT}."
    if status in (401, 403, 407):
        return f"{host}, or a proxy on the way, refuses {url} (HTTP {status}): ask your IT department, {_IMPORT}."
    if status == 429 or status >= 500:
        return f"{host} is too busy or out of order (HTTP {status}): try again later, {_IMPORT}."
    return f"{host} answered HTTP {status} for {url}: try again later, {_IMPORT}."


def connection_message(url: str, error: Exception) -> str:
    """The sentence for a connection that could not be made or was lost.

    Args:
        url: What was asked for.
        error: An exception of requests.
    """
    import requests

    host = urlsplit(url).hostname
    if isinstance(error, requests.exceptions.ProxyError):
        return f"The proxy does not connect to {host}: check HTTPS_PROXY, {_IMPORT}."
    if isinstance(error, requests.exceptions.SSLError):
        return (
            f"The certificate of {host} is not trusted: if your network inspects traffic, set REQUESTS_CA_BUNDLE to "
            f"its certificate file, {_IMPORT}."
        )
    if isinstance(error, (requests.exceptions.ChunkedEncodingError, requests.exceptions.ReadTimeout)):
        return f"The connection to {host} was lost: repeat the command, which continues where the download stopped."
    return (
        f"{host} cannot be reached ({_reason(error)}): check the network, and that a firewall lets {host} through, "
        f"{_IMPORT}."
    )


def _reason(error: BaseException) -> str:
    """The system's own words, which lie several exceptions deep, else a general one."""
    seen: BaseException | None = error
    found = "no connection"
    while seen is not None:
        if isinstance(seen, socket.gaierror):
            return "its name is not known here"
        if isinstance(seen, TimeoutError):
            return "no answer"
        if isinstance(seen, OSError) and seen.strerror:
            found = seen.strerror.lower()
        seen = seen.__cause__ or seen.__context__
    return found
