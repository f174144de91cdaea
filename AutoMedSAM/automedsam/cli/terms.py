"""Terms of model weights: shown before the first use on a terminal, and remembered for this user."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automedsam.contract.licences import are_free, terms_key
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write

if TYPE_CHECKING:
    from automedsam.bundle import Bundle

ACCEPT_VARIABLE = "AUTOMEDSAM_ACCEPT_TERMS"


def must_be_shown(bundle: Bundle) -> bool:
    """Whether the user has not seen these terms yet, and they restrict the use of the weights."""
    if are_free(bundle.licence) or os.environ.get(ACCEPT_VARIABLE, "") not in ("", "0"):
        return False
    return _key(bundle) not in _read()


def ask(bundle: Bundle) -> None:
    """Shows the terms on an interactive terminal and asks once.

    Where nobody can answer (input or messages are redirected), nothing is asked and the run goes on; `notice` then
    gives the line to print with the result.

    Raises:
        AutoMedSAMError: If the user declines.
    """
    if not must_be_shown(bundle) or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    print(f"The weights of the model {bundle.name} have these terms:\n  {bundle.licence}", file=sys.stderr)
    print("Do you accept them? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        message = f"The terms of the model {bundle.name} were not accepted: nothing was run."
        raise AutoMedSAMError(message)
    accept(bundle)


def notice(bundle: Bundle) -> str:
    """The terms in one line where they were neither shown nor asked for, else ""; shown once, then remembered."""
    if not must_be_shown(bundle):
        return ""
    accept(bundle)
    return f"Terms of the weights of {bundle.name} (shown once): {bundle.licence}"


def accept(bundle: Bundle) -> None:
    """Remembers that the user has seen the terms. A home that cannot be written to is no reason to fail."""
    seen = {**_read(), _key(bundle): {"model": f"{bundle.name} {bundle.version}", "terms": bundle.licence}}
    path = terms_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as unfinished:
            unfinished.write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")
    except (OSError, AutoMedSAMError):
        return


def terms_file() -> Path:
    """Where accepted terms are remembered; removing the file asks again."""
    from platformdirs import user_config_path

    return user_config_path("automedsam") / "accepted_terms.json"


def _key(bundle: Bundle) -> str:
    return terms_key(bundle.name, bundle.version, bundle.licence)


def _read() -> dict[str, Any]:
    try:
        found = json.loads(terms_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
