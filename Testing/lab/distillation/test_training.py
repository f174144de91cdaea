"""A distillation in a few steps: it learns, it stops and goes on, and refuses what cannot work."""

# ruff: noqa: E402

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")

from small_images import TINY, BrightTeacher, small_pack

from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.app import main
from automedsam_lab.data.sets.images import Part
from automedsam_lab.distillation.batches import BatchSource
from automedsam_lab.distillation.losses import Term, energy, map_distance
from automedsam_lab.distillation.pack import Pack
from automedsam_lab.distillation.targets import Targets, write_targets
from automedsam_lab.distillation.train import Distillation, DistillationSettings, distill
from automedsam_lab.models.student.network import load_student

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = DistillationSettings(architecture=TINY, steps=4, batch=2)


@pytest.fixture(scope="module")
def targets_of_a_teacher(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pack, Targets]:
    folder = tmp_path_factory.mktemp("targets")
    pack = small_pack(folder)
    return pack, write_targets(pack, BrightTeacher(), folder / "targets")


def test_two_steps_write_a_student_and_a_log(targets_of_a_teacher, tmp_path: Path):
    path = distill(*targets_of_a_teacher, tmp_path, settings=replace(SETTINGS, steps=2))
    assert load_student(path).architecture == TINY
    last = json.loads((tmp_path / "log.jsonl").read_text("utf-8").splitlines()[-1])
    assert last["step"] == 2 and 0 <= last["validation"] <= 1


def test_a_resumed_run_equals_one_that_was_not_stopped(targets_of_a_teacher, tmp_path: Path):
    whole = torch.load(distill(*targets_of_a_teacher, tmp_path / "whole", settings=SETTINGS), weights_only=True)
    first = Distillation(*targets_of_a_teacher, SETTINGS, tmp_path / "parts")
    (tmp_path / "parts").mkdir()
    for _ in range(2):
        first.advance()
    first.save()
    parts = torch.load(
        distill(*targets_of_a_teacher, tmp_path / "parts", settings=SETTINGS, resume=True), weights_only=True
    )
    assert parts["step"] == 4
    assert all(torch.equal(parts["model"][name], value) for name, value in whole["model"].items())


def test_the_loss_falls_on_one_batch(targets_of_a_teacher):
    task = Distillation(*targets_of_a_teacher, replace(SETTINGS, steps=100, warmup=1, rate=3e-3), Path("unused"))
    fixed = task.source.batch(0, 2)
    task.source.batch = lambda _step, _size: fixed  # type: ignore[method-assign]
    values = [task.advance()["loss"] for _ in range(25)]
    assert values[-1] < 0.7 * values[0]


@pytest.mark.parametrize("terms", [set(), {Term.LOGITS}, {Term.ATTENTION}, {Term.SALIENCY}, {Term.EMBEDDING}])
def test_every_term_can_be_used_alone(targets_of_a_teacher, terms: set[Term]):
    found = Distillation(*targets_of_a_teacher, replace(SETTINGS, terms=frozenset(terms)), Path("unused")).advance()
    assert set(found) == {"loss", "reference", "iou", *(term.value for term in terms)}


def test_a_student_without_attention_learns_from_its_activations(targets_of_a_teacher):
    plain = replace(TINY, stages=(("rep",), (), (), ()))
    settings = replace(SETTINGS, architecture=plain, terms=frozenset({Term.ATTENTION}))
    assert Distillation(*targets_of_a_teacher, settings, Path("unused")).advance()["attention"] >= 0


def test_a_batch_depends_on_its_step_alone(targets_of_a_teacher):
    pack, targets = targets_of_a_teacher
    rows = pack.of_part(Part.TRAIN)
    batch = BatchSource(pack, rows, targets).batch(0, 3)
    assert batch.images.shape == (3, 3, 256, 256) and len(batch.masks) == 6
    again = BatchSource(pack, rows, targets).batch(0, 3)
    assert torch.equal(batch.images, again.images) and torch.equal(batch.prompts.points, again.prompts.points)
    assert not torch.equal(batch.images, BatchSource(pack, rows, targets).batch(1, 3).images)


def test_maps_are_compared_by_their_pattern():
    one = torch.rand(2, 8, 8)
    assert torch.allclose(map_distance(one, 5 * one), torch.zeros(2), atol=1e-5)
    flat = torch.ones(1, 4, 8, 8) * torch.rand(1, 4, 1, 1)
    assert float(energy(flat).abs().max()) < 1e-6


def test_a_run_with_other_settings_is_not_resumed(targets_of_a_teacher, tmp_path: Path):
    distill(*targets_of_a_teacher, tmp_path, settings=replace(SETTINGS, steps=1))
    with pytest.raises(AutoMedSAMError, match="other settings"):
        distill(*targets_of_a_teacher, tmp_path, settings=replace(SETTINGS, batch=3), resume=True)
    assert distill(*targets_of_a_teacher, tmp_path, settings=replace(SETTINGS, steps=2), resume=True).is_file()


def test_a_training_is_not_overwritten(targets_of_a_teacher, tmp_path: Path):
    distill(*targets_of_a_teacher, tmp_path, settings=replace(SETTINGS, steps=1))
    with pytest.raises(AutoMedSAMError, match=r"a training in .* already"):
        distill(*targets_of_a_teacher, tmp_path, settings=replace(SETTINGS, steps=1))


def test_nothing_to_resume_is_one_sentence(targets_of_a_teacher, tmp_path: Path):
    with pytest.raises(AutoMedSAMError, match="no checkpoint to resume from"):
        distill(*targets_of_a_teacher, tmp_path, settings=SETTINGS, resume=True)


def test_terms_without_a_teacher_are_one_sentence(targets_of_a_teacher):
    with pytest.raises(AutoMedSAMError, match="without its targets"):
        Distillation(targets_of_a_teacher[0], None, SETTINGS, Path("unused"))


@pytest.mark.parametrize("time", [{"steps": 0}, {"minutes": 0.0}])
def test_a_training_without_time_is_one_sentence(time: dict[str, float]):
    with pytest.raises(AutoMedSAMError, match="needs time"):
        DistillationSettings(**time)  # type: ignore[arg-type]


def test_the_command_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["train", "efficient", "-o", str(tmp_path / "out"), "--supervision", "reference"])
    assert ended.value.code == 2 and "--data" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "efficient", "-o", str(tmp_path / "out"), "--architecture", "xl"])
    assert "no architecture xl" in capsys.readouterr().err
