"""nnU-Net v2, trained on the same patients as our model and with a stated budget of computing time."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam_lab.baselines.process import WORKERS, Line, RunSettings, Worker, run_worker
from automedsam_lab.common.json_files import write_json
from automedsam_lab.common.system_info import describe_machine
from automedsam_lab.data.builtin_tasks import GLIOMA, HIPPOCAMPUS, SPLIT_SEED
from automedsam_lab.data.dataset import Dataset, DatasetCase, training_cases
from automedsam_lab.data.prediction_folder import Baseline, CaseCost, make_folder, write_baseline

if TYPE_CHECKING:
    from automedsam.core.volume import Volume

logger = logging.getLogger(__name__)

WORKER = Worker("nnU-Net", WORKERS / "nnunet_worker.py", "pip install 'automedsam[baseline-nnunet]'")
LICENSE = "Apache-2.0 (the code; the weights are trained here)"
VOLUMES, PICTURES = "3d_fullres", "2d"
# nnU-Net numbers its datasets; each lies in a working folder of its own.
_NUMBERS = {HIPPOCAMPUS: 4, GLIOMA: 1}
_OTHER_NUMBER = 500
_SPLIT = "split.json"
_TRAINED = "trained.json"


@dataclass(frozen=True)
class TrainingSettings(RunSettings):
    """How nnU-Net is trained.

    Attributes:
        minutes: Training budget: CPU time of all threads on a CPU, wall time on a GPU.
        configuration: Configuration of nnU-Net's plans; "3d_fullres", or "2d" for single slices, if None.
        bfloat16: Mixed precision on a CPU, as nnU-Net has it on GPUs: more than twice as fast if the CPU has
            instructions for it (AVX512-BF16, AMX), slower otherwise.
        memory_gb: Memory of a GPU that nnU-Net plans patch and batch for; its own 8 GB if None.
    """

    minutes: float = 100.0
    configuration: str | None = None
    bfloat16: bool = False
    memory_gb: float | None = None


@dataclass(frozen=True)
class PredictionSettings(RunSettings):
    """How nnU-Net predicts.

    Attributes:
        mirror: Whether each patch is predicted in all its mirror images, eight in a volume, as nnU-Net does by default.
    """

    mirror: bool = True


def dataset_name(dataset: Dataset) -> str:
    """The name of a dataset in nnU-Net."""
    return f"Dataset{_number(dataset):03d}_{dataset.name}"


def convert(dataset: Dataset, work: Path) -> dict[str, list[str]]:
    """Writes the training and validation cases as nnU-Net wants them; test cases are not touched.

    Args:
        dataset: The dataset.
        work: Gets `raw/DatasetNNN_name/{imagesTr,labelsTr,dataset.json}` and `split.json`. What an earlier call has
            finished is kept.

    Returns:
        The split for nnU-Net's fold 0: names of cases under "train" and "val". Without validation cases the training
        cases are in both, because nnU-Net needs some to evaluate during training; nothing is selected on them.

    Raises:
        AutoMedSAMError: There are no cases, one cannot be read, or `work` cannot be written or is another dataset's.
    """
    train, val = training_cases(dataset), dataset.cases("val")
    names = [case.name for case in train]
    splits = {"train": names, "val": [case.name for case in val] or names}
    stored = work / _SPLIT
    content = {"task": dataset.name, **splits}
    if stored.exists():
        if json.loads(stored.read_text(encoding="utf-8")) != content:
            message = f"{work} holds another dataset or split; give an empty folder, or remove this one."
            raise AutoMedSAMError(message)
        return splits

    raw = work / "raw" / dataset_name(dataset)
    try:
        for part in ("imagesTr", "labelsTr"):
            (raw / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder {work} cannot be made ({error.strerror}); choose another one."
        raise AutoMedSAMError(message) from error
    values = sorted(dataset.labels)
    channels = 1
    for case in (*train, *val):
        volume, reference = case.load_with_masks()
        channels = len(_write_channels(volume, case.name, raw / "imagesTr"))
        _write(volume.to_image(_consecutive(reference, values)), raw / "labelsTr" / f"{case.name}.nii.gz")
    description = {
        # nnU-Net normalizes CT by the whole dataset, and everything else by the case.
        "channel_names": {str(index): train[0].modality or "image" for index in range(channels)},
        "labels": {name: index for index, name in enumerate(["background", *_unique_names(dataset.labels)])},
        "numTraining": len(train) + len(val),
        "file_ending": ".nii.gz",
    }
    write_json(description, raw / "dataset.json")
    write_json(content, stored)
    return splits


def train(dataset: Dataset, work: Path, settings: TrainingSettings) -> dict[str, Any]:
    """Converts, plans, preprocesses and trains. An interrupted training resumes after its last epoch.

    Args:
        dataset: The dataset.
        work: Working folder of nnU-Net, with the checkpoint, `training.csv` and `trained.json`.
        settings: Budget, configuration and device.

    Returns:
        What `trained.json` holds: minutes used, iterations, patch, size.

    Raises:
        AutoMedSAMError: `convert` or the training fails.
    """
    if shutil.disk_usage(_existing(work)).free < 1e9:
        message = f"Less than 1 GB is free where {work} is; choose another folder."
        raise AutoMedSAMError(message)
    splits = convert(dataset, work)
    job = {
        **_job(dataset, work, settings),
        "action": "train",
        "configuration": settings.configuration or _usual_configuration(dataset),
        "splits": splits,
        "minutes": settings.minutes,
        "bfloat16": settings.bfloat16,
        "memory_gb": settings.memory_gb,
        "seed": SPLIT_SEED,
    }

    def on_line(line: Line) -> None:
        logger.info("%s", line.get("tell", line))

    result = run_worker(
        WORKER, job, work / "nnunet.log", python=settings.python, threads=settings.threads, on_line=on_line
    )
    # The worker may run where our own description of the machine is not available.
    write_json({**result, "machine": describe_machine() | result["ran_on"]}, work / _TRAINED)
    return result


def predict(
    dataset: Dataset,
    cases: Sequence[DatasetCase],
    work: Path,
    out: Path,
    settings: PredictionSettings | None = None,
    on_done: Callable[[str, float], None] = lambda case, seconds: None,
) -> Baseline:
    """Predicts cases with the network that `train` left in `work`, and writes the folder of the baseline.

    Args:
        dataset: The dataset that it was trained on.
        cases: The cases to predict.
        work: Working folder of `train`.
        out: The folder of the baseline; made if absent.
        settings: Mirroring and device; the defaults if None.
        on_done: Called with each case and its seconds: reading, preprocessing, network and resampling back.

    Returns:
        What `baseline.json` holds.

    Raises:
        AutoMedSAMError: Nothing was trained in `work`, or on other patients; nnU-Net fails; or `out` cannot be written.
    """
    settings = settings or PredictionSettings()
    trained = _check_trained(dataset, cases, work)
    inputs = work / "inputs"
    make_folder(out)
    inputs.mkdir(exist_ok=True)
    requested: dict[str, Any] = {}
    for case in cases:
        paths = _write_channels(case.load().volume, case.name, inputs)
        requested[case.name] = {"images": [str(p) for p in paths], "output": str(out / f"{case.name}.nii.gz")}

    done: dict[str, CaseCost] = {}

    def on_line(line: Line) -> None:
        if "done" in line:
            done[line["done"]] = {"seconds": line["seconds"], "images": line["images"]}
            on_done(line["done"], line["seconds"])

    job = {**_job(dataset, work, settings), "action": "predict", "cases": requested, "mirror": settings.mirror}
    result = run_worker(
        WORKER, job, work / "nnunet.log", python=settings.python, threads=settings.threads, on_line=on_line
    )
    _restore_values([Path(case["output"]) for case in requested.values()], sorted(dataset.labels))
    on_cpu = trained["device"] == "cpu"
    baseline = Baseline(
        name=f"nnU-Net ({trained['configuration']})",
        version=result["version"],
        license=LICENSE,
        prompted="none",
        weights="trained here",
        size_mb=trained["size_mb"],
        machine=describe_machine() | result["ran_on"],
        cpu_minutes_training=trained["used_minutes"] if on_cpu else None,
        cases=done,
        note=(
            f"Trained on the training patients of {dataset.title} for {trained['used_minutes']:g} "
            f"{'CPU' if on_cpu else 'GPU'} minutes ({trained['iterations']} iterations of batch {trained['batch']}, "
            f"{trained['wall_minutes']:g} minutes by the clock with {trained['threads']} threads), one fold, last "
            f"weights, nnU-Net's own augmentation, {'and its' if settings.mirror else 'without its'} mirroring at test "
            "time."
        ),
    )
    write_baseline(baseline, out)
    return baseline


def _check_trained(dataset: Dataset, cases: Sequence[DatasetCase], work: Path) -> dict[str, Any]:
    """What `trained.json` holds, if the network was trained on this dataset and on none of its held-out cases."""
    if not (work / _TRAINED).exists():
        message = (
            f"No finished nnU-Net training is in {work}: run 'automedsam-lab baseline nnunet train' to its end first."
        )
        raise AutoMedSAMError(message)
    stored = json.loads((work / _SPLIT).read_text(encoding="utf-8"))
    if stored["task"] != dataset.name:
        message = f"The nnU-Net in {work} was not trained on {dataset.name}; give its own folder."
        raise AutoMedSAMError(message)
    shaped = {*stored["train"], *stored["val"]}
    own = {*dataset.patients["train"], *dataset.patients["val"]}
    leaked = next((case.name for case in cases if case.name in shaped and case.patient not in own), None)
    if leaked is not None:
        message = (
            f"The nnU-Net in {work} was trained on the case {leaked}, which {dataset.title} holds out; train it again "
            "in another folder."
        )
        raise AutoMedSAMError(message)
    trained: dict[str, Any] = json.loads((work / _TRAINED).read_text(encoding="utf-8"))
    return trained


def _job(dataset: Dataset, work: Path, settings: RunSettings) -> dict[str, Any]:
    return {
        "work": str(work.resolve()),
        "dataset": dataset_name(dataset),
        "dataset_id": _number(dataset),
        "device": settings.device,
        "threads": settings.threads,
    }


def _number(dataset: Dataset) -> int:
    return _NUMBERS.get(dataset.name, _OTHER_NUMBER)


def _usual_configuration(dataset: Dataset) -> str:
    return PICTURES if training_cases(dataset)[0].load().volume.shape[0] == 1 else VOLUMES


def _unique_names(labels: Mapping[int, str]) -> list[str]:
    """The names by value, with the value where a name is not unique."""
    names = ["background", *labels.values()]
    return [name if names.count(name) == 1 else f"{name} {value}" for value, name in sorted(labels.items())]


def _consecutive(labels: NDArray[np.uint8], values: Sequence[int]) -> NDArray[np.uint8]:
    """Label values as 1, 2, ...: nnU-Net takes no gaps."""
    table = np.zeros(256, np.uint8)
    table[list(values)] = np.arange(1, len(values) + 1)
    return table[labels]


def _restore_values(paths: Sequence[Path], values: Sequence[int]) -> None:
    """Undoes `_consecutive` in the label maps that nnU-Net wrote."""
    import SimpleITK as sitk

    if list(values) == list(range(1, len(values) + 1)):
        return
    table = np.array([0, *values], np.uint8)
    for path in paths:
        stored = sitk.ReadImage(str(path))
        image = sitk.GetImageFromArray(table[sitk.GetArrayFromImage(stored)])
        image.CopyInformation(stored)
        _write(image, path)


def _write_channels(volume: Volume, name: str, folder: Path) -> list[Path]:
    """Writes each channel of a volume as a file."""
    channels = volume.array if volume.array.ndim == 4 else volume.array[None]
    paths = [folder / _channel_file(name, index) for index in range(len(channels))]
    for path, channel in zip(paths, channels, strict=True):
        _write(volume.to_image(channel.astype(np.float32)), path)
    return paths


def _channel_file(patient: str, index: int) -> str:
    return f"{patient}_{index:04d}.nii.gz"


def _existing(path: Path) -> Path:
    absolute = path.resolve()
    return next(folder for folder in (absolute, *absolute.parents) if folder.exists())


def _write(image: Any, path: Path) -> None:
    import SimpleITK as sitk

    with atomic_write(path) as unfinished:
        sitk.WriteImage(image, str(unfinished), useCompression=True)
