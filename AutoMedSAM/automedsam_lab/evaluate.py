"""Measure a bundle on labelled cases: what a person would get from it, and what each half contributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from automedsam.backends import Backend
from automedsam.errors import AutoMedSAMError
from automedsam_lab import datasets
from automedsam_lab.evaluate_case import Row, evaluate_case
from automedsam_lab.evaluate_pictures import agreement, dice_plot, overview
from automedsam_lab.evaluate_report import summarise, write_csv, write_json
from automedsam_lab.extras import needs

if TYPE_CHECKING:
    from automedsam.bundle import Bundle

UNSEEN = "unseen"
PARTS = ("test", "validation", "train", UNSEEN)
_PRECISIONS = {Backend.INT8: "int8", Backend.FP32_ONNX: "fp32"}


def evaluate(
    bundle: Bundle,
    cases: Sequence[datasets.Case],
    out: Path,
    backends: Sequence[Backend] | None = None,
    *,
    data: str = "",
    on_done: Callable[[list[Row]], None] = lambda rows: None,
) -> list[Row]:
    """Runs every case through every backend, and writes what came of it.

    Args:
        bundle: the model.
        cases: labelled cases of one of the lab's tasks.
        out: folder for `results.csv` (by case, label and backend), `summary.json`, `dice.png`, `overview.png`
            and a picture of each case in `cases`; made if absent.
        backends: what shall compute; INT8 and, where its files are here, FP32 on ONNX Runtime if None.
        data: what the cases are, for the summary.
        on_done: is told the rows of each case and backend as they come.

    Returns:
        A row for each case, backend and label.

    Raises:
        AutoMedSAMError: if there are no cases, one or the bundle cannot be read, or `out` cannot be written.
    """
    chosen = list(backends) if backends is not None else available_backends(bundle)
    if not cases:
        message = "There are no cases to evaluate on: give a folder with cases of the bundle's task."
        raise AutoMedSAMError(message)
    with needs("lab", "Evaluation"):
        import matplotlib  # noqa: F401
    pictures = out / "cases"
    try:
        pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder {out} cannot be made ({error.strerror}); choose another one."
        raise AutoMedSAMError(message) from error

    rows: list[Row] = []
    for case in cases:
        volume, stored = datasets.load(case)
        truth = datasets.task_labels(case, stored)
        for backend in chosen:
            fresh, segmentation = evaluate_case(case.patient, volume, truth, bundle, backend)
            rows += fresh
            if backend is chosen[0]:
                agreement(segmentation, truth, pictures / f"{case.patient}.png")
            on_done(fresh)
        # Written anew after each case, so that an evaluation that is stopped leaves what it has measured.
        write_csv(rows, out / "results.csv")
    write_json(summarise(rows, bundle, data), out / "summary.json")
    dice_plot(rows, f"{bundle.name} {bundle.version}", out / "dice.png")
    overview(rows, pictures, out / "overview.png")
    return rows


def available_backends(bundle: Bundle) -> list[Backend]:
    """INT8, and FP32 on ONNX Runtime where the bundle has the files: both need no PyTorch."""
    named = {"int8", *bundle.manifest["detector"]["files"]} & {"int8", *bundle.manifest["segmenter"]["files"]}
    return [
        backend
        for backend, precision in _PRECISIONS.items()
        if precision == "int8" or (precision in named and bundle.has(precision))
    ]


def choose_cases(task: str, root: Path, part: str = "test", limit: int | None = None) -> list[datasets.Case]:
    """The expert-labelled cases to report on.

    Args:
        task: "hippocampus" or "glioma".
        root: the folder of datasets.
        part: of the task's written split, or "unseen": whatever is in `root` and is in no part that trains or
            selects, test patients and strangers alike.
        limit: at most so many, spread evenly over the patients; None for all.

    Raises:
        AutoMedSAMError: if the task or part is unknown, or there are no such cases in `root`.
    """
    if part not in PARTS:
        message = f"There is no part {part!r} of the split; use one of {', '.join(PARTS)}."
        raise AutoMedSAMError(message)
    found = datasets.cases(task, root)
    if part == UNSEEN:
        written = datasets.split(task)
        seen = {patient for name, patients in written.items() if name != "test" for patient in patients}
        found = [case for case in found if case.patient not in seen]
    else:
        wanted = set(datasets.split(task).get(part, []))
        found = [case for case in found if case.patient in wanted]
    found = [case for case in found if case.expert]
    if not found:
        message = f"No {task} cases of the part {part!r} are in {root}; choose another part or folder."
        raise AutoMedSAMError(message)
    if limit is None or limit >= len(found):
        return found
    return [found[index * len(found) // limit] for index in range(limit)]
