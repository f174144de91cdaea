"""The reasons why a download fails, in words that say what to do."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit


def status_message(url: str, status: int) -> str:
    """The sentence for an answer of a server other than the file.

    Args:
        url: What was asked for.
        status: The HTTP status.
    """
    host, elsewhere = urlsplit(url).hostname, _elsewhere(url)
    if status in (404, 410):
        return f"{host} does not have this file any more (HTTP {status}): update AutoMedSAM, {elsewhere}."
    if status in (401, 403, 407):
        return f"{host}, or a proxy on the way, refuses it (HTTP {status}): ask your IT department, {elsewhere}."
    if status == 429 or status >= 500:
        return f"{host} is too busy or out of order (HTTP {status}): try again later, {elsewhere}."
    return f"{host} answered HTTP {status}: try again later, {elsewhere}."


def connection_message(url: str, error: Exception, *, begun: bool) -> str:
    """The sentence for a connection that could not be made or was lost.

    Args:
        url: What was asked for.
        error: An exception of requests.
        begun: Whether a part of the file has arrived.
    """
    import requests

    host, elsewhere = urlsplit(url).hostname, _elsewhere(url)
    if isinstance(error, requests.exceptions.ProxyError):
        return f"The proxy does not connect to {host}: check HTTPS_PROXY, {elsewhere}."
    if isinstance(error, requests.exceptions.SSLError):
        return (
            f"The certificate of {host} is not trusted: if your network inspects traffic, set REQUESTS_CA_BUNDLE to "
            f"its certificate file, {elsewhere}."
        )
    if begun:
        return f"The connection to {host} was lost: repeat the command, which continues where the download stopped."
    return (
        f"{host} cannot be reached ({_reason(error)}): check the network, and that a firewall lets {host} through, "
        f"{elsewhere}."
    )


def _elsewhere(url: str) -> str:
    return f"or download {url} on another computer, copy it here and run 'automedsam models import FILE'"


def _reason(error: BaseException) -> str:
    """The system's own words, which lie several exceptions deep, else a general one."""
    cause: BaseException | None = error
    found = "no connection"
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return "its name is not known here"
        if isinstance(cause, TimeoutError):
            return "no answer"
        if isinstance(cause, OSError) and cause.strerror:
            found = cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return found
