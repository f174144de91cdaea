"""The segmenter that all bundles share starts from a student's weights, and is read by the engine."""

# ruff: noqa: E402

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")

from small_images import TINY

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.torch_networks import ImageEncoder, load_model
from automedsam_lab.models.starter_segmenter import STARTER, build_trainable
from automedsam_lab.models.student.network import Student
from automedsam_lab.models.universal_segmenter import universal_architecture, write_initial_weights

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def a_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("student") / "student.pt"
    torch.save({"model": Student(TINY).state_dict(), "architecture": TINY.to_json()}, path)
    return path


def test_image_encoder_computes_what_the_student_s_does(a_student: Path, tmp_path: Path) -> None:
    write_initial_weights(a_student, None, tmp_path / "initial.pt")
    model, architecture = load_model(tmp_path / "initial.pt")
    assert architecture == universal_architecture(TINY)
    student = Student(TINY)
    student.load_state_dict(torch.load(a_student, weights_only=True)["model"])
    image = torch.rand(1, 3, 192, 192)
    with torch.no_grad():
        expected = student.eval().image_encoder(image)
        fine, middle, coarse = ImageEncoder(model)(image)
        decoder = student.sam_mask_decoder
        references = (decoder.conv_s0(expected[0]), decoder.conv_s1(expected[1]), expected[2])
    for one, reference in zip((fine, middle, coarse), references, strict=True):
        assert (one - reference).abs().max() < 1e-4 * reference.abs().max()


def test_what_the_student_lacks_comes_from_an_earlier_segmenter(a_student: Path, tmp_path: Path) -> None:
    torch.manual_seed(4)
    earlier = build_trainable(replace(STARTER, d_model=TINY.d_model)).state_dict()
    torch.save({"model": earlier}, tmp_path / "earlier.pt")
    write_initial_weights(a_student, tmp_path / "earlier.pt", tmp_path / "initial.pt")
    weights = torch.load(tmp_path / "initial.pt", weights_only=True)["model"]
    name = "memory_attention.layers.0.linear1.weight"
    assert torch.equal(weights[name], earlier[name])
    distilled = torch.load(a_student, weights_only=True)["model"]
    name = "sam_mask_decoder.mask_tokens.weight"
    assert torch.equal(weights[name], distilled[name])


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "other.pt")
    with pytest.raises(AutoMedSAMError, match="no student"):
        write_initial_weights(tmp_path / "other.pt", None, tmp_path / "initial.pt")
    assert not (tmp_path / "initial.pt").exists()


def test_architecture_survives_json() -> None:
    architecture = universal_architecture(TINY)
    assert Sam2Architecture.from_manifest(architecture.to_manifest()) == architecture
    assert Sam2Architecture.from_manifest(STARTER.to_manifest()) == STARTER


@pytest.mark.parametrize("operations", [[["mb_k3_e2"], ["os.system"]], "rep", [1], [["rep", 3]]])
def test_operations_that_do_not_exist_are_refused(operations: object) -> None:
    values = {**universal_architecture(TINY).to_manifest(), "operations": operations}
    with pytest.raises(AutoMedSAMError, match="operations"):
        Sam2Architecture.from_manifest(values)
