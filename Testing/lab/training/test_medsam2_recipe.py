"""MedSAM2's fine-tuning on a prepared dataset, with a tiny network and in seconds."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sam2", reason="sam2 is not installed")

from prepared_files import write_prepared  # noqa: E402
from processes import run_in_two  # noqa: E402
from published_files import TINY, TINY_SAM2, random_weights, write_medical_sam2, write_medsam2  # noqa: E402

from automedsam.errors import AutoMedSAMError  # noqa: E402
from automedsam.sam2.build import build_sam2  # noqa: E402
from automedsam_lab.checkpoints.matching import match_state_dict, read_state_dict  # noqa: E402
from automedsam_lab.checkpoints.model_zoo import NO_OBJECT_EMBEDDING  # noqa: E402
from automedsam_lab.cli.app import main  # noqa: E402
from automedsam_lab.data.prepared.clips import ClipSettings, PreparedClips, Variation  # noqa: E402
from automedsam_lab.data.prepared.dataset import PreparedDataset  # noqa: E402
from automedsam_lab.training.options import RunOptions  # noqa: E402
from automedsam_lab.training.segmenter.interactive_training import ClipStep, Interaction  # noqa: E402
from automedsam_lab.training.segmenter.losses import candidates_loss  # noqa: E402
from automedsam_lab.training.segmenter.medsam2_recipe import (  # noqa: E402
    Medsam2Settings,
    finetune_medsam2,
    parameter_groups,
)

SHORT = Medsam2Settings(epochs=1, batch=2, frames=3, log_every=1, interaction=Interaction(box_share=1.0, clicks=1))
ON_CPU, RESUMED = RunOptions("cpu"), RunOptions("cpu", resume=True)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def a_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared") / "drawn")


@pytest.fixture(scope="module")
def a_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_medsam2(tmp_path_factory.mktemp("start") / "start.pt", random_weights(TINY))


@pytest.fixture(scope="module")
def a_run(a_dataset: Path, a_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One step of fine-tuning, and then, resumed, a second."""
    out = tmp_path_factory.mktemp("runs") / "medsam2"
    finetune_medsam2(PreparedDataset.open(a_dataset), a_checkpoint, out, config=TINY, settings=SHORT, options=ON_CPU)
    longer = replace(SHORT, epochs=2)
    finetune_medsam2(PreparedDataset.open(a_dataset), a_checkpoint, out, config=TINY, settings=longer, options=RESUMED)
    return out


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_medsam2_s_numbers_are_the_defaults() -> None:
    settings = Medsam2Settings()
    assert (settings.frames, settings.objects, settings.interaction.clicks) == (8, 5, 7)
    assert settings.rate == 5e-5 and settings.rate * settings.encoder_lr_ratio == pytest.approx(3e-5)
    assert (settings.layer_decay, settings.weight_decay, settings.max_grad_norm) == (0.9, 0.1, 0.1)
    assert settings.factor(0) == 1 and settings.factor(1) == pytest.approx(0.1)


def test_fine_tuning_moves_every_part_and_keeps_the_layout(a_run: Path, a_checkpoint: Path) -> None:
    before, after = read_state_dict(a_checkpoint), read_state_dict(a_run / "finetuned.pt")
    assert not match_state_dict(after, TINY)  # what `convert` asks of a checkpoint
    assert "of the data, drawn here, free" in torch.load(a_run / "finetuned.pt", weights_only=True)["terms"]
    for part in ("image_encoder.trunk", "image_encoder.neck", "memory_attention", "memory_encoder", "sam_mask_decoder"):
        moved = [key for key in before if key.startswith(part) and not torch.equal(before[key], after[key])]
        assert moved, part


def test_resume_goes_on_with_the_next_epoch(a_run: Path) -> None:
    steps = [(row["step"], row["epoch"]) for row in rows_of(a_run) if "loss" in row]
    assert steps == [(1, 1), (2, 2)]
    validations = [row for row in rows_of(a_run) if "validation_prompted_dice" in row]
    assert len(validations) == 2 and all("validation_propagated_dice" in row for row in validations)
    assert torch.load(a_run / "checkpoint.pt", weights_only=True)["epoch"] == 2
    assert list(a_run.glob("events.out.tfevents.*"))


def test_network_of_sam_2_0_stays_one(tmp_path: Path) -> None:
    """It has no embedding of absent objects: what is converted may not have learnt one."""
    dataset = write_prepared(tmp_path / "drawn", pictures=True)
    start = write_medical_sam2(tmp_path / "start.pth", random_weights(TINY_SAM2))
    out, _ = finetune_medsam2(
        PreparedDataset.open(dataset), start, tmp_path / "run", config=TINY_SAM2, settings=SHORT, options=ON_CPU
    )
    state = read_state_dict(out)
    assert not match_state_dict(state, TINY_SAM2) and NO_OBJECT_EMBEDDING not in state


def test_pictures_are_clips_of_one_frame(tmp_path: Path) -> None:
    dataset = PreparedDataset.open(write_prepared(tmp_path / "drawn", pictures=True))
    clip = PreparedClips(dataset, "train", ClipSettings(64, variation=Variation()))[0]
    assert clip.frames.shape == (1, 1, 64, 64) and clip.masks.shape[0] == 1


def test_clips_show_up_to_so_many_objects_from_the_first_frame_on(a_dataset: Path) -> None:
    clips = PreparedClips(
        PreparedDataset.open(a_dataset), "train", ClipSettings(64, frames=4, objects=5, variation=Variation())
    )
    for epoch in range(6):
        clips.epoch = epoch
        for index in range(len(clips)):
            clip = clips[index]
            assert clip.frames.shape == (4, 1, 64, 64) and clip.frames.min() >= 0 and clip.frames.max() <= 1
            assert 1 <= clip.masks.shape[1] <= 2 and bool(clip.masks[0].flatten(1).any(1).all())
            # The objects are the bright ones: picture and mask were moved together.
            inside = clip.frames[clip.masks.any(1, keepdim=True)].mean()
            assert inside > clip.frames[~clip.masks.any(1, keepdim=True)].mean() + 0.2
    one = PreparedClips(PreparedDataset.open(a_dataset), "train", ClipSettings(64, frames=4, objects=1))
    assert one[0].masks.shape == (4, 1, 64, 64)


def test_clip_is_the_same_in_an_epoch_and_another_in_the_next(a_dataset: Path) -> None:
    first, second = (
        PreparedClips(
            PreparedDataset.open(a_dataset), "train", ClipSettings(64, frames=3, variation=Variation(), seed=4)
        )
        for _ in range(2)
    )
    assert torch.equal(first[0].frames, second[0].frames)
    second.epoch = 1
    assert not torch.equal(first[0].frames, second[0].frames)


def test_dataset_with_boxes_alone_cannot_teach_a_segmenter(a_checkpoint: Path, tmp_path: Path) -> None:
    folder = write_prepared(tmp_path / "drawn", masks=False)
    manifest = json.loads((folder / "manifest.json").read_text())
    for case in manifest["cases"]:
        case["label"] = None
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(AutoMedSAMError, match=r"No case of the part train of .* has masks"):
        finetune_medsam2(
            PreparedDataset.open(folder), a_checkpoint, tmp_path / "run", config=TINY, settings=SHORT, options=ON_CPU
        )


@pytest.mark.parametrize("box_share", [0.0, 1.0])
def test_a_clip_s_loss_reaches_every_part_of_the_network(box_share: float, a_dataset: Path) -> None:
    torch.manual_seed(0)
    step = ClipStep(build_sam2(TINY.architecture), Interaction(box_share=box_share, clicks=1))
    with torch.no_grad():  # or an untrained network may see no object, and learn of its masks nothing
        step.network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(5.0)
    clip = PreparedClips(PreparedDataset.open(a_dataset), "train", ClipSettings(64, frames=3))[0]
    losses = step(clip.frames, clip.masks, 3)
    assert losses.shape == (5,) and bool(torch.isfinite(losses).all())
    assert losses[4].item() == pytest.approx(20 * losses[0].item() + losses[1:4].sum().item(), rel=1e-5)
    losses[4].backward()
    parts = ["image_encoder", "memory_attention", "memory_encoder", "sam_mask_decoder"]
    for name in [*parts, *(["sam_prompt_encoder"] if box_share else [])]:
        part = getattr(step.network, name)
        assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in part.parameters()), name


def test_validation_is_the_same_each_time_and_leaves_the_model_in_training(a_dataset: Path) -> None:
    torch.manual_seed(0)
    step = ClipStep(build_sam2(TINY.architecture), Interaction())
    clip = PreparedClips(PreparedDataset.open(a_dataset), "val", ClipSettings(64, frames=3))[0]
    first, second = (step.evaluate(clip.frames, clip.masks) for _ in range(2))
    assert first == second and all(0 <= dice <= 1 for dice in first) and step.training


def test_loss_is_the_published_one() -> None:
    """20 focal (alpha 0.25, gamma 2) + Dice + L1 of the IoU + presence, of one object whose one mask is half right."""
    logits = torch.tensor([[[[4.0, -4.0], [4.0, -4.0]]]])
    target = torch.tensor([[[True, True], [False, False]]])
    loss = candidates_loss(logits, torch.tensor([[0.9]]), torch.tensor([[3.0]]), target)
    high = 1 / (1 + math.exp(-4))
    easy, hard = (1 - high) ** 2 * -math.log(high), high**2 * -math.log(1 - high)
    assert loss.focal.item() == pytest.approx((0.25 * (easy + hard) + 0.75 * (easy + hard)) / 4, rel=1e-4)
    overlap, total = high + (1 - high), 2 + 2
    assert loss.dice.item() == pytest.approx(1 - (2 * overlap + 1) / (total + 1), rel=1e-4)
    assert loss.iou.item() == pytest.approx(0.9 - 1 / 3, rel=1e-4)
    assert loss.presence.item() == pytest.approx(math.log(1 + math.exp(-3)), rel=1e-4)


def test_best_candidate_is_trained_and_an_absent_object_teaches_absence_alone() -> None:
    logits = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = torch.zeros(2, 8, 8, dtype=torch.bool)
    target[0, 2:6, 2:6] = True
    with torch.no_grad():
        logits[0, 1] = torch.where(target[0], 5.0, -5.0)
    ious, presence = torch.full((2, 3), 0.5).requires_grad_(), torch.zeros(2, 1).requires_grad_()
    candidates_loss(logits, ious, presence, target).total.backward()
    assert [bool(grad.abs().sum() > 0) for grad in logits.grad[0]] == [False, True, False]
    assert logits.grad[1].abs().sum() == 0 and ious.grad[1].abs().sum() == 0
    assert (ious.grad[0] != 0).all() and presence.grad[0] < 0 < presence.grad[1]


def test_learning_rates_fall_towards_the_first_layers() -> None:
    network = build_sam2(TINY.architecture)
    groups = parameter_groups(network, Medsam2Settings())
    found = {id(parameter): group for group in groups for parameter in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    named = dict(network.named_parameters())
    blocks = sum(TINY.architecture.stages)

    def of(name: str) -> tuple[float, float]:
        return found[id(named[name])]["lr"], found[id(named[name])]["weight_decay"]

    assert of("memory_attention.layers.0.linear1.weight") == (5e-5, 0.1)
    assert of("memory_attention.layers.0.linear1.bias") == (5e-5, 0.0)
    assert of("memory_attention.norm.weight") == (5e-5, 0.0)
    assert of("image_encoder.neck.convs.0.conv.weight") == (pytest.approx(3e-5), 0.1)
    assert of("image_encoder.trunk.pos_embed") == (pytest.approx(3e-5), 0.1)
    assert of("image_encoder.trunk.patch_embed.proj.weight") == (pytest.approx(3e-5 * 0.9 ** (blocks + 1)), 0.1)
    last = f"image_encoder.trunk.blocks.{blocks - 1}.attn.qkv.weight"
    assert of(last) == (pytest.approx(3e-5 * 0.9), 0.1)


def test_fine_tuning_learns(tmp_path: Path) -> None:
    """On drawings, from random weights and at a higher rate, the Dice of the prompted masks rises."""
    dataset = write_prepared(tmp_path / "drawn", pictures=True)
    start = write_medsam2(tmp_path / "start.pt", random_weights(TINY))
    boxes = Interaction(box_share=1.0, clicks=0)
    loose = replace(SHORT, interaction=boxes, layer_decay=1.0, max_grad_norm=1.0, variation=Variation(0, 0, 0))
    settings = replace(loose, epochs=15, rate=2e-3)
    finetune_medsam2(
        PreparedDataset.open(dataset), start, tmp_path / "run", config=TINY, settings=settings, options=ON_CPU
    )
    losses = [row["dice"] for row in rows_of(tmp_path / "run") if "dice" in row]
    assert np.mean(losses[-3:]) < losses[0] - 0.12


def test_checkpoint_of_another_network_is_refused(a_dataset: Path, a_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match=r"start\.pt does not fit sam2\.1_hiera_t512"):
        finetune_medsam2(
            PreparedDataset.open(a_dataset), a_checkpoint, tmp_path / "run", settings=SHORT, options=ON_CPU
        )
    assert not (tmp_path / "run").exists()


def test_training_is_not_begun_where_another_is(a_dataset: Path, a_run: Path, a_checkpoint: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="holds a training already: give --resume"):
        finetune_medsam2(
            PreparedDataset.open(a_dataset), a_checkpoint, a_run, config=TINY, settings=SHORT, options=ON_CPU
        )


def test_ctrl_c_explains_how_to_continue(
    a_dataset: Path,
    a_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from automedsam_lab.checkpoints import model_zoo
    from automedsam_lab.training.segmenter import medsam2_recipe

    def stop(*_given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model_zoo, "find_config", lambda _name: TINY)
    monkeypatch.setattr(medsam2_recipe._Run, "_validate", stop)
    options = ["--start-from", str(a_checkpoint), "--config", "tiny", "--device", "cpu", "--epochs", "1"]
    with pytest.raises(SystemExit) as left:
        main(["train", "segmenter", "--recipe", "medsam2", "--prepared", str(a_dataset), *options, "-o", str(tmp_path)])
    assert left.value.code == 130 and "The same command with --resume" in capsys.readouterr().err


def test_divergence_is_reported(a_dataset: Path, a_checkpoint: Path, tmp_path: Path) -> None:
    wild = replace(SHORT, epochs=3, rate=1e30)
    with pytest.raises(AutoMedSAMError, match=r"diverged at step 2 .* try a lower --lr"):
        finetune_medsam2(
            PreparedDataset.open(a_dataset), a_checkpoint, tmp_path / "run", config=TINY, settings=wild, options=ON_CPU
        )


def test_resuming_needs_a_checkpoint_of_the_same_network(
    a_dataset: Path, a_run: Path, a_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(AutoMedSAMError, match="start without --resume"):
        finetune_medsam2(
            PreparedDataset.open(a_dataset), a_checkpoint, tmp_path, config=TINY, settings=SHORT, options=RESUMED
        )
    other = replace(TINY, name="other")
    with pytest.raises(AutoMedSAMError, match="no checkpoint of a fine-tuning of other"):
        finetune_medsam2(
            PreparedDataset.open(a_dataset), a_checkpoint, a_run, config=other, settings=SHORT, options=RESUMED
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", ".", "--epochs", "3"), "starter does not know --epochs"),
        (("--recipe", "medsam2", "--prepared", ".", "--steps", "3"), "medsam2 does not know --steps"),
        (("--recipe", "medsam2"), "medsam2 needs --prepared"),
        (("--recipe", "medsam2", "--prepared", "."), "medsam2 needs --start-from"),
        (("--recipe", "medsam2", "--prepared", "nowhere", "--start-from", "x.pt"), "There is no nowhere/manifest.json"),
        ((), "starter needs --data"),
        (("--recipe", "universal-tracking", "--data", "."), "universal-tracking needs --start-from"),
        (
            ("--recipe", "universal-tracking", "--data", ".", "--student", "x.pt"),
            "universal-tracking does not know --student",
        ),
    ],
)
def test_command_explains_what_a_recipe_needs(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["train", "segmenter", *arguments, "-o", str(tmp_path / "run")])
    assert left.value.code == 2 and message in capsys.readouterr().err


TWO_PROCESSES = """
import sys
from pathlib import Path
import torch
from published_files import TINY
from automedsam_lab.cli.log import log_to_terminal
from automedsam_lab.training.segmenter.interactive_training import Interaction
from automedsam_lab.training.segmenter import medsam2_recipe as recipe

train = recipe._Run.train

def train_and_compare(self, *given):
    train(self, *given)
    mine = torch.cat([parameter.detach().flatten() for parameter in self._step.parameters()])
    both = [torch.empty_like(mine) for _ in range(2)]
    torch.distributed.all_gather(both, mine)
    assert torch.equal(*both), "the processes have different weights"

recipe._Run.train = train_and_compare
prepared, start, out = map(Path, sys.argv[1:])
settings = recipe.Medsam2Settings(
    epochs=2, batch=1, frames=2, log_every=1, interaction=Interaction(box_share=1.0, clicks=1)
)
dataset, options = recipe.PreparedDataset.open(prepared), recipe.RunOptions("cpu")
with log_to_terminal():
    recipe.finetune_medsam2(dataset, start, out, config=TINY, settings=settings, options=options)
"""


def test_two_processes_train_one_segmenter(a_dataset: Path, a_checkpoint: Path, tmp_path: Path) -> None:
    """Each takes half of the cases, and both end with the same weights."""
    printed = run_in_two(TWO_PROCESSES, tmp_path, a_dataset, a_checkpoint, tmp_path / "run")
    assert printed.count("2 x cpu") == 1
    assert [row["step"] for row in rows_of(tmp_path / "run") if "loss" in row] == [1, 2]
    assert not match_state_dict(read_state_dict(tmp_path / "run" / "finetuned.pt"), TINY)
