"""A segmenter trains, resumes and is read by the engine, on generated volumes and in seconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from log_lines import log_lines

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sam2", reason="sam2 is not installed")

from automedsam.errors import AutoMedSAMError  # noqa: E402
from automedsam.sam2.torch_networks import load_model  # noqa: E402
from automedsam_lab.data.clips import Clip  # noqa: E402
from automedsam_lab.data.segmenter_clips import ClipSource  # noqa: E402
from automedsam_lab.models.starter_segmenter import STARTER, build_trainable  # noqa: E402
from automedsam_lab.training.options import RunOptions  # noqa: E402
from automedsam_lab.training.segmenter.clip_run import (  # noqa: E402
    Prompting,
    evaluate_clips,
    filled_boxes,
    run_clips,
)
from automedsam_lab.training.segmenter.starter_recipe import Schedule, train_segmenter  # noqa: E402

TINY = replace(STARTER, image_size=64, embed_dim=16, stages=(1, 1, 2, 1), global_att_blocks=(3,), memory_layers=1)
# One step of single frames, then one of clips.
SHORT = Schedule(
    steps=2, image_share=0.5, image_batch=2, clip_batch=2, clip_frames=2, long_frames=2, log_every=1, validate_every=2
)
ON_CPU, RESUMED = RunOptions("cpu"), RunOptions("cpu", resume=True)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def a_source() -> ClipSource:
    return ClipSource([], np.random.default_rng(0))


@pytest.fixture(scope="module")
def clips(a_source: ClipSource) -> list[Clip]:
    """Two clips of three frames."""
    return [a_source.clip(3, TINY.image_size) for _ in range(2)]


@pytest.fixture(scope="module")
def a_run(a_source: ClipSource, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two steps of training."""
    out = tmp_path_factory.mktemp("segmenter")
    written = train_segmenter(a_source, {"generated": clips}, out, schedule=SHORT, architecture=TINY, options=ON_CPU)
    assert written == out / "segmenter.pt"
    return out


def test_training_leaves_weights_that_the_engine_reads(a_run: Path) -> None:
    model, architecture = load_model(a_run / "segmenter.pt")
    assert architecture == TINY
    assert all(bool(torch.isfinite(weight).all()) for weight in model.parameters())


def test_training_moves_the_weights(a_run: Path) -> None:
    torch.manual_seed(0)
    fresh = build_trainable(TINY).state_dict()
    trained = torch.load(a_run / "checkpoint.pt", weights_only=True)["model"]
    moved = [name for name in fresh if fresh[name].is_floating_point() and not torch.equal(fresh[name], trained[name])]
    for part in ("image_encoder", "memory_attention", "memory_encoder", "sam_mask_decoder"):
        assert any(name.startswith(part) for name in moved), part


def test_training_goes_on_from_its_checkpoint(a_run: Path, a_source: ClipSource, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes((a_run / "checkpoint.pt").read_bytes())
    longer = replace(SHORT, steps=3)
    with log_lines() as logged:
        train_segmenter(a_source, {}, tmp_path, schedule=longer, architecture=TINY, options=RESUMED)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 3
    assert [line.split()[1] for line in logged] == ["3"]


def test_training_begins_with_the_weights_it_is_given(a_run: Path, a_source: ClipSource, tmp_path: Path) -> None:
    still = replace(SHORT, steps=1, learning_rate=0.0)
    start = a_run / "segmenter.pt"
    train_segmenter(
        a_source, {}, tmp_path, schedule=still, architecture=TINY, options=RunOptions("cpu", start_from=start)
    )
    before, after = (torch.load(folder / "segmenter.pt", weights_only=True)["model"] for folder in (a_run, tmp_path))
    # The batch norms' running statistics follow whatever is shown; what is learnt stays at a rate of 0.
    learnt = [name for name in before if "running_" not in name and "num_batches" not in name]
    assert len(learnt) > 100
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in learnt)


def test_weights_of_another_network_are_no_beginning(a_run: Path, a_source: ClipSource, tmp_path: Path) -> None:
    stored = torch.load(a_run / "segmenter.pt", weights_only=True)
    stored["model"].pop(next(iter(stored["model"])))
    torch.save(stored, tmp_path / "other.pt")
    start, out = tmp_path / "other.pt", tmp_path / "run"
    with pytest.raises(AutoMedSAMError, match=r"other\.pt does not fit the segmenter's network \(1 missing"):
        train_segmenter(
            a_source, {}, out, schedule=SHORT, architecture=TINY, options=RunOptions("cpu", start_from=start)
        )
    assert not out.exists()


def test_resuming_without_a_checkpoint_is_refused(a_source: ClipSource, tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="start without --resume"):
        train_segmenter(a_source, {}, tmp_path, schedule=SHORT, architecture=TINY, options=RESUMED)


def test_validation_is_the_same_each_time_and_leaves_the_model_in_training(clips: list[Clip]) -> None:
    torch.manual_seed(0)
    model = build_trainable(TINY)
    first, second = evaluate_clips(model, clips), evaluate_clips(model, clips)
    assert first == second
    assert all(0 <= dice <= 1 for dice in first)
    assert model.training


@pytest.mark.parametrize("points", [False, True])
def test_a_clip_s_loss_reaches_every_part_of_the_network(points: bool, clips: list[Clip]) -> None:
    torch.manual_seed(0)
    model = build_trainable(TINY)
    run_clips(model, clips, np.random.default_rng(0), prompting=Prompting(points=points)).loss.backward()
    for name in ("image_encoder", "memory_attention", "memory_encoder", "sam_mask_decoder", "sam_prompt_encoder"):
        part = getattr(model, name)
        assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in part.parameters()), name


def test_a_filled_box_has_the_area_of_the_box() -> None:
    boxes = torch.tensor([[1.25, 2.0, 5.5, 9.0], [0.0, 0.0, 16.0, 16.0]])
    filled = filled_boxes(boxes, 16)
    assert filled.shape == (2, 16, 16)
    assert filled.sum((1, 2)).tolist() == pytest.approx([4.25 * 7, 256])
    assert filled[0, 2, 1].item() == pytest.approx(0.75) and filled[0, 1].sum() == 0


def test_the_schedule_shows_images_before_clips_and_warms_up() -> None:
    schedule = Schedule()
    assert [schedule.batch(progress)[1] for progress in (0.0, 0.5, 0.9)] == [1, 4, 5]
    rates = [schedule.rate(step, step / schedule.steps) for step in (0, 149, schedule.steps)]
    assert rates[0] < rates[1] > rates[2] > 0
