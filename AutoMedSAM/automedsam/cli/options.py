"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

AcceptTerms = Annotated[
    bool, typer.Option("--accept-terms", help="Accept the terms of the model's weights without a question.")
]


def accept_given(model: str, accepted: bool) -> None:
    """Accepts the terms of a model where `--accept-terms` was given."""
    if accepted:
        from automedsam.bundle import load_bundle
        from automedsam.cli.terms import accept

        accept(load_bundle(model))
