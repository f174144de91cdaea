"""The student's parts: what is exported computes what was trained."""

# ruff: noqa: E402

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")

from small_images import TINY, small_pack

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import OPERATION_NAMES
from automedsam.sam2.efficient_blocks import OPERATIONS, LinearAttention, reparameterized
from automedsam_lab.data.sets.images import Part
from automedsam_lab.distillation.cost import macs
from automedsam_lab.distillation.evaluate import EXACT, JITTERED, evaluate, rows_with_masks
from automedsam_lab.distillation.export import export_student, network_input
from automedsam_lab.distillation.report import cost_table, dice_table, results, write_report
from automedsam_lab.distillation.segmenters import FilledBox, OnnxStudent, segment_points
from automedsam_lab.models.student.architecture import PRESETS, StudentArchitecture
from automedsam_lab.models.student.network import Student, box_prompts, load_student, point_prompts

pytestmark = pytest.mark.usefixtures("one_thread")


def lived_in(network: "torch.nn.Module") -> "torch.nn.Module":
    """Batch norms as a training leaves them."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.running_var, 0.5, 1.5),
                (module.bias.data, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3),
            ):
                tensor.uniform_(low, high, generator=generator)
    return network.eval()


@pytest.mark.parametrize("name", OPERATION_NAMES)
def test_every_operation_keeps_the_shape(name: str):
    inputs = torch.rand(2, 32, 8, 8)
    assert OPERATIONS[name](32)(inputs).shape == inputs.shape


def test_a_reparameterized_block_computes_the_same():
    block = lived_in(OPERATIONS["rep"](32))
    inputs = torch.randn(2, 32, 16, 16)
    merged = reparameterized(block)
    with torch.no_grad():
        assert (merged(inputs) - block(inputs)).abs().max() < 1e-5
    assert sum(one.numel() for one in merged.parameters()) < sum(one.numel() for one in block.parameters())


def test_a_reparameterized_student_computes_the_same_after_training_steps():
    student = Student(TINY).train()
    student.encode(torch.rand(2, 3, 256, 256)).coarse.sum().backward()
    lived_in(student)
    image = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        assert (reparameterized(student).encode(image).fine - student.encode(image).fine).abs().max() < 1e-5


def test_linear_attention_is_attention_with_a_relu_kernel():
    attention = LinearAttention(16).train()
    inputs = torch.randn(1, 16, 4, 4)
    out = attention(inputs)
    query, key, value = attention.qkv(inputs).reshape(1, 1, 3, 16, 16)[0, 0]
    weights = query.relu().T @ key.relu() / 16
    weights = weights / (weights.sum(1, keepdim=True) + 1e-4)
    expected = attention.out((value @ weights.T).reshape(1, 16, 4, 4))
    assert torch.allclose(out, expected, atol=1e-4)
    assert torch.allclose(attention.received[0].flatten(), weights.sum(0), atol=1e-4)


def test_weights_bear_the_names_of_sam2():
    from automedsam_lab.models.starter_segmenter import build_trainable

    video = set(build_trainable().state_dict())
    outer = [key for key in Student(PRESETS["m"]).state_dict() if not key.startswith("image_encoder.trunk")]
    assert outer and set(outer) <= video


def test_a_box_prompts_as_its_corners_and_its_filled_mask():
    prompts = box_prompts(torch.tensor([[10.0, 20.0, 30.0, 50.0]]))
    assert prompts.labels.tolist() == [[2, 3, -1]]
    assert float(prompts.masks.sum()) == 20 * 30 and prompts.has_mask.tolist() == [1]
    points = point_prompts(torch.tensor([[[5.0, 6.0]]]), torch.tensor([[1]]))
    assert points.labels.tolist() == [[1, -1]] and float(points.masks.sum()) == 0


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([], "widths and stages"),
        ({"widths": [16, 16, 16], "stages": [[], [], []]}, "4 widths and 4 stages"),
        ({"widths": [16, 16, 16, 17], "stages": [[], [], [], []]}, "multiple of 16"),
        ({"widths": [16] * 4, "stages": [["mb_k9_e9"], [], [], []]}, "mb_k9_e9"),
        ({"widths": [16] * 4, "stages": [[]] * 4, "memories": 3}, "memories"),
        ({"widths": [16] * 4, "stages": [[]] * 4, "depth": 3}, "knows"),
        ({"widths": 16, "stages": 4}, "list"),
    ],
)
def test_a_damaged_architecture_is_one_sentence(values: object, problem: str):
    with pytest.raises(AutoMedSAMError, match=problem):
        StudentArchitecture.from_json(values)


def test_an_architecture_survives_its_file(tmp_path: Path):
    TINY.write(tmp_path / "a.json")
    assert StudentArchitecture.read(tmp_path / "a.json") == TINY


def test_a_file_of_another_model_is_no_student(tmp_path: Path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(AutoMedSAMError, match="no student"):
        load_student(tmp_path / "other.pt")


def test_multiply_accumulates_of_a_convolution():
    convolution = torch.nn.Conv2d(3, 8, 3, padding=1)
    assert macs(lambda: convolution(torch.rand(1, 3, 10, 10))) == 3 * 8 * 9 * 100


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("student")
    pack = small_pack(folder)
    student = lived_in(Student(TINY))
    return student, pack, export_student(student, pack, folder / "onnx")


def test_the_exported_student_computes_what_torch_does(exported):
    student, pack, folder = exported
    image = pack.images[0]
    box = np.array(image.boxes[0], np.float32)
    logits, ious = OnnxStudent(folder, "fp32").segment(pack.pixels[0], image.content, box[None])
    pixels = torch.from_numpy(network_input(pack.pixels[0], image.content)) * student.std + student.mean
    with torch.no_grad():
        wanted, expected = student.decode(student.encode(pixels), box_prompts(torch.from_numpy(box[None])))
    # The filled box is cut at pixel centres for the graph and by area in training.
    assert np.abs(logits - wanted.numpy()).mean() < 0.05 * np.abs(wanted.numpy()).mean() + 1e-3
    assert abs(float(ious[0]) - float(expected[0])) < 0.05


def test_int8_has_unsigned_activations_and_weights_per_channel(exported):
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(exported[2] / "image_encoder.int8.onnx").graph
    tensors = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    zeros = [tensors[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert zeros and {zero.dtype for zero in zeros} == {np.dtype(np.uint8)}
    scales = [
        tensors[node.input[1]].size
        for node in graph.node
        if node.op_type == "DequantizeLinear" and tensors.get(node.input[0], np.zeros(0)).ndim == 4
    ]
    assert max(scales) >= 16


def test_points_on_a_picture_give_a_mask_and_points_off_it_a_sentence(exported):
    student = OnnxStudent(exported[2], "int8")
    pixels = np.random.default_rng(0).integers(0, 255, (60, 100), np.uint8)
    assert segment_points(student, pixels, [(99.5, 59.5)], [1]).shape == (60, 100)
    with pytest.raises(AutoMedSAMError, match="outside the image of 100 x 60"):
        segment_points(student, pixels, [(60, 99)], [1])
    with pytest.raises(AutoMedSAMError, match="at least one point"):
        segment_points(student, pixels, [], [])


def test_a_folder_without_graphs_is_one_sentence(tmp_path: Path):
    with pytest.raises(AutoMedSAMError, match="holds no image_encoder"):
        OnnxStudent(tmp_path, "int8")


def test_the_filled_box_scores_what_discs_fill_of_it(exported):
    _, pack, _ = exported
    scores = evaluate(FilledBox(), pack, rows_with_masks(pack, Part.TEST))
    # A disc fills pi / 4 of its box: Dice 2 (pi / 4) / (1 + pi / 4).
    assert scores.dice("discs", EXACT) == pytest.approx(0.88, abs=0.01)
    assert scores.dice("discs", JITTERED) < scores.dice("discs", EXACT)
    assert scores.average_precision("discs")[0] == 1
    assert scores.average_precision("discs")[1] == pytest.approx(0.6, abs=0.11)
    assert all(np.isnan(value) for value in scores.average_precision("kvasir"))


def test_the_report_names_every_segmenter(exported, tmp_path: Path):
    from automedsam_lab.distillation.cost import student_cost

    student, pack, folder = exported
    rows = rows_with_masks(pack, Part.TEST)
    found = results(
        [evaluate(one, pack, rows) for one in (FilledBox(), OnnxStudent(folder, "int8"))],
        [student_cost(student, folder, ("int8",), repeats=1)],
        {"Student": "<tiny>"},
    )
    write_report(found, tmp_path)
    text, page = ((tmp_path / name).read_text("utf-8") for name in ("results.md", "results.html"))
    for name in ("Filled box", "Student, INT8", "Student tiny", "mean of the sets"):
        assert name in text and name in page
    assert "<tiny>" not in page and "&lt;tiny&gt;" in page
    assert len(dice_table(found).rows) == 2 and len(cost_table(found).rows) == 1
