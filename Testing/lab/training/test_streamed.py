"""Training on shards: the same loss in any number of processes, continued anywhere, and nothing lost by bad input."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generate_archive import generate_sa_med2d
from processes import run_in_two
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("webdataset", reason="webdataset is not installed")

from automedsam.errors import AutoMedSAMError  # noqa: E402
from automedsam_lab.cli.train import app  # noqa: E402
from automedsam_lab.data.shards.index import ShardIndex  # noqa: E402
from automedsam_lab.data.shards.write import ShardSettings, write_shards  # noqa: E402
from automedsam_lab.training.options import RunOptions  # noqa: E402
from automedsam_lab.training.streaming.box_tasks import streamed_task  # noqa: E402
from automedsam_lab.training.streaming.settings import Precision, StreamedModel, StreamedSettings  # noqa: E402
from automedsam_lab.training.streaming.task import StreamedTask  # noqa: E402
from automedsam_lab.training.streaming.trainer import CHECKPOINT, LOG, WEIGHTS, train_streamed  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
NUMBERS = {
    "epochs": 2, "lanes": 4, "batch": 2, "rate": 3e-3, "warmup": 4, "log_every": 1, "checkpoint_every": 4
}  # fmt: skip
SETTINGS = StreamedSettings(**NUMBERS)
RESUME = RunOptions("cpu", resume=True)
# Of float32: the processes add in another order.
ROUNDING = 1e-5

# In the first start the second process dies at step 11, as one does for lack of memory.
DYING = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
from automedsam_lab.training.distributed import is_restarted
from automedsam_lab.training.options import RunOptions
from automedsam_lab.training.streaming.box_tasks import streamed_task
from automedsam_lab.training.streaming.settings import StreamedModel, StreamedSettings
from automedsam_lab.training.streaming.trainer import train_streamed

task, seen = streamed_task(StreamedModel.UNET, 0, 32), []

def dying(network, batch, rng):
    if network.training:
        seen.append(batch)
    if os.environ["RANK"] == "1" and not is_restarted() and len(seen) == 13:
        os._exit(9)
    return task.loss(network, batch, rng)

shards, out, numbers = sys.argv[1:]
settings = StreamedSettings(**json.loads(numbers))
train_streamed(replace(task, loss=dying), Path(shards), Path(out), settings, RunOptions("cpu", resume=True))
print("restarted" if is_restarted() else "not restarted")
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    generate_sa_med2d(folder / "a", 140, 32, slices=2)
    write_shards(ShardSettings(folder / "a", folder / "s", shard_mb=0.05))
    return folder / "s"


def unet() -> StreamedTask:
    return streamed_task(StreamedModel.UNET, 0, 32)


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / LOG).read_text().splitlines()]


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in rows(out) if "loss" in row]


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training in one process that nothing interrupts."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train_streamed(unet(), shards, out, SETTINGS, RunOptions("cpu"))
    return out


@contextlib.contextmanager
def stopped_at(step: int) -> Iterator[StreamedTask]:
    """A task that Ctrl-C ends at a step."""
    task, seen = unet(), []

    def loss(*given: Any) -> dict[str, torch.Tensor]:
        if given[0].training:
            seen.append(given)
        if len(seen) > step * SETTINGS.lanes:
            raise KeyboardInterrupt
        return task.loss(*given)

    with pytest.raises(KeyboardInterrupt):
        yield replace(task, loss=loss)


def test_training_learns_and_sees_each_image_once_an_epoch(whole: Path, shards: Path) -> None:
    images = ShardIndex.open(shards).images("train")
    found = rows(whole)
    for epoch in (1, 2):
        assert sum(row["images"] for row in found if row["epoch"] == epoch and "loss" in row) == images
    assert np.mean(losses(whole)[-4:]) < 0.8 * np.mean(losses(whole)[:4])
    assert [row["epoch"] for row in found if "validation_dice" in row] == [1, 2]
    assert set(torch.load(whole / WEIGHTS, weights_only=True)) == {"model", "task", "architecture"}


def test_one_process_stopped_two_continue_one_of_which_dies_and_the_loss_is_that_of_one(
    whole: Path, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with stopped_at(5) as task:
        train_streamed(task, shards, out, SETTINGS, RunOptions("cpu"))
    assert len(rows(out)) == 5
    printed = run_in_two(DYING, tmp_path, shards, out, json.dumps(NUMBERS), restarts=1)
    assert printed.count("restarted") == 2 and "not restarted" not in printed
    expected, found = rows(whole), rows(out)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    assert {row["processes"] for row in found[4:] if "loss" in row} == {2}
    assert losses(out) == pytest.approx(losses(whole), abs=ROUNDING)
    validation = [[row["validation_loss"] for row in run if "validation_loss" in row] for run in (expected, found)]
    assert validation[0] == pytest.approx(validation[1], abs=ROUNDING)


def test_the_same_network_is_written_whether_interrupted_or_not(whole: Path, shards: Path, tmp_path: Path) -> None:
    with stopped_at(13) as task:
        train_streamed(task, shards, tmp_path, SETTINGS, RunOptions("cpu"))
    train_streamed(unet(), shards, tmp_path, SETTINGS, RESUME)
    assert losses(tmp_path) == losses(whole)
    one, other = (torch.load(out / WEIGHTS, weights_only=True)["model"] for out in (whole, tmp_path))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_damaged_shard_ends_training_in_a_sentence_and_keeps_the_checkpoint(
    whole: Path, shards: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "s"
    copied.mkdir()
    for path in shards.iterdir():
        if path.is_file():
            (copied / path.name).write_bytes(path.read_bytes())
    out = tmp_path / "run"
    with stopped_at(9) as task:
        train_streamed(task, copied, out, SETTINGS, RunOptions("cpu"))
    before = (out / CHECKPOINT).read_bytes()
    damaged = sorted(copied.glob("train-*.tar"))
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-512] + b"x" * 512)
    with pytest.raises(AutoMedSAMError, match=r"train-\d+.tar is damaged: its SHA-256"):
        train_streamed(unet(), copied, out, SETTINGS, RESUME)
    assert (out / CHECKPOINT).read_bytes() == before
    for path in damaged:
        path.write_bytes((shards / path.name).read_bytes())
    train_streamed(unet(), copied, out, SETTINGS, RESUME)
    assert losses(out) == losses(whole)


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])
def test_mixed_precision_begins_where_float32_does_and_learns(
    precision: Precision, shards: Path, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, lanes=1, rate=1e-2, warmup=1, steps=10, validation_steps=0)
    for name, one in (("fp32", settings), ("mixed", replace(settings, precision=precision))):
        train_streamed(unet(), shards, tmp_path / name, one, RunOptions("cpu"))
    single, mixed = losses(tmp_path / "fp32"), losses(tmp_path / "mixed")
    assert mixed[0] == pytest.approx(single[0], rel=0.01) and mixed[0] != single[0]
    # The scale of float16 is found in a few steps that are passed over.
    assert mixed[-1] < 0.9 * mixed[0]


def test_the_built_in_segmenter_trains_and_its_weights_start_a_training(shards: Path, tmp_path: Path) -> None:
    from automedsam_lab.checkpoints.matching import read_state_dict
    from automedsam_lab.models.starter_segmenter import build_trainable

    task = streamed_task(StreamedModel.STARTER, 0, 64)
    train_streamed(task, shards, tmp_path, replace(SETTINGS, steps=1, validation_steps=1), RunOptions("cpu"))
    build_trainable().load_state_dict(read_state_dict(tmp_path / WEIGHTS))
    assert np.isfinite(losses(tmp_path)).all()


def test_resuming_with_other_settings_shards_or_nothing_is_refused(whole: Path, shards: Path, tmp_path: Path) -> None:
    for settings, name in ((replace(SETTINGS, batch=3), "batch"), (replace(SETTINGS, seed=3), "seed")):
        with pytest.raises(AutoMedSAMError, match=f"another {name}"):
            train_streamed(unet(), shards, whole, settings, RESUME)
    with pytest.raises(AutoMedSAMError, match="another task"):
        train_streamed(streamed_task(StreamedModel.UNET, 0, 64), shards, whole, SETTINGS, RESUME)
    with pytest.raises(AutoMedSAMError, match="holds a training already"):
        train_streamed(unet(), shards, whole, SETTINGS, RunOptions("cpu"))
    with pytest.raises(AutoMedSAMError, match="no checkpoint to resume from"):
        train_streamed(unet(), shards, tmp_path, SETTINGS, RESUME)
    torch.save({"model": {}}, tmp_path / CHECKPOINT)
    with pytest.raises(AutoMedSAMError, match="not a checkpoint of a streamed training"):
        train_streamed(unet(), shards, tmp_path, SETTINGS, RESUME)


def test_a_loss_that_is_not_finite_ends_training(shards: Path, tmp_path: Path) -> None:
    def loss(network: torch.nn.Module, *_given: object) -> dict[str, torch.Tensor]:
        return {"loss": next(network.parameters()).sum() * torch.nan}

    with pytest.raises(AutoMedSAMError, match="diverged at step 1"):
        train_streamed(replace(unet(), loss=loss), shards, tmp_path, SETTINGS, RunOptions("cpu"))


def test_the_command_trains_and_names_what_is_wrong(shards: Path, tmp_path: Path) -> None:
    arguments = ["streamed", "--shards", str(shards), "-o", str(tmp_path / "r"), "--device", "cpu", "--size", "32"]
    result = CliRunner().invoke(app, [*arguments, "--steps", "2", "--lanes", "2"])
    assert result.exit_code == 0 and (tmp_path / "r" / WEIGHTS).is_file(), result.output
    for changed, reason in (
        ([*arguments, "--size", "50"], "not a multiple of 32"),
        (["streamed", "--shards", str(tmp_path), *arguments[3:]], "not a finished set of shards"),
    ):
        refused = CliRunner().invoke(app, changed)
        assert isinstance(refused.exception, AutoMedSAMError) and reason in str(refused.exception)
