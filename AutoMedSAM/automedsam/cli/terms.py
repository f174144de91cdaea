"""Terms of model weights: shown before the first use on a terminal, and remembered for this user."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from automedsam import __version__
from automedsam.contract.licenses import are_free, terms_key
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write


class Licensed(Protocol):
    """Weights that have terms: a bundle, or a model that is not here yet."""

    @property
    def name(self) -> str:
        """The short name that a user types."""

    @property
    def version(self) -> str:
        """The version of the weights."""

    @property
    def license(self) -> str:
        """The terms of the weights."""


ACCEPT_VARIABLE = "AUTOMEDSAM_ACCEPT_TERMS"

# Holds where the settings cannot be written.
_accepted: set[str] = set()


def must_be_shown(bundle: Licensed) -> bool:
    """Whether the user has not seen these terms yet, and they restrict the use of the weights."""
    if are_free(bundle.license) or os.environ.get(ACCEPT_VARIABLE, "") not in ("", "0"):
        return False
    key = _key(bundle)
    return key not in _accepted and key not in _read()


def ask(bundle: Licensed) -> None:
    """Shows the terms on an interactive terminal and asks once.

    Where nobody can answer (input or messages are redirected), nothing is asked and the run goes on; `notice` then
    gives the line to print with the result.

    Raises:
        AutoMedSAMError: If the user declines.
    """
    if not must_be_shown(bundle) or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    print(f"The weights of the model {bundle.name} have these terms:\n  {bundle.license}", file=sys.stderr)
    print("Do you accept them? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        message = f"The terms of the model {bundle.name} were not accepted: nothing was done."
        raise AutoMedSAMError(message)
    accept(bundle)


def require(model: Licensed, accepted: bool) -> None:
    """Asks for the terms of a model before it is downloaded or imported, unless they are free or were accepted.

    Args:
        model: The model.
        accepted: Whether the user has accepted the terms on the command line.

    Raises:
        AutoMedSAMError: If the user declines, or nobody can answer.
    """
    if accepted:
        accept(model)
    if not must_be_shown(model):
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        message = (
            f'The terms of the weights of {model.name} have to be accepted first: "{" ".join(model.license.split())}" '
            "Add --accept-terms if you accept them."
        )
        raise AutoMedSAMError(message)
    ask(model)


def notice(bundle: Licensed) -> str:
    """The terms in one line where they were neither shown nor asked for, else ""; shown once, then remembered."""
    if not must_be_shown(bundle):
        return ""
    accept(bundle)
    return f"Terms of the weights of {bundle.name} (shown once): {' '.join(bundle.license.split())}"


def accept(bundle: Licensed) -> None:
    """Remembers that the user has seen the terms, in this process at least if the settings cannot be written."""
    _accepted.add(_key(bundle))
    accepted = {
        "model": f"{bundle.name} {bundle.version}",
        "terms": bundle.license,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "automedsam": __version__,
    }
    seen = {**_read(), _key(bundle): accepted}
    try:
        path = terms_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as unfinished:
            unfinished.write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")
    except (OSError, RuntimeError, AutoMedSAMError):
        return


def terms_file() -> Path:
    """Where accepted terms are remembered; removing the file asks again.

    Raises:
        RuntimeError: If the user has no home directory.
    """
    from platformdirs import user_config_path

    folder = user_config_path("automedsam")
    if not folder.is_absolute():
        # Some versions of platformdirs return "~" unexpanded, which is a folder's name.
        message = "no home directory"
        raise RuntimeError(message)
    return folder / "accepted_terms.json"


def _key(bundle: Licensed) -> str:
    return terms_key(bundle.name, bundle.version, bundle.license)


def _read() -> dict[str, Any]:
    try:
        found = json.loads(terms_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: no home, or nested too deeply
        return {}
    return found if isinstance(found, dict) else {}
