"""Terms of model weights: shown before the first use, and remembered in this user's settings."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import slicer

from automedsam.contract.catalog import CatalogModel
from automedsam.contract.licenses import are_free, terms_key
from AutoMedSAMLib.model.bundle_info import Model

_SETTINGS = "AutoMedSAM/AcceptedTerms"
_logged: set[str] = set()


def must_be_shown(model: Model | CatalogModel) -> bool:
    """Whether the terms restrict the use of the weights, and this user has not accepted them yet."""
    return not are_free(model.terms) and not slicer.app.userSettings().contains(_setting(model))


def accept(model: Model | CatalogModel) -> None:
    """Remembers that this user has accepted the terms."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    slicer.app.userSettings().setValue(_setting(model), f"{model.name} {model.version}, {now}: {model.terms}")


def log_once(model: Model) -> None:
    """Logs terms that were not accepted, once a session: a script can answer no question."""
    if must_be_shown(model) and _setting(model) not in _logged:
        _logged.add(_setting(model))
        logging.info("Terms of the weights of %s: %s", model.name, model.terms)


def _setting(model: Model | CatalogModel) -> str:
    return f"{_SETTINGS}/{terms_key(model.name, model.version, model.terms)}"
