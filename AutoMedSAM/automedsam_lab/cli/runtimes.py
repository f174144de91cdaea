"""`automedsam-lab runtimes`: each part of a bundle by threads, by batch, and on OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.optional_dependencies import require

app = typer.Typer()


@app.command()
def runtimes(
    bundle: Annotated[str, typer.Argument(help="A model listed by 'automedsam models', or the folder of a bundle.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Markdown file for the table.", show_default="none")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Number of runs of each runtime.")] = 9,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of threads to try.", show_default="all cores")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Precision: int8 or fp32.", show_default="all that the bundle contains")
    ] = None,
) -> None:
    """Time each network of a model on ONNX Runtime and, if installed, on OpenVINO (pip install openvino).

    The runtimes alternate on the same inputs. OpenVINO is only measured here; AutoMedSAM does not use it.
    """
    with require("lab", "Comparing runtimes"):
        from automedsam.bundle import load_bundle
        from automedsam_lab.benchmark.runtimes import PRECISIONS, markdown, measure
        from automedsam_lab.cli.log import log_to_terminal
        from automedsam_lab.common.system_info import describe_machine

    if out is not None and not out.parent.is_dir():
        message = f"The folder {out.parent} does not exist; make it or choose another."
        raise AutoMedSAMError(message)
    if precision is not None and precision not in PRECISIONS:
        message = f"There is no precision {precision}: choose {' or '.join(PRECISIONS)}."
        raise AutoMedSAMError(message)
    chosen = tuple(PRECISIONS) if precision is None else (precision,)
    # The table alone is standard output, to be put into a file.
    with log_to_terminal(stderr=True):
        timings = measure(load_bundle(bundle), repeats, threads, chosen)
    table = markdown(timings, repeats, describe_machine())
    if out is not None:
        out.write_text(table + "\n", encoding="utf-8")
    typer.echo(table)
