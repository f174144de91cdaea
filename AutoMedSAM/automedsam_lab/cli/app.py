"""The command `automedsam-lab`: training, and the measurement of what came of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from automedsam.cli.app import BAD_INPUT
from automedsam.cli.terminal import accept_any_text
from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli import (
    baselines,
    bench,
    boxes,
    bundles,
    evaluate,
    memories,
    prepare,
    quantize,
    runtimes,
    search,
    threshold,
    train,
    train_efficient,
    train_streamed,
)
from automedsam_lab.cli import input as input_commands

app = typer.Typer(
    name="automedsam-lab",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train.app.command("efficient")(train_efficient.efficient)
train.app.command("streamed")(train_streamed.streamed)
app.add_typer(train.app, name="train")
app.add_typer(search.app, name="search")
app.add_typer(evaluate.app)
app.add_typer(input_commands.app)
app.add_typer(bundles.app)
app.add_typer(quantize.app)
app.add_typer(bench.app)
app.add_typer(memories.app)
app.add_typer(boxes.app)
app.add_typer(prepare.app)
app.add_typer(baselines.app, name="baseline")
# The name until version 0.2.
app.add_typer(baselines.app, name="rival", hidden=True, deprecated=True)
app.add_typer(runtimes.app)
app.add_typer(threshold.app)


@app.callback()
def _automedsam_lab(context: typer.Context) -> None:
    """Train, convert and evaluate model bundles for AutoMedSAM.

    Research software: not for clinical use.
    """
    from automedsam_lab.cli.log import log_to_terminal

    context.with_resource(log_to_terminal())


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; what a user can put right ends in one sentence on standard error and exit code 2.

    Args:
        arguments: After the program's name; those of the process if None.
    """
    accept_any_text()
    try:
        app(args=None if arguments is None else list(arguments))
    except AutoMedSAMError as error:
        print(f"automedsam-lab: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
