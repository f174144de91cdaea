"""Several segmenters are compared on the same images, from reference boxes and from a detector's."""

# ruff: noqa: E402

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")

from small_images import TINY, small_pack

from automedsam.core.boxes import Box
from automedsam.detection.detector import DetectorSettings
from automedsam_lab.cli.app import main
from automedsam_lab.data.sets.images import Part
from automedsam_lab.distillation.automatic import detect_boxes, evaluate_automatic
from automedsam_lab.distillation.evaluate import rows_with_masks
from automedsam_lab.distillation.pack import tight_box
from automedsam_lab.distillation.segmenters import FilledBox

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = DetectorSettings((64, 64), (1,), 0.0, 0.5, 0.5)


class BrightDetector:
    """Finds the box around what is bright, and a box in the corner of a low score."""

    def detect(self, frames: np.ndarray) -> Iterator[list[Box]]:
        for frame in frames:
            x0, y0, x1, y1 = (float(value) for value in tight_box(frame[..., 0] > 140))
            yield [Box(x0, y0, x1 - x0, y1 - y0, 0.9), Box(0, 0, 8, 8, 0.2)]


def test_accepted_boxes_count_for_dice_and_all_boxes_for_the_average_precision(tmp_path: Path) -> None:
    pack = small_pack(tmp_path)
    rows = rows_with_masks(pack, Part.TEST)
    detected = detect_boxes(BrightDetector(), SETTINGS, pack, rows)
    assert [len(one.boxes) for one in detected] == [2, 2]
    both, alone = (evaluate_automatic(FilledBox(), pack, rows, detected, threshold) for threshold in (0.1, 0.5))
    # A disc fills pi / 4 of its box: Dice 2 (pi / 4) / (1 + pi / 4).
    assert alone.dice == pytest.approx(0.88, abs=0.02) and both.dice < alone.dice
    assert alone.ap50 == both.ap50 == pytest.approx(1.0)
    assert alone.ap == pytest.approx(0.6, abs=0.11)


def test_an_image_without_a_box_has_no_mask(tmp_path: Path) -> None:
    pack = small_pack(tmp_path)
    rows = rows_with_masks(pack, Part.TEST)

    class Nothing:
        def detect(self, frames: np.ndarray) -> Iterator[list[Box]]:
            yield from ([] for _ in frames)

    found = evaluate_automatic(FilledBox(), pack, rows, detect_boxes(Nothing(), SETTINGS, pack, rows), 0.5)
    assert (found.dice, found.ap50, found.ap) == (0, 0, 0)


def test_command_compares_a_student_with_a_built_in_model_and_its_detector(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from automedsam_lab.distillation.export import export_student
    from automedsam_lab.models.student.network import Student

    pack = small_pack(tmp_path)
    student, folder = Student(TINY).eval(), tmp_path / "tiny"
    folder.mkdir()
    torch.save({"model": student.state_dict(), "architecture": TINY.to_json()}, folder / "student.pt")
    export_student(student, pack, folder / "onnx")
    asked = ["boxes", str(folder), "polyp", "--cache", str(tmp_path), "--no-teacher"]
    with pytest.raises(SystemExit) as left:
        main([*asked, "--detector", "polyp", "--cost", "--set", "discs", "-o", str(tmp_path / "out")])
    assert left.value.code == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    names = ["Filled box", "Student tiny, FP32", "Student tiny, INT8"]
    assert list(found["dice"])[:3] == names and list(found["automatic"])[:3] == names
    assert [one["name"].split()[0] for one in found["costs"]] == ["Student", "polyp"]
    polyp = found["costs"][1]
    assert polyp["parameters"] > 1e6 and polyp["encoder_macs"] > polyp["decoder_macs"] > 0
    assert set(polyp["megabytes"]) == set(polyp["encoder_ms"]) == {"fp32", "int8"}
    assert "Automatic" in (tmp_path / "out" / "results.html").read_text("utf-8")

    for wrong, text in ((["--set", "brains"], "no set brains"), (["--detector", "anything"], "no detector")):
        with pytest.raises(SystemExit) as left:
            main([*asked, *wrong, "-o", str(tmp_path / "no")])
        assert left.value.code == 2 and text in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
