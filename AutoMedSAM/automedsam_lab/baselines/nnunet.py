"""nnU-Net v2, trained on the same patients as ours and on a stated budget of computing."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam_lab.baselines.process import WORKERS, Line, Worker, run_worker
from automedsam_lab.common.system_info import describe_machine
from automedsam_lab.data import builtin_tasks
from automedsam_lab.data.prediction_folder import TRAINED_HERE, Baseline, make_folder, write_baseline

logger = logging.getLogger(__name__)

WORKER = Worker("nnU-Net", WORKERS / "nnunet_worker.py", "pip install 'automedsam[baseline-nnunet]'")
LICENCE = "Apache-2.0 (the code; the weights are trained here)"
CONFIGURATION = "3d_fullres"
_NUMBERS = {builtin_tasks.HIPPOCAMPUS: 4, builtin_tasks.GLIOMA: 1}
_LABELS = {
    builtin_tasks.HIPPOCAMPUS: {"background": 0, "anterior": 1, "posterior": 2},
    builtin_tasks.GLIOMA: {"background": 0, "whole tumour": 1},
}
_SPLIT = "split.json"
_TRAINED = "trained.json"


def dataset_name(task: str) -> str:
    """What nnU-Net calls a task's dataset."""
    return f"Dataset{_NUMBERS[task]:03d}_{task}"


def convert(task: str, data: Path, work: Path) -> dict[str, list[str]]:
    """Writes a task's training and validation patients as nnU-Net wants them; nobody of the test part is touched.

    Args:
        task: "hippocampus" or "glioma".
        data: the folder of datasets.
        work: gets `raw/DatasetNNN_task/{imagesTr,labelsTr,dataset.json}` and `split.json`; what an earlier call has
            finished there is kept.

    Returns:
        The split for nnU-Net's fold 0, "train" and "val". A task without validation patients has its training
        patients in both: nnU-Net wants some to look at, and nothing is selected on them.

    Raises:
        AutoMedSAMError: if there are no cases, one cannot be read, or `work` cannot be written or is another task's.
    """
    builtin_tasks.check_task(task)
    train = builtin_tasks.cases_of(task, data, "train", "train_silver")
    validation = builtin_tasks.cases_of(task, data, "validation")
    if not train:
        message = f"No training patient of the {task} split is in {data}; give the folder of the datasets."
        raise AutoMedSAMError(message)
    names = [case.patient for case in train]
    splits = {"train": names, "val": [case.patient for case in validation] or names}
    written = work / _SPLIT
    content = {"task": task, **splits}
    if written.exists():
        if json.loads(written.read_text(encoding="utf-8")) != content:
            message = f"{work} holds another task or split; give an empty folder, or remove this one."
            raise AutoMedSAMError(message)
        return splits

    raw = work / "raw" / dataset_name(task)
    try:
        for part in ("imagesTr", "labelsTr"):
            (raw / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder {work} cannot be made ({error.strerror}); choose another one."
        raise AutoMedSAMError(message) from error
    for case in (*train, *validation):
        volume, stored = builtin_tasks.load(case)
        channels = volume.array if volume.array.ndim == 4 else volume.array[None]
        for index, channel in enumerate(channels):
            _write(volume.to_image(channel.astype(np.float32)), raw / "imagesTr" / _channel_file(case.patient, index))
        _write(volume.to_image(builtin_tasks.task_labels(case, stored)), raw / "labelsTr" / f"{case.patient}.nii.gz")
    described = {
        # nnU-Net normalises what it knows to be CT by the whole dataset, and all else by the case.
        "channel_names": {str(index): train[0].modality for index in range(len(train[0].images))},
        "labels": _LABELS[task],
        "numTraining": len(train) + len(validation),
        "file_ending": ".nii.gz",
    }
    _write_json(described, raw / "dataset.json")
    _write_json(content, written)
    return splits


def train(
    task: str,
    data: Path,
    work: Path,
    *,
    minutes: float,
    configuration: str = CONFIGURATION,
    device: str = "cpu",
    threads: int = 2,
    bfloat16: bool = False,
    memory_gb: float | None = None,
    python: Path | None = None,
) -> dict[str, Any]:
    """Converts, plans, preprocesses and trains; a training that was stopped goes on where its last epoch ended.

    Args:
        task: "hippocampus" or "glioma".
        data: the folder of datasets.
        work: nnU-Net's own folders, the checkpoint, `training.csv` and `trained.json`.
        minutes: of training in all: CPU time of all threads on a CPU, wall time on a GPU.
        configuration: of nnU-Net's plans.
        device: "cpu" or "cuda".
        threads: that compute on a CPU.
        bfloat16: mixed precision on a CPU, as nnU-Net has it on GPUs: more than twice as fast where the CPU has
            instructions for it (AVX512-BF16, AMX), slower elsewhere.
        memory_gb: of a GPU that nnU-Net shall plan for, which decides patch and batch; its own 8 GB if None.
        python: the interpreter that has nnunetv2; this one if None.

    Returns:
        What `trained.json` holds: minutes used, iterations, patch, size.

    Raises:
        AutoMedSAMError: if `convert` or the training fails.
    """
    if shutil.disk_usage(_existing(work)).free < 1e9:
        message = f"Less than 1 GB is free where {work} is; choose another folder."
        raise AutoMedSAMError(message)
    splits = convert(task, data, work)
    job = {
        **_job(task, work, device, threads),
        "action": "train",
        "configuration": configuration,
        "splits": splits,
        "minutes": minutes,
        "bfloat16": bfloat16,
        "memory_gb": memory_gb,
        "seed": builtin_tasks.SPLIT_SEED,
    }

    def on_line(line: Line) -> None:
        logger.info("%s", line.get("tell", line))

    result = run_worker(WORKER, job, work / "nnunet.log", python=python, threads=threads, on_line=on_line)
    # The worker may run where our own machine's description cannot be had.
    _write_json({**result, "machine": describe_machine() | result["ran_on"]}, work / _TRAINED)
    return result


def predict(
    task: str,
    cases: Sequence[builtin_tasks.Case],
    work: Path,
    out: Path,
    *,
    mirror: bool = True,
    device: str = "cpu",
    threads: int = 2,
    python: Path | None = None,
    on_done: Callable[[str, float], None] = lambda case, seconds: None,
) -> Baseline:
    """Predicts cases with what `train` has left in `work`, and writes the baseline's folder.

    Args:
        task: what was trained on.
        cases: to predict.
        work: of `train`.
        out: the baseline's folder; made if absent.
        mirror: whether each patch is predicted in all its mirror images, eight in a volume, as nnU-Net does by itself.
        device: "cpu" or "cuda".
        threads: that compute on a CPU.
        python: the interpreter that has nnunetv2; this one if None.
        on_done: is told each case and its seconds: reading, preprocessing, network and resampling back.

    Returns:
        What `baseline.json` holds.

    Raises:
        AutoMedSAMError: if nothing was trained in `work`, nnU-Net fails, or `out` cannot be written.
    """
    if not (work / _TRAINED).exists():
        message = (
            f"No finished nnU-Net training is in {work}: run 'automedsam-lab baseline nnunet train' to its end first."
        )
        raise AutoMedSAMError(message)
    if json.loads((work / _SPLIT).read_text(encoding="utf-8"))["task"] != task:
        message = f"The nnU-Net in {work} was not trained on {task}; give its own folder."
        raise AutoMedSAMError(message)
    trained = json.loads((work / _TRAINED).read_text(encoding="utf-8"))
    inputs = work / "inputs"
    make_folder(out)
    inputs.mkdir(exist_ok=True)
    asked: dict[str, Any] = {}
    for case in cases:
        volume, _ = builtin_tasks.load(case)
        channels = volume.array if volume.array.ndim == 4 else volume.array[None]
        paths = [inputs / _channel_file(case.patient, index) for index in range(len(channels))]
        for path, channel in zip(paths, channels, strict=True):
            _write(volume.to_image(channel.astype(np.float32)), path)
        asked[case.patient] = {"images": [str(p) for p in paths], "output": str(out / f"{case.patient}.nii.gz")}

    done: dict[str, dict[str, float]] = {}

    def on_line(line: Line) -> None:
        if "done" in line:
            done[line["done"]] = {"seconds": line["seconds"], "images": line["images"]}
            on_done(line["done"], line["seconds"])

    job = {**_job(task, work, device, threads), "action": "predict", "cases": asked, "mirror": mirror}
    result = run_worker(WORKER, job, work / "nnunet.log", python=python, threads=threads, on_line=on_line)
    on_cpu = trained["device"] == "cpu"
    baseline = Baseline(
        name=f"nnU-Net ({trained['configuration']})",
        version=result["version"],
        licence=LICENCE,
        prompted="none",
        weights=TRAINED_HERE,
        size_mb=trained["size_mb"],
        machine=describe_machine() | result["ran_on"],
        cpu_minutes_training=trained["used_minutes"] if on_cpu else None,
        cases=done,
        note=(
            f"Trained on the training patients of our {task} split for {trained['used_minutes']:g} "
            f"{'CPU' if on_cpu else 'GPU'} minutes ({trained['iterations']} iterations of batch {trained['batch']}, "
            f"{trained['wall_minutes']:g} minutes by the clock with {trained['threads']} threads), one fold, last "
            f"weights, nnU-Net's own augmentation, {'and its' if mirror else 'without its'} mirroring at test time."
        ),
    )
    write_baseline(baseline, out)
    return baseline


def _job(task: str, work: Path, device: str, threads: int) -> dict[str, Any]:
    return {
        "work": str(work.resolve()),
        "dataset": dataset_name(task),
        "dataset_id": _NUMBERS[task],
        "device": device,
        "threads": threads,
    }


def _channel_file(patient: str, index: int) -> str:
    return f"{patient}_{index:04d}.nii.gz"


def _existing(path: Path) -> Path:
    absolute = path.resolve()
    return next(folder for folder in (absolute, *absolute.parents) if folder.exists())


def _write(image: Any, path: Path) -> None:
    import SimpleITK as sitk

    with atomic_write(path) as unfinished:
        sitk.WriteImage(image, str(unfinished), useCompression=True)


def _write_json(content: dict[str, Any], path: Path) -> None:
    with atomic_write(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
