"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

AcceptTerms = Annotated[
    bool, typer.Option("--accept-terms", help="Accept the terms of the model's weights without a question.")
]
