"""The command `automedsam`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from automedsam import __version__
from automedsam.cli.models import app as models_app
from automedsam.cli.options import AcceptTerms, accept_given
from automedsam.cli.terminal import accept_any_text, ended_like_ctrl_c, printable, stoppable
from automedsam.contract.backends import Backend
from automedsam.core.memory import check_room_for_a_run, is_out_of_memory, not_enough_memory
from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError

BAD_INPUT = 2


class Device(str, Enum):
    """Where the FP32 backend computes."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class SegType(str, Enum):
    """How a DICOM SEG stores its voxels."""

    BINARY = "binary"
    LABELMAP = "labelmap"


app = typer.Typer(
    name="automedsam",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(models_app, name="models")

Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="IN",
        help="A NIfTI, NRRD, MetaImage, PNG or JPEG file, a DICOM file or a folder with a DICOM series. Several files "
        "are the modalities of one volume, found by name or given as ROLE=IN, such as flair=a.nii.gz.",
    ),
]
Model = Annotated[
    str, typer.Option("--model", "-m", help="A model listed by 'automedsam models', or the folder of a bundle.")
]
BackendChoice = Annotated[
    Backend, typer.Option(help="int8: ONNX Runtime; fp32: PyTorch; fp32-onnx: ONNX Runtime, to check an export.")
]
Threshold = Annotated[
    float | None,
    typer.Option(help="Minimum score, 0 to 1, for accepting an object.", show_default="the model's own"),
]
PlaneChoice = Annotated[
    Plane | None,
    typer.Option(help="Plane of the slices.", show_default="the plane of acquisition, else the model's own"),
]

Series = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of the volume, from 1, if a DICOM folder or file contains several. Without it they are listed.",
        show_default="the only one",
    ),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"automedsam {__version__}")
        raise typer.Exit


@app.callback()
def _automedsam(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Segment lesions and organs in medical volumes without manual prompts.

    Research software: not for clinical use.
    """


@app.command()
def segment(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN",
            help="A NIfTI, NRRD, MetaImage, PNG or JPEG file, a DICOM file or a folder with a DICOM series. Several "
            "files are the modalities of one volume, found by name or given as ROLE=IN, such as flair=a.nii.gz. Or a "
            "video: an mp4, mov or AVI file, a multi-frame DICOM file, or a folder of PNG or JPEG frames.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="A .seg.nrrd file for 3D Slicer, a .nii.gz, .nii, .nrrd or .mha file; .dcm for DICOM SEG if the "
            "input is DICOM; .png for a single image; a folder for a video.",
        ),
    ],
    model: Model = "glioma",
    backend: BackendChoice = Backend.INT8,
    threshold: Threshold = None,
    plane: PlaneChoice = None,
    device: Annotated[Device, typer.Option(help="Device of the FP32 backend; INT8 runs on the CPU.")] = Device.AUTO,
    overlay: Annotated[
        Path | None,
        typer.Option(help="Draw the result: a .png for a single image, an .mp4 for a video.", show_default="none"),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="FIRST:LAST",
            help="Frames of a video to use, inclusive, counted from 0; either number may be omitted.",
            show_default="all",
        ),
    ] = None,
    accept_terms: AcceptTerms = False,
    series: Series = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Segment the objects that a JSON file marks by boxes, points and masks, instead of detecting them.",
            show_default="none",
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="Write volume, diameters and agreement of each object as CSV.", show_default="none"),
    ] = None,
    seg_type: Annotated[
        SegType, typer.Option(help="Kind of DICOM SEG: binary (one bit a voxel and object) or labelmap.")
    ] = SegType.BINARY,
) -> None:
    """Segment a volume, an image or a video; the result has the grid of the input. Ctrl-C keeps finished slices.

    In a video, one frame counts as 1 mm where a setting of the model is in mm.
    """
    with stoppable():
        check_room_for_a_run()
        from automedsam.cli.segment import segment_files

        accept_given(model, accept_terms)
        segment_files(
            inputs,
            output,
            model=model,
            backend=backend,
            threshold=threshold,
            plane=plane,
            device=device.value,
            overlay=overlay,
            frames=frames,
            series=series,
            prompts=prompts,
            table=table,
            seg_type=seg_type.value,
        )


@app.command()
def measure(
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="A .seg.nrrd file, or a label map in NIfTI, NRRD or MetaImage.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The CSV file to write.", show_default="none")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="The image, for mean and standard deviation of its intensities.")
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="A reference label file, for Dice.")] = None,
    plane: Annotated[
        Plane | None,
        typer.Option(help="Plane of the slices and diameters.", show_default="the plane of acquisition, else axial"),
    ] = None,
) -> None:
    """Measure the segments of a label file and their connected parts: volume, slices, diameters, Dice."""
    with stoppable():
        from automedsam.cli.measure import measure_labels

        measure_labels(labels, output, image=image, reference=reference, plane=plane)


@app.command()
def replay(
    segmentation: Annotated[
        Path, typer.Argument(metavar="SEGMENTATION", help="A .seg.nrrd file that 'automedsam segment' wrote.")
    ],
    inputs: Annotated[
        list[Path], typer.Option("--input", "-i", help="The image that was segmented; once for each modality.")
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The model's name or folder.", show_default="the name in the file"),
    ] = None,
    series: Series = None,
) -> None:
    """Run a segmentation again from what is stored in it, and compare the voxels. Exit code 1 if they differ."""
    with stoppable():
        check_room_for_a_run()
        from automedsam.cli.replay import replay_file

        replay_file(segmentation, inputs, model=model, series=series)


@app.command()
def detect(
    inputs: Inputs,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The JSON file to write.", show_default="standard output")
    ] = None,
    model: Model = "glioma",
    backend: BackendChoice = Backend.INT8,
    threshold: Threshold = None,
    plane: PlaneChoice = None,
    accept_terms: AcceptTerms = False,
    series: Series = None,
) -> None:
    """Detect boxes on every slice and write them as JSON."""
    with stoppable():
        check_room_for_a_run()
        from automedsam.cli.detect import detect_files

        accept_given(model, accept_terms)
        detect_files(inputs, output, model=model, backend=backend, threshold=threshold, plane=plane, series=series)


@app.command()
def compare(
    inputs: Inputs,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The CSV file to write.", show_default="the terminal only")
    ] = None,
    difference: Annotated[
        Path | None,
        typer.Option(help="Write where the two differ, as a segmentation such as difference.seg.nrrd."),
    ] = None,
    model: Model = "glioma",
    threshold: Threshold = None,
    plane: PlaneChoice = None,
    device: Annotated[Device, typer.Option(help="Device of FP32 on PyTorch; all else runs on the CPU.")] = Device.AUTO,
    accept_terms: AcceptTerms = False,
    series: Series = None,
) -> None:
    """Segment a volume in INT8 and in FP32, and compare the results: agreement, time, memory and size."""
    with stoppable():
        check_room_for_a_run()
        from automedsam.cli.compare import compare_files

        accept_given(model, accept_terms)
        compare_files(
            inputs,
            output,
            model=model,
            difference=difference,
            threshold=threshold,
            plane=plane,
            device=device.value,
            series=series,
        )


@app.command()
def cohort(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A folder with a case per file or subfolder, a glob pattern in quotes, a BIDS or DICOM tree, or a CSV "
            "file with the columns case, one for each modality, and perhaps reference.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A folder, new or of an earlier run, which is then continued.")
    ],
    model: Model = "glioma",
    backend: BackendChoice = Backend.INT8,
    threshold: Threshold = None,
    plane: PlaneChoice = None,
    suffix: Annotated[
        str, typer.Option("--format", help="Of the segmentations: seg.nrrd, nii.gz or dcm.")
    ] = "seg.nrrd",
    images: Annotated[bool, typer.Option(help="Keep 8-bit copies of the images, for the review page.")] = True,
    workers: Annotated[
        int | None,
        typer.Option(help="Cases at a time; more than one need Ray.", show_default="by the cores and the memory"),
    ] = None,
    cores: Annotated[int | None, typer.Option(help="Cores of each worker.", show_default="all, shared evenly")] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="A Ray cluster, or 'auto'.", show_default="this computer"),
    ] = None,
    accept_terms: AcceptTerms = False,
) -> None:
    """Segment many cases; the same command again does only what is missing or changed. Ctrl-C keeps finished cases.

    Exit code 1 means that some cases could not be segmented; they are listed.
    """
    with stoppable():
        check_room_for_a_run()
        from automedsam.cli.cohort import segment_cohort

        accept_given(model, accept_terms)
        segment_cohort(
            source,
            output,
            model=model,
            backend=backend,
            threshold=threshold,
            plane=plane,
            suffix=suffix,
            images=images,
            workers=workers,
            cores=cores,
            address=address,
        )


@app.command()
def review(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="The output folder of 'automedsam cohort'.")],
    port: Annotated[int, typer.Option(help="Port of the page.", show_default="a free one")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Review a cohort in a browser: most uncertain cases first; accept, fix or reject, with a note."""
    from automedsam.cli.review import serve

    serve(folder, port, browser)


@app.command()
def demo(
    output_dir: Annotated[Path, typer.Option(help="Folder for the volume, the segmentation and the image.")] = Path(),
) -> None:
    """Segment a synthetic head phantom and compare the result with its known lesions."""
    from rich.console import Console

    from automedsam.cli.console import RunProgress, report_table

    with stoppable():
        check_room_for_a_run()
        from automedsam.demo.run_demo import run_demo

        with RunProgress() as progress:
            result = run_demo(output_dir, progress.show)
    Console().print(report_table(result.report, *result.files))
    typer.echo(f"Dice with the known lesions: {result.dice:.3f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; what a user can put right ends in one sentence on standard error and exit code 2.

    Args:
        arguments: After the program's name; those of the process if None.
    """
    accept_any_text()
    # Nothing here multiplies large matrices: each thread of SciPy's OpenBLAS would take 32 MB (see `memory`).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        with ended_like_ctrl_c():
            app(args=None if arguments is None else list(arguments))
    except AutoMedSAMError as error:
        _refuse(str(error))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        _refuse(not_enough_memory("finish the run"))


def _refuse(sentence: str) -> NoReturn:
    print(f"automedsam: {printable(sentence)}", file=sys.stderr)
    sys.exit(BAD_INPUT)
