"""Terms of model weights: which of them a user has to see before the first use."""

from __future__ import annotations

import hashlib
import re

_FREE = re.compile(r"\b(apache|mit|bsd|cc0|public domain|cc[ -]by)\b", re.IGNORECASE)
_RESTRICTED = re.compile(r"research|commercial|\bnc\b|\bnd\b|not stated|redistribut|education", re.IGNORECASE)


def are_free(terms: str) -> bool:
    """Whether terms allow all uses: they name a free license, and no restriction."""
    return bool(_FREE.search(terms)) and not _RESTRICTED.search(terms)


def terms_key(name: str, version: str, terms: str) -> str:
    """What accepted terms are remembered by: other terms, or another version of the model, are asked for again."""
    text = "\n".join((name, version, terms))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
