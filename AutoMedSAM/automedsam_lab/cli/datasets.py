"""How the commands name a dataset: a built-in task with the folder of its files, or a prepared dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.data.builtin_tasks import GLIOMA_WITH_SKULL
from automedsam_lab.data.splits import SPLITS, UNSEEN

if TYPE_CHECKING:
    from automedsam_lab.data.dataset import Dataset

TASK_NAMES = "hippocampus, glioma, brats or glioma-with-skull"

DataFolder = Annotated[
    Path | None,
    typer.Option("--data", "--cases", help="Folder that contains the published datasets of a built-in task."),
]
PreparedFolder = Annotated[
    Path | None,
    typer.Option("--prepared", help="A dataset prepared by 'automedsam-lab prepare', instead of --data."),
]
BundleTask = Annotated[
    str | None, typer.Option("--task", help=f"Built-in task: {TASK_NAMES}.", show_default="the bundle's name")
]
Split = Annotated[
    str,
    typer.Option(
        "--split",
        "--part",
        help=f"Split to use: {', '.join(SPLITS)}; {UNSEEN} is every case outside train and val.",
    ),
]


def check_one_dataset(data: Path | None, prepared: Path | None) -> None:
    """Checks that one of `--data` and `--prepared` is given.

    Raises:
        AutoMedSAMError: Neither or both are given.
    """
    if (data is None) == (prepared is None):
        message = "Give either --data with the folder of published datasets, or --prepared with a prepared dataset."
        raise AutoMedSAMError(message)


def open_dataset(task: str, data: Path | None, prepared: Path | None) -> Dataset:
    """The dataset that a user named.

    Args:
        task: Built-in task, for `data`.
        data: Folder of the published datasets.
        prepared: Folder of a prepared dataset.

    Raises:
        AutoMedSAMError: Neither or both folders are given, the task is unknown, or the prepared dataset is faulty.
    """
    check_one_dataset(data, prepared)
    if prepared is not None:
        with require("lab", "Reading a prepared dataset"):
            from automedsam_lab.data.prepared.dataset import PreparedDataset
            from automedsam_lab.data.prepared.native_dataset import NativeDataset

        return NativeDataset(PreparedDataset.open(prepared))
    from automedsam_lab.data.builtin_dataset import BuiltinDataset

    assert data is not None
    if task == GLIOMA_WITH_SKULL:
        with require("lab", "Gliomas in heads with skull"):
            from automedsam_lab.data.head_dataset import HeadDataset

        return HeadDataset(data)
    return BuiltinDataset(task, data)
