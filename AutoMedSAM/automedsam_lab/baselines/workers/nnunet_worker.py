"""nnU-Net v2 in its own process: plan, preprocess and train, or predict."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from worker_io import Tell, WorkerError, choose_device, run_job, write_whole

PLANNED = "planned.json"
NETWORK = "network.pt"
TRAINED = "trained.json"


def work(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Does one of `train` and `predict`.

    Args:
        job: `action`, `work` (folder), `dataset_id`, `dataset`, `device`, `threads`; to train `configuration`,
            `splits`, `minutes`, `bfloat16`, `seed` and `memory_gb` (None for nnU-Net's own); to predict `cases`
            (`{case: {"images": [paths], "output": path}}`).
        tell: sends a line.
    """
    folder = Path(job["work"])
    # nnU-Net reads these when it is imported.
    for part in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{part}"] = str(folder / part)
    os.environ.update({"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", "nnUNet_compile": "f"})

    choose_device(job)
    return _train(job, folder, tell) if job["action"] == "train" else _predict(job, folder, tell)


def _train(job: dict[str, Any], folder: Path, tell: Tell) -> dict[str, Any]:
    import torch
    from budget_trainer import Budget, BudgetTrainer

    _plan(job, folder, tell)
    preprocessed = folder / "preprocessed" / job["dataset"]
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text(encoding="utf-8"))
    if job["configuration"] not in plans["configurations"]:
        message = (
            f"nnU-Net planned no {job['configuration']} for these data; "
            f"choose one of {', '.join(plans['configurations'])}."
        )
        raise WorkerError(message)
    # Patches are drawn in this process, between the steps; the planner does not take 0.
    os.environ.update({"nnUNet_n_proc_DA": "0"})
    plans["continue_training"] = False  # What nnU-Net's own command puts in; our checkpoint is in another file.
    dataset = json.loads((preprocessed / "dataset.json").read_text(encoding="utf-8"))
    tell({"tell": f"Training {job['configuration']} for {job['minutes']:g} minutes of computing"})
    trainer = BudgetTrainer(plans, job["configuration"], 0, dataset, torch.device(job["device"]))
    trainer.bfloat16 = job["bfloat16"]
    budget = Budget(job["minutes"], on_cpu=job["device"] == "cpu")
    result = trainer.run_within(budget, folder)
    axes = trainer.inference_allowed_mirroring_axes
    torch.save(trainer.network.state_dict(), folder / f".{NETWORK}")
    (folder / f".{NETWORK}").replace(folder / NETWORK)
    result |= {
        "configuration": job["configuration"],
        "device": job["device"],
        "threads": job["threads"],
        "bfloat16": job["bfloat16"],
        "batch": trainer.batch_size,
        "patch": [int(size) for size in trainer.configuration_manager.patch_size],
        "mirror_axes": None if axes is None else [int(axis) for axis in axes],
        "size_mb": (folder / NETWORK).stat().st_size / 1e6,
        "version": _version(),
    }
    write_whole(folder / TRAINED, json.dumps(result, indent=1) + "\n")
    return result


def _plan(job: dict[str, Any], folder: Path, tell: Tell) -> None:
    """Fingerprint, plans and preprocessed cases, unless they are there; then the split that is ours."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        plan_experiment_dataset,
        preprocess_dataset,
    )

    preprocessed = folder / "preprocessed" / job["dataset"]
    if not (preprocessed / PLANNED).exists():
        tell({"tell": "Planning and preprocessing"})
        began, number = time.monotonic(), job["dataset_id"]
        extract_fingerprint_dataset(number, num_processes=1, check_dataset_integrity=True, show_progress_bar=False)
        plan_experiment_dataset(number, gpu_memory_target_in_gb=job["memory_gb"])
        preprocess_dataset(number, configurations=(job["configuration"],), num_processes=[1], show_progress_bar=False)
        spent = {"seconds": round(time.monotonic() - began, 1), "configuration": job["configuration"]}
        write_whole(preprocessed / PLANNED, json.dumps(spent) + "\n")
    write_whole(preprocessed / "splits_final.json", json.dumps([job["splits"]], indent=1) + "\n")


def _predict(job: dict[str, Any], folder: Path, tell: Tell) -> dict[str, Any]:
    """Predicts as nnU-Net's own command does: sliding window, mirrored if asked, softmax brought back to the grid."""
    import numpy as np
    import SimpleITK as sitk
    import torch
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    trained = json.loads((folder / TRAINED).read_text(encoding="utf-8"))
    preprocessed = folder / "preprocessed" / job["dataset"]
    dataset = json.loads((preprocessed / "dataset.json").read_text(encoding="utf-8"))
    plans = PlansManager(str(preprocessed / "nnUNetPlans.json"))
    configuration = plans.get_configuration(trained["configuration"])
    labels = plans.get_label_manager(dataset)
    network = nnUNetTrainer.build_network_architecture(
        plans,
        configuration,
        determine_num_input_channels(plans, configuration, dataset),
        labels.num_segmentation_heads,
        enable_deep_supervision=False,
    )
    weights = torch.load(folder / NETWORK, map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    device = torch.device(job["device"])
    predictor = nnUNetPredictor(device=device, allow_tqdm=False)
    axes = trained["mirror_axes"] if job["mirror"] else None
    predictor.manual_initialization(
        network.to(device).eval(), plans, configuration, [weights], dataset, "BudgetTrainer", axes and tuple(axes)
    )
    preprocessor = configuration.preprocessor_class(verbose=False)
    for name, case in job["cases"].items():
        began = time.monotonic()
        data, _, properties = preprocessor.run_case(case["images"], None, plans, configuration, dataset)
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
        found = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, plans, configuration, labels, properties
        )
        seconds = time.monotonic() - began
        image = sitk.GetImageFromArray(np.asarray(found).astype(np.uint8))
        image.CopyInformation(sitk.ReadImage(case["images"][0]))
        sitk.WriteImage(image, case["output"], useCompression=True)
        tell({"done": name, "seconds": seconds, "images": int(image.GetSize()[2])})
    return {**trained, "version": _version()}


def _version() -> str:
    from importlib.metadata import version

    return version("nnunetv2")


if __name__ == "__main__":
    run_job(work)
