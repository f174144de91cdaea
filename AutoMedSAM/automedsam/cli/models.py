"""`automedsam models`: the models that are here, and those that can be downloaded or imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automedsam.cli.options import AcceptTerms
from automedsam.cli.terminal import STOPPED, say, stoppable

if TYPE_CHECKING:
    from rich.console import Console

    from automedsam.bundle import Bundle
    from automedsam.models.install import Installed

app = typer.Typer(help="List, download, import and remove models.")

Detector = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="For a checkpoint: the model whose detector finds the objects.",
        show_default="none: it segments inside boxes that you give it",
    ),
]


@app.callback(invoke_without_command=True)
def _models(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_models()


@app.command("list")
def list_models(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORD", help="Only models whose name, description, labels or inputs have them."),
    ] = None,
) -> None:
    """List the models that are here, and those that can be downloaded."""
    from rich.console import Console

    from automedsam.bundle import faulty_bundles, list_bundles
    from automedsam.cli.console import bundle_table, catalog_table
    from automedsam.contract.catalog import read_catalog
    from automedsam.models.remove import unfinished_downloads

    console, search = Console(), " ".join(words or ())
    every = list_bundles()
    bundles = [bundle for bundle in every if _matches(bundle, search)]
    models = [model for model in read_catalog() if model.matches(search)]
    if not bundles and not models:
        say(f"No model matches '{search}'.")
        return
    if bundles:
        console.print(bundle_table(bundles))
        for bundle in bundles:
            _print_plain(console, f"License of {bundle.name}: {bundle.license}")
    if models:
        _print_plain(console, "\nModels to download ('automedsam models download NAME'):")
        console.print(catalog_table(models, {bundle.name for bundle in every}, unfinished_downloads()))
        for terms in dict.fromkeys(model.terms for model in models):
            names = ", ".join(model.name for model in models if model.terms == terms)
            _print_plain(console, f"License of {names}: {terms}")
    for name, sentence in faulty_bundles().items():
        say(f"{sentence} Or remove it: 'automedsam models remove {name}'.")


@app.command()
def download(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models of 'automedsam models list'.")],
    detector: Detector = None,
    accept_terms: AcceptTerms = False,
) -> None:
    """Download models; one that was stopped continues where it was."""
    from automedsam.bundle import list_bundles
    from automedsam.cli import terms
    from automedsam.cli.download_progress import DownloadProgress
    from automedsam.contract.catalog import find_model, read_catalog
    from automedsam.models.install import download_model
    from automedsam.models.remove import unfinished_downloads

    catalog = read_catalog()
    for model in [find_model(name, catalog) for name in dict.fromkeys(names)]:
        if any(bundle.name == model.name for bundle in list_bundles()):
            say(f"{model.name} is here already.")
            continue
        terms.require(model, accept_terms)
        try:
            with DownloadProgress("Downloading", model.file.name, model.file.bytes) as progress:
                installed = download_model(model, progress.show, detector=detector)
        except KeyboardInterrupt:
            kept = unfinished_downloads().get(model.name, 0)
            say(f"Stopped: {kept / 1e6:.1f} MB of {model.name} are kept, and the same command continues there.")
            raise typer.Exit(STOPPED) from None
        _print_installed(installed, accept_terms)


@app.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(help="A bundle's zip file, or a published checkpoint (.pt, .pth).")],
    name: Annotated[str | None, typer.Option(help="The name that the model gets.", show_default="its own")] = None,
    detector: Detector = None,
    network: Annotated[
        str | None,
        typer.Option(help="For a checkpoint: its network, such as sam2.1_hiera_t512.", show_default="found out"),
    ] = None,
    accept_terms: AcceptTerms = False,
) -> None:
    """Import a model from a file, where there is no network."""
    from automedsam.cli import terms
    from automedsam.cli.download_progress import DownloadProgress
    from automedsam.models.install import import_file

    with stoppable(), DownloadProgress("Importing", file.name, None) as progress:
        installed = import_file(
            file,
            progress.show,
            name=name,
            detector=detector,
            network=network,
            check_terms=lambda model: progress.interrupted(lambda: terms.require(model, accept_terms)),
        )
    _print_installed(installed, accept_terms)


@app.command("int8")
def make_int8_files(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A downloaded or imported checkpoint.")],
    volume: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE", help="What to calibrate with: a volume as for 'automedsam segment', or ROLE=FILE each."
        ),
    ],
) -> None:
    """Make the INT8 files of a published checkpoint, which then runs without PyTorch."""
    from automedsam.bundle import load_bundle
    from automedsam.cli import terms
    from automedsam.cli.console import RunProgress
    from automedsam.contract.backends import Backend
    from automedsam.io.role_reader import parse_input, read_modalities
    from automedsam.pipeline.int8_files import make_int8
    from automedsam.pipeline.run import SegmentationRun

    bundle = load_bundle(name)
    if bundle.has(Backend.INT8):
        say(f"{bundle.name} has INT8 files already.")
        return
    image = read_modalities([parse_input(one) for one in volume], bundle.roles, bundle.name)
    run = SegmentationRun(image, bundle, backend=Backend.INT8)
    terms.ask(bundle)
    with stoppable(), RunProgress() as progress:
        made = make_int8(bundle, run.channels, progress.quantize)
    typer.echo(f"{made.name} runs in INT8: {made.size_mb(Backend.INT8):.1f} MB in {made.folder}")


@app.command()
def remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Downloaded or imported models.")],
) -> None:
    """Remove downloaded or imported models, and what is left of a download that was stopped."""
    from automedsam.models.remove import remove_model

    for name in dict.fromkeys(names):
        freed = remove_model(name)
        typer.echo(f"Removed {name}: {freed / 1e6:.1f} MB are free again.")


def _matches(bundle: Bundle, search: str) -> bool:
    from automedsam.contract.catalog import matches

    labels = [segment.name for segment in bundle.segments]
    return matches(search, bundle.name, bundle.task, *labels, *bundle.modalities)


def _print_plain(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False)


def _print_installed(installed: Installed, accepted: bool) -> None:
    from automedsam.cli import terms
    from automedsam.contract.backend_files import can_make_int8
    from automedsam.models.checkpoint_check import has_torch

    bundle = installed.bundle
    if accepted:
        terms.accept(bundle)
    say(*installed.notes)
    typer.echo(f"Installed {bundle.name} {bundle.version}: {bundle.folder}, {bundle.size_bytes / 1e6:.1f} MB")
    segmenter = bundle.manifest["segmenter"]["files"]
    if "int8" in segmenter:
        return
    without = "" if has_torch() else ", which is not installed yet: pip install 'automedsam[fp32]'"
    typer.echo(f"It runs in FP32 on PyTorch (--backend fp32){without}.")
    if not bundle.has_detector:
        typer.echo("It has no detector: it segments inside boxes that you give it.")
    if can_make_int8(bundle.manifest):
        typer.echo(
            "Its first run in INT8 (--backend int8) makes its INT8 files; "
            f"'automedsam models int8 {bundle.name} --volume FILE' makes them beforehand."
        )
