"""The command `automedsam-lab`: training, and the measurement of what came of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from automedsam.cli import BAD_INPUT
from automedsam.errors import AutoMedSAMError
from automedsam_lab import (
    cli_bench,
    cli_evaluate,
    cli_input,
    cli_memories,
    cli_models,
    cli_prepare,
    cli_quantize,
    cli_rivals,
    cli_runtimes,
    cli_threshold,
    cli_train,
)

app = typer.Typer(
    name="automedsam-lab",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_train.app, name="train")
app.add_typer(cli_evaluate.app)
app.add_typer(cli_input.app)
app.add_typer(cli_models.app)
app.add_typer(cli_quantize.app)
app.add_typer(cli_bench.app)
app.add_typer(cli_memories.app)
app.add_typer(cli_prepare.app)
app.add_typer(cli_rivals.app, name="rival")
app.add_typer(cli_runtimes.app)
app.add_typer(cli_threshold.app)


@app.callback()
def _automedsam_lab() -> None:
    """Make and measure model bundles for AutoMedSAM.

    Research software: not for clinical use.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; what a user can put right ends in one sentence on standard error and exit code 2.

    Args:
        arguments: After the program's name; those of the process if None.
    """
    try:
        app(args=None if arguments is None else list(arguments))
    except AutoMedSAMError as error:
        print(f"automedsam-lab: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)


if __name__ == "__main__":
    main()
