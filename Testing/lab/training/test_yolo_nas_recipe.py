"""YOLO-NAS trains on a prepared dataset, stops, resumes and ends in a detector, in seconds."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("cv2", reason="the lab's training packages are not installed")
if importlib.util.find_spec("super_gradients") is None:
    pytest.skip("super_gradients is not installed (README: training)", allow_module_level=True)

from prepared_files import write_prepared  # noqa: E402
from processes import run_in_two  # noqa: E402

from automedsam.detection.detector import ResizeMode  # noqa: E402
from automedsam.errors import AutoMedSAMError  # noqa: E402
from automedsam_lab.bundling.detector_source import open_detector_source  # noqa: E402
from automedsam_lab.cli.app import main  # noqa: E402
from automedsam_lab.data.prepared.dataset import PreparedDataset  # noqa: E402
from automedsam_lab.export.detector import export_detector  # noqa: E402
from automedsam_lab.models.yolo_nas import build_yolo_nas, load_detector, read_checkpoint  # noqa: E402
from automedsam_lab.quantization.detector import prepared_calibration  # noqa: E402
from automedsam_lab.training.detector.yolo_nas_recipe import YoloNasSettings, train_yolo_nas_detector  # noqa: E402

TINY = YoloNasSettings(epochs=2, batch=4, image_size=64, width=0.25)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def a_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared") / "drawn")


@pytest.fixture(scope="module")
def a_run(a_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two epochs of three steps, and then a third epoch."""
    out = tmp_path_factory.mktemp("runs") / "poster"
    train_yolo_nas_detector(a_dataset, out, settings=TINY, device="cpu")
    first = read_checkpoint(out / "detector.pt")
    train_yolo_nas_detector(a_dataset, out, settings=replace(TINY, epochs=3), device="cpu", resume=True)
    torch.save(first["model"], out / "after_two.pt")
    return out


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_the_recipe_s_numbers_are_the_defaults() -> None:
    settings = YoloNasSettings()
    assert (settings.epochs, settings.batch, settings.rate, settings.image_size) == (100, 4, 1e-3, 640)
    assert (settings.model, settings.width) == ("s", 1.0)


def test_training_logs_each_epoch_and_resume_goes_on_with_the_next(a_run: Path) -> None:
    rows = rows_of(a_run)
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 3), (2, 6), (3, 9)]
    assert all(np.isfinite(row["loss"]) and 0 <= row["validation_ap50"] <= 1 for row in rows)
    assert len(list((a_run / "super_gradients").iterdir())) == 1
    assert list(a_run.glob("super_gradients/RUN_*/events.out.tfevents.*"))


def test_training_moves_the_weights_and_resuming_moves_them_on(a_run: Path) -> None:
    torch.manual_seed(TINY.seed)
    fresh = build_yolo_nas("s", 2, TINY.width).state_dict()
    latest = next(a_run.glob("super_gradients/RUN_*/ckpt_latest.pth"))
    trained = torch.load(latest, weights_only=True)["net"]
    two = torch.load(a_run / "after_two.pt", weights_only=True)
    name = "backbone.stem.conv.branch_3x3.conv.weight"
    assert not torch.equal(fresh[name], two[name]) and not torch.equal(two[name], trained[name])


def test_resuming_goes_on_with_the_averaged_weights(a_dataset: Path, tmp_path: Path) -> None:
    """What an average of ever so many epochs knows is not thrown away at the first step after a break."""
    still = replace(TINY, epochs=1, rate=0.0)
    train_yolo_nas_detector(a_dataset, tmp_path, settings=still, device="cpu")
    latest = next(tmp_path.glob("super_gradients/RUN_*/ckpt_latest.pth"))
    stored, name = torch.load(latest, weights_only=True), "heads.head1.cls_pred.bias"
    stored["ema_net"][name] += 100
    torch.save(stored, latest)
    train_yolo_nas_detector(a_dataset, tmp_path, settings=replace(still, epochs=2), device="cpu", resume=True)
    after = torch.load(latest, weights_only=True)
    assert torch.equal(after["net"][name], stored["net"][name])
    assert bool((after["ema_net"][name] - stored["net"][name] > 5).all())


def test_ctrl_c_keeps_the_best_detector_and_explains_how_to_continue(
    a_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from automedsam_lab.training.detector import super_gradients_trainer

    begin = super_gradients_trainer.Watch.on_train_loader_start

    def stop_in_the_second_epoch(self: Any, context: Any) -> None:
        if context.epoch == 1:
            raise KeyboardInterrupt
        begin(self, context)

    monkeypatch.setattr(super_gradients_trainer.Watch, "on_train_loader_start", stop_in_the_second_epoch)
    options = ["--epochs", "3", "--size", "64", "--width", "0.25", "--device", "cpu"]
    arguments = [
        "train",
        "detector",
        "--recipe",
        "yolo-nas",
        "--prepared",
        str(a_dataset),
        "-o",
        str(tmp_path),
        *options,
    ]
    with pytest.raises(SystemExit) as left:
        main(arguments)
    printed = capsys.readouterr()
    assert left.value.code == 130 and "The same command with --resume" in printed.err
    assert "Written" not in printed.out and (tmp_path / "detector.pt").is_file()
    monkeypatch.undo()
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--resume"])
    assert left.value.code == 0 and [row["epoch"] for row in rows_of(tmp_path)] == [1, 2, 3]


def test_training_begins_with_the_weights_of_another(a_dataset: Path, a_run: Path, tmp_path: Path) -> None:
    settings = replace(TINY, epochs=1, rate=0.0)
    start = a_run / "detector.pt"
    train_yolo_nas_detector(a_dataset, tmp_path / "run", settings=settings, device="cpu", start_from=start)
    before, after = (read_checkpoint(path)["average"] for path in (start, tmp_path / "run" / "detector.pt"))
    torch.manual_seed(TINY.seed)
    fresh = build_yolo_nas("s", 2, TINY.width).state_dict()
    name = "backbone.stem.conv.branch_3x3.conv.weight"
    assert torch.allclose(before[name], after[name], atol=1e-5)  # the warm-up's first step
    assert not torch.allclose(fresh[name], after[name], atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": 0.5}, "is a YOLO-NAS-S of width 0.5, not S of 0.25: give --model s --width 0.5"),
        ({"size": "m"}, "is a YOLO-NAS-M of width 0.25"),
        ({"classes": ["tumour"]}, "finds tumour, not bright, brighter"),
    ],
)
def test_weights_of_another_detector_are_no_beginning(
    changed: dict[str, Any],
    message: str,
    a_dataset: Path,
    a_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stored = read_checkpoint(a_run / "detector.pt")
    torch.save({**stored, "settings": stored["settings"] | changed}, tmp_path / "other.pt")
    options = ["--width", "0.25", "--size", "64", "--start-from", str(tmp_path / "other.pt")]
    with pytest.raises(SystemExit) as left:
        main(
            [
                "train",
                "detector",
                "--recipe",
                "yolo-nas",
                "--prepared",
                str(a_dataset),
                "-o",
                str(tmp_path / "r"),
                *options,
            ]
        )
    error = capsys.readouterr().err
    assert left.value.code == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_training_is_not_begun_where_another_is(a_dataset: Path, a_run: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="holds a training already: give --resume"):
        train_yolo_nas_detector(a_dataset, a_run, settings=TINY, device="cpu")


def test_resuming_another_network_is_refused(a_dataset: Path, a_run: Path) -> None:
    with pytest.raises(AutoMedSAMError, match=r"ckpt_latest\.pth is of another network .* resume with the dataset"):
        train_yolo_nas_detector(a_dataset, a_run, settings=replace(TINY, width=0.5), device="cpu", resume=True)


def test_run_ends_in_a_detector_that_convert_takes(a_run: Path, tmp_path: Path) -> None:
    source = open_detector_source(str(a_run / "detector.pt"))
    assert (source.classes, source.input_size, source.context_mm) == (2, (64, 64), 0.0)
    assert source.fit is ResizeMode.LETTERBOX and source.training.segments == {1: "bright", 2: "brighter"}
    assert source.write_fp32 is not None
    source.write_fp32(tmp_path / "detector.onnx")  # which holds it against torch
    exported = open_detector_source(str(tmp_path / "detector.onnx"))
    described = (exported.classes, exported.input_size, exported.fit, exported.training)
    assert described == (source.classes, source.input_size, source.fit, source.training)
    with pytest.raises(AutoMedSAMError, match="fitted by letterbox, not stretch: leave --detector-fit out"):
        open_detector_source(str(tmp_path / "detector.onnx"), fit=ResizeMode.STRETCH)


def test_detector_stores_its_training_data_and_resize_mode(a_run: Path) -> None:
    settings = read_checkpoint(a_run / "detector.pt")["settings"]
    assert settings["classes"] == ["bright", "brighter"]
    assert settings["fit"] == "letterbox" and settings["licence"] == "drawn here, free"


def test_training_stops_when_the_validation_no_longer_rises(a_dataset: Path, tmp_path: Path) -> None:
    still = replace(TINY, epochs=6, rate=0.0, patience=2)
    train_yolo_nas_detector(a_dataset, tmp_path / "run", settings=still, device="cpu")
    assert [row["epoch"] for row in rows_of(tmp_path / "run")] == [1, 2, 3]


def test_medium_model_is_rebuilt_as_such(tmp_path: Path) -> None:
    model = build_yolo_nas("m", 1, 0.25)
    settings = {"task": "x", "classes": ["a"], "size": "m", "width": 0.25, "input_size": [64, 64], "context_mm": 0.0}
    torch.save({"settings": settings, "model": {}, "average": model.state_dict()}, tmp_path / "detector.pt")
    loaded, _ = load_detector(tmp_path / "detector.pt")
    count = sum(parameter.numel() for parameter in loaded.parameters())
    assert count == sum(parameter.numel() for parameter in model.parameters())


def test_dataset_without_boxes_teaches_nothing(tmp_path: Path) -> None:
    folder = write_prepared(tmp_path / "drawn")
    path = folder / "annotations" / "train.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "files": {}}))
    with pytest.raises(AutoMedSAMError, match=r"No training image of .* has a box"):
        train_yolo_nas_detector(folder, tmp_path / "run", settings=TINY, device="cpu")


def test_too_few_images_for_a_batch_are_reported(a_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match=r"12 training images, fewer than a batch of 13"):
        train_yolo_nas_detector(a_dataset, tmp_path / "run", settings=replace(TINY, batch=13), device="cpu")


def test_resuming_without_a_checkpoint_is_refused(a_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="start without --resume"):
        train_yolo_nas_detector(a_dataset, tmp_path, settings=TINY, device="cpu", resume=True)


@pytest.mark.parametrize(
    ("changed", "message"), [({"image_size": 600}, "600 is not a multiple"), ({"model": "x"}, "NAS-X")]
)
def test_impossible_settings_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(AutoMedSAMError, match=message):
        YoloNasSettings(**changed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hippocampus", "--data", ".", "--epochs", "3"), "starter does not know --epochs"),
        (("--recipe", "yolo-nas", "--prepared", ".", "--steps", "3"), "yolo-nas does not know --steps"),
        (("--recipe", "yolo-nas", "glioma", "--prepared", "."), "yolo-nas does not know TASK"),
        (("--recipe", "yolo-nas"), "yolo-nas needs --prepared"),
        (("--data", "."), "needs a task: choose hippocampus or glioma"),
        (("hippocampus",), "starter needs --data"),
    ],
)
def test_option_of_another_recipe_is_not_passed_over(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["train", "detector", *arguments, "-o", str(tmp_path / "run")])
    assert left.value.code == 2 and message in capsys.readouterr().err


def test_detector_is_quantized_with_the_dataset_that_it_was_trained_on(
    a_run: Path, a_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = tmp_path / "detector.onnx"
    export_detector(a_run / "detector.pt", exported)
    asked = ["quantize", "detector", str(exported), "--prepared", str(a_dataset), "-o", str(tmp_path / "int8")]
    with pytest.raises(SystemExit) as left:
        main(asked)
    assert left.value.code == 0 and "box edges differ by" in capsys.readouterr().out
    assert (tmp_path / "int8" / "detector.int8.onnx").stat().st_size < exported.stat().st_size
    frames = prepared_calibration(PreparedDataset.open(a_dataset), exported, 40)
    assert frames.shape == (40, 3, 64, 64) and 0 <= frames.min() < frames.max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FILE", "--prepared", "OTHER"], "finds the labels 1, 2, and"),
        (["NOTHING", "--prepared", "OTHER"], "Give one file that 'automedsam-lab export detector' wrote"),
        (["FILE", "--data", "."], "Name the built-in task of the detector"),
        (["FILE"], "either --data"),
    ],
)
def test_detector_of_another_dataset_is_not_quantized(
    arguments: list[str], message: str, a_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_detector(a_run / "detector.pt", tmp_path / "FILE")
    write_prepared(tmp_path / "OTHER", pictures=True)
    named = [str(tmp_path / word) if word.isupper() else word for word in arguments]
    with pytest.raises(SystemExit) as left:
        main(["quantize", "detector", *named, "-o", str(tmp_path / "int8")])
    assert left.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "int8").exists()


def test_command_trains_and_explains_how_to_continue(
    a_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = {"--epochs": 1, "--batch": 6, "--lr": 1e-4, "--size": 64, "--width": 0.25, "--device": "cpu"}
    options = ["--flip", *(str(word) for pair in numbers.items() for word in pair)]
    run = tmp_path / "run"
    with pytest.raises(SystemExit) as left:
        main(["train", "detector", "--recipe", "yolo-nas", "--prepared", str(a_dataset), "-o", str(run), *options])
    output = capsys.readouterr().out
    assert left.value.code == 0
    assert (
        f"automedsam-lab convert CHECKPOINT --config CONFIG --calibration FOLDER --detector {run}/detector.pt" in output
    )
    assert (run / "detector.pt").is_file()


TWO_PROCESSES = """
import json, sys
from pathlib import Path
import torch
from automedsam_lab.cli.log import log_to_terminal
from automedsam_lab.training.detector import super_gradients_trainer
from automedsam_lab.export.detector import export_detector  # noqa: E402
from automedsam_lab.models.yolo_nas import build_yolo_nas
from automedsam_lab.data.prepared.dataset import PreparedDataset
from automedsam_lab.data.prepared.detection_images import DetectionImages
from automedsam_lab.quantization.detector import prepared_calibration  # noqa: E402
from automedsam_lab.training.detector.yolo_nas_recipe import YoloNasSettings, train_yolo_nas_detector
from super_gradients.common.environment.device_utils import device_config

prepared, out = map(Path, sys.argv[1:])
images = DetectionImages(PreparedDataset.open(prepared).part("train"), [1, 2], 64)
batch, targets = super_gradients_trainer.collate()([images[index] for index in range(3)])

def gradients(wrap):
    torch.manual_seed(0)
    model = build_yolo_nas("s", 2, 0.25).train()
    loss = super_gradients_trainer.PPYoloELoss(num_classes=2, use_static_assigner=False)
    wrapped = wrap(model)
    loss(wrapped(batch), targets)[0].backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])

train = super_gradients_trainer.train

def compare_and_train(model, loaders, world, *rest):
    device_config.assigned_rank = -1
    alone = gradients(lambda model: model)
    device_config.assigned_rank = world.rank
    wrap = torch.nn.parallel.DistributedDataParallel
    together = gradients(lambda model: wrap(model, find_unused_parameters=True))
    if world.main:
        apart = float((alone - together).norm() / alone.norm())
        (out.parent / "apart.json").write_text(json.dumps([world.size, apart]))
    return train(model, loaders, world, *rest)

super_gradients_trainer.train = compare_and_train
settings = YoloNasSettings(epochs=1, batch=2, image_size=64, width=0.25)
with log_to_terminal():
    train_yolo_nas_detector(prepared, out, settings=settings, device="cpu")
"""


def test_two_processes_train_one_detector(a_dataset: Path, tmp_path: Path) -> None:
    """Each sees half of the images, and what they learn of one batch is what one process would."""
    printed = run_in_two(TWO_PROCESSES, tmp_path, a_dataset, tmp_path / "run")
    size, apart = json.loads((tmp_path / "apart.json").read_text())
    assert size == 2 and apart < 1e-5
    assert [(row["epoch"], row["step"]) for row in rows_of(tmp_path / "run")] == [(1, 3)]
    assert printed.count("2 x cpu") == 1
    assert open_detector_source(str(tmp_path / "run" / "detector.pt")).classes == 2
