"""Segmenters are prompted with boxes on single images as the engine prompts them."""

# ruff: noqa: E402

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")

from small_images import TINY, small_pack

from automedsam.sam2.networks import DecoderPrompt, ImageEmbedding, MaskPrediction
from automedsam.sam2.propagation import SegmenterSettings
from automedsam_lab.cli.app import main
from automedsam_lab.data.sets.images import Part
from automedsam_lab.distillation.engine_segmenter import EngineSegmenter
from automedsam_lab.distillation.evaluate import EXACT, evaluate, rows_with_masks
from automedsam_lab.models.universal_segmenter import write_initial_weights

pytestmark = pytest.mark.usefixtures("one_thread")


class BrightNetworks:
    """Takes what is bright in its crop for the object."""

    def encode_image(self, image: np.ndarray) -> ImageEmbedding:
        small = image[:, :1, ::4, ::4]
        return ImageEmbedding(small, small, small)

    def decode(
        self, features: np.ndarray, embedding: ImageEmbedding, prompt: DecoderPrompt, *, memory_conditioned: bool
    ) -> MaskPrediction:
        logits = np.repeat(np.where(features > 0.3, 8.0, -8.0), 4, 1).astype(np.float32)
        presence = np.ones((1, 1), np.float32)
        return MaskPrediction(logits, np.ones((1, 4), np.float32), np.zeros((1, 4, 8), np.float32), presence)

    def remember(self, features: np.ndarray, logits: np.ndarray, presence: np.ndarray, *, binarise: bool) -> np.ndarray:
        return np.zeros((1, 8, 4, 4), np.float32)


def test_object_of_a_box_is_found_at_its_place(tmp_path: Path) -> None:
    settings = SegmenterSettings(image_size=96, num_maskmem=1, max_pointers=1, multimask=False)
    segmenter = EngineSegmenter("bright", BrightNetworks(), settings)  # type: ignore[arg-type]
    pack = small_pack(tmp_path)
    found = evaluate(segmenter, pack, rows_with_masks(pack, Part.TEST))
    assert found.dice("discs", EXACT) > 0.93


def test_command_writes_a_table_of_weights_in_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pack(tmp_path)
    student = tmp_path / "student.pt"
    from automedsam_lab.models.student.network import Student

    torch.save({"model": Student(TINY).state_dict(), "architecture": TINY.to_json()}, student)
    write_initial_weights(student, None, tmp_path / "segmenter.pt")
    asked = ["boxes", str(tmp_path / "segmenter.pt"), "--cache", str(tmp_path), "--no-teacher"]
    with pytest.raises(SystemExit) as left:
        main([*asked, "-o", str(tmp_path / "out")])
    assert left.value.code == 0
    table = (tmp_path / "out" / "results.md").read_text("utf-8")
    assert "| discs | 1 | 2 |" in table and "segmenter" in table and capsys.readouterr().out.startswith(table[:20])
    with pytest.raises(SystemExit) as left:
        main([*asked, "--split", "train", "-o", str(tmp_path / "no")])
    assert left.value.code == 2 and "choose val or test" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
