"""Terms of model weights: which of them a user has to see before the first use."""

from __future__ import annotations

import hashlib
import re

# The whole text has to be one of these, with the data's name in parentheses at most: any further word may restrict.
_FREE = re.compile(
    r"(apache(-| license,? (version )?)2\.0|mit|"
    r"bsd(-[23]-clause)?|cc0( ?1\.0)?|public domain|cc[ -]by(-sa)?( [234]\.0)?)"
    r"( licen[sc]e)?( \([\w ,.-]+\))?\.?",
    re.IGNORECASE,
)
_RESTRICTED = re.compile(r"research|commercial|\bnc\b|\bnd\b|not stated|redistribut|education", re.IGNORECASE)


def are_free(terms: str) -> bool:
    """Whether terms allow all uses: they are the name of a free license and nothing else."""
    return bool(_FREE.fullmatch(terms.strip())) and not _RESTRICTED.search(terms)


def terms_key(name: str, version: str, terms: str) -> str:
    """What accepted terms are remembered by: other terms, or another version of the model, are asked for again."""
    text = "\n".join((name, version, terms))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
