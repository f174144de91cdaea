"""Terms of model weights: which of them a user has to see before the first use."""

from __future__ import annotations

import hashlib
import re

# Exact names and versions only: any other word may restrict the use.
_NAME = (
    r"(?i:(apache(-| license,? (version )?)2\.0|mit|bsd[ -][23][ -]clause|cc0([ -]1\.0)?|public domain|"
    r"cc[ -]by(-sa)?[ -][34]\.0)( licen[sc]e)?)"
)
# The source is a proper name, such as (MSD Task04): a sentence in parentheses has words in lower case.
_FREE = re.compile(_NAME + r"( \([A-Z0-9][\w.-]*(,? [A-Z0-9][\w.-]*)*\))?\.?", re.ASCII)
_RESTRICTED = re.compile(
    r"research|commercial|academic|educat|evaluat|clinic|personal|private|internal|profit|redistribut|"
    r"\b(only|use|not|no|non|nc|nd|sale|except|without|limited|restricted)\b",
    re.IGNORECASE,
)


def are_free(terms: str) -> bool:
    """Whether terms allow all uses: the name of a known free license, its source in parentheses at most."""
    text = terms.strip()
    return bool(_FREE.fullmatch(text)) and not _RESTRICTED.search(text)


def terms_key(name: str, version: str, terms: str) -> str:
    """What accepted terms are remembered by: other terms, or another version of the model, are asked for again."""
    text = "\n".join((name, version, terms))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
