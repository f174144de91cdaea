"""The architecture search: its costs are right, it resumes, and it is held against its controls."""

# ruff: noqa: E402

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")

from small_images import small_pack

from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.app import main
from automedsam_lab.distillation.export import calibration_images
from automedsam_lab.distillation.train import DistillationSettings
from automedsam_lab.models.student.architecture import StudentArchitecture
from automedsam_lab.models.student.network import Student
from automedsam_lab.search import latency_table
from automedsam_lab.search.controls import random_candidates, searched_candidates, single_candidates, train_random
from automedsam_lab.search.differentiable import Search, SearchSettings, patient_halves, starting_logits
from automedsam_lab.search.latency_table import CostKind, CostTable, measure_table, read_table, table_keys
from automedsam_lab.search.report import pareto_front, read_result, write_search_report
from automedsam_lab.search.run import StudySettings, Trained, run_study, verdict
from automedsam_lab.search.space import Choice, SearchSpace, SpaceCosts, affordable_choices, random_choice
from automedsam_lab.search.supernet import Supernet, fair_choices, paths_of

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = SearchSpace((1, 1, 1, 1), ((16,), (16, 32), (16,), (16,)), ("mb_k3_e2", "rep", "identity"))
QUICK = SearchSettings(steps=4, target=3.0, batch=1, bf16=False)
_MS = {"mb_k3_e2": 1.0, "rep": 0.4, "identity": 0.0, "down": 0.1, "stem": 0.2}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Times that grow with the width."""
    entries = {}
    for key in table_keys(SPACE):
        name, _, place = key.partition(" ")
        width = 32 if place.startswith("32") else 16
        entries[key] = {"ms": _MS[name] * width / 16, "macs": 10 * _MS[name]}
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"machine": {"cpu": "x"}, "entries": entries}), encoding="utf-8")
    return path


@pytest.fixture
def costs(table: Path) -> SpaceCosts:
    return SpaceCosts(SPACE, CostTable(table))


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory):
    return small_pack(tmp_path_factory.mktemp("search"))


def test_the_expected_cost_of_a_certain_choice_is_its_cost(costs: SpaceCosts):
    rng = np.random.default_rng(0)
    for _ in range(10):
        choice = random_choice(SPACE, rng)
        operations = np.eye(3)[list(choice.operations)]
        widths = [np.eye(len(options))[one] for options, one in zip(SPACE.widths, choice.widths, strict=True)]
        assert costs.expected(operations, widths) == pytest.approx(costs.of(choice))
    wide = Choice((0, 0, 0, 0), (0, 1, 0, 0))
    assert costs.of(wide) == pytest.approx(0.2 + 1 + 2 + 1 + 1 + 0.1 + 0.2 + 0.1)


def test_the_search_starts_at_half_of_its_target(costs: SpaceCosts, pack):
    task = Search(pack, None, costs, replace(QUICK, target=2.4))
    assert float(task.weights.expected_cost().detach()) == pytest.approx(1.2, abs=0.02)
    operations, widths = starting_logits(costs, 100.0)
    assert not operations.any() and not any(one.any() for one in widths)


def test_a_table_in_multiply_accumulates_is_another_cost(table: Path):
    dear = SpaceCosts(SPACE, CostTable(table, CostKind.MACS))
    assert dear.of(Choice((0, 2, 2, 2), (0, 0, 0, 0))) == pytest.approx(2 + 10 + 3 * 1)


def test_networks_are_drawn_within_the_budget_or_none_is(costs: SpaceCosts):
    rng = np.random.default_rng(0)
    found = affordable_choices(costs, (1.0, 2.0), 5, rng)
    assert len(set(found)) == len(found) == 5 and all(1 <= costs.of(one) <= 2 for one in found)
    with pytest.raises(AutoMedSAMError, match="another --target"):
        affordable_choices(costs, (0.0, 0.01), 5, rng)


def test_every_operation_of_every_block_is_trained_as_often_as_the_others():
    for turn in (0, 3):
        drawn = [fair_choices(SPACE, turn + place, seed=1).operations for place in range(3)]
        assert all(sorted(block) == [0, 1, 2] for block in zip(*drawn, strict=True))


def test_a_path_of_the_supernet_is_the_network_alone():
    supernet = Supernet(SPACE).eval()
    choice = Choice((1, 0, 2, 1), (0, 0, 0, 0))
    supernet.set_paths(paths_of(SPACE, choice))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        levels = supernet.student.image_encoder.trunk(image)
    # The second stage is the first 16 of its 32 channels; a strided convolution before it has them all.
    assert levels[1].shape[1] == 32 and not levels[1][:, 16:].any() and levels[1][:, :16].any()
    alone = Student(SPACE.architecture(Choice((1, 0, 2, 1), (0, 1, 0, 0)))).eval()
    shared = supernet.student.image_encoder.trunk
    alone.image_encoder.trunk.stem.load_state_dict(shared.stem.state_dict())
    alone.image_encoder.trunk.stages[0][0].load_state_dict(shared.stages[0].blocks[0].options[1].state_dict())
    with torch.no_grad():
        assert torch.allclose(alone.image_encoder.trunk(image)[0], levels[0], atol=1e-6)


def test_no_patient_is_in_both_halves(pack):
    halves = patient_halves(pack, 0)
    patients = [{pack.images[row].patient for row in half} for half in halves]
    assert all(patients) and not patients[0] & patients[1]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"minutes": 0.0}, "needs time"),
        ({"minutes": -1.0}, "needs time"),
        ({"minutes": float("nan")}, "needs time"),
        ({"steps": 0}, "needs time"),
        ({}, "needs an end"),
        ({"steps": 4, "target": 0.0}, "a cost above 0"),
    ],
)
def test_a_search_without_time_or_target_is_one_sentence(settings: dict[str, float], sentence: str):
    with pytest.raises(AutoMedSAMError, match=sentence):
        SearchSettings(**settings)  # type: ignore[arg-type]


def test_the_command_with_no_time_ends_in_one_sentence(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]):
    given = ["search", "run", "-o", str(tmp_path / "out"), "--cache", str(tmp_path), "--latency", str(table)]
    with pytest.raises(SystemExit) as ended:
        main([*given, "--minutes", "0"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip().count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_both_kinds_of_weights_learn_and_a_resumed_search_goes_on_alike(costs: SpaceCosts, pack):
    whole, first, second = (Search(pack, None, costs, QUICK) for _ in range(3))
    before = whole.weights.operations.detach().clone()
    for _ in range(4):
        whole.advance()
    for _ in range(3):
        first.advance()
    second.restore(first.state())
    second.advance()
    assert not torch.equal(whole.weights.operations, before)
    assert torch.equal(whole.weights.operations, second.weights.operations)
    assert whole.history == second.history and len(whole.history) == 2


def test_controls_are_of_the_same_budget_and_are_ranked(costs: SpaceCosts, pack):
    task = Search(pack, None, costs, QUICK)
    assert train_random(task, 0.01, np.random.default_rng(0)) == 1
    rng = np.random.default_rng(0)
    for found in (searched_candidates(task, rng, 3), random_candidates(task, rng, 3)):
        assert all(2.4 <= one.cost <= 3.0 for one in found)
        assert [one.loss for one in found] == sorted(one.loss for one in found)
    singles = single_candidates(task)
    assert all(len(set(one.choice.operations)) == 1 and one.cost <= 3.0 for one in singles)


def test_a_search_that_settled_on_a_cheap_network_gives_that_network(costs: SpaceCosts, pack):
    task = Search(pack, None, costs, QUICK)
    with torch.no_grad():
        task.weights.operations[:, 2] = 50.0  # identity everywhere
        task.weights.widths[1][0] = 50.0
    found = searched_candidates(task, np.random.default_rng(0), 3)
    assert [one.choice for one in found] == [Choice((2, 2, 2, 2), (0, 0, 0, 0))] and found[0].cost < 2.4


def test_a_study_writes_the_best_network_and_compares_the_search_with_its_controls(
    costs: SpaceCosts, pack, tmp_path: Path
):
    final = DistillationSettings(terms=frozenset(), batch=1, bf16=False)
    settings = StudySettings(replace(QUICK, steps=2), final_steps=1, final=final)
    trained = run_study((pack, None), costs, tmp_path / "study", settings=settings)
    with pytest.raises(AutoMedSAMError, match=r"a search in .* already"):
        run_study((pack, None), costs, tmp_path / "study", settings=settings)
    again = run_study((pack, None), costs, tmp_path / "study", settings=settings, resume=True)
    assert again == trained
    assert {one.origin for one in trained} == {"search", "random", "single operation"}
    assert StudentArchitecture.read(tmp_path / "study" / "architecture.json") == trained[0].architecture
    write_search_report([tmp_path / "study"], tmp_path / "report")
    page = (tmp_path / "report" / "search.html").read_text("utf-8")
    assert verdict(trained) in page and "<svg" in page
    assert (tmp_path / "report" / "search.png").stat().st_size > 5000
    assert len(read_result(tmp_path / "study")["networks"]) == 3


def test_the_front_holds_what_nothing_beats_in_both():
    points = [(2.0, 0.7), (1.0, 0.5), (3.0, 0.6), (1.0, 0.4), (4.0, 0.8)]
    assert pareto_front(points) == [(1.0, 0.5), (2.0, 0.7), (4.0, 0.8)]


def test_the_verdict_is_plain():
    network = StudentArchitecture((16,) * 4, ((),) * 4)

    def trained(origin: str, dice: float) -> Trained:
        return Trained(origin, network, 1.0, 1.0, {"validation": dice})

    lost = verdict([trained("search", 0.5), trained("random", 0.6), trained("single operation", 0.4)])
    assert "did not beat all of its controls" in lost and "0.600" in lost
    assert "beat all of its controls" in verdict([trained("search", 0.7), trained("random", 0.6)])


def test_nothing_to_resume_and_nothing_to_report_are_one_sentence(costs: SpaceCosts, pack, tmp_path: Path):
    with pytest.raises(AutoMedSAMError, match="no search to resume"):
        run_study((pack, None), costs, tmp_path, settings=StudySettings(QUICK), resume=True)
    with pytest.raises(AutoMedSAMError, match="no result of a search"):
        write_search_report([tmp_path], tmp_path)


def test_a_table_is_measured_once_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "table.json"
    keys = ["identity 16@8", "rep 16@8", "down 16>32@8"]
    measure_table(keys[:2], path, repeats=3)
    first = read_table(path)["entries"]
    assert first["identity 16@8"]["ms"] == 0 and first["rep 16@8"]["ms"] > 0
    # A depthwise 3 x 3 and two 1 x 1 of twice the width, on 64 cells.
    assert first["rep 16@8"]["macs"] * 1e6 == 64 * (16 * 9 + 2 * 16 * 32)
    measure_table(keys, path, repeats=3)
    assert read_table(path)["entries"]["rep 16@8"] == first["rep 16@8"] and len(read_table(path)["entries"]) == 3
    monkeypatch.setattr(latency_table, "describe_machine", lambda: {"cpu": "another"})
    with pytest.raises(AutoMedSAMError, match="times do not mix"):
        measure_table(keys, path, repeats=3)


def test_operations_are_timed_in_int8_throughout(tmp_path: Path):
    """Convolutions that share a bias of zeros stay in FP32, which once made depthwise ones look five times as dear."""
    import onnx

    from automedsam.sam2.efficient_blocks import OPERATIONS
    from automedsam_lab.distillation.export import export_graph, quantize_encoder

    block = latency_table._as_trained(OPERATIONS["mb_k3_e4"](16)).eval()
    inputs = torch.rand(1, 16, 16, 16)
    export_graph(block, {"image": inputs}, ("out",), tmp_path / "a.onnx")
    quantize_encoder(tmp_path / "a.onnx", [{"image": inputs.numpy()}], tmp_path / "b.onnx", tmp_path)
    graph = onnx.load(tmp_path / "b.onnx").graph
    made = {name: node.op_type for node in graph.node for name in node.output}
    kept = {one.name for one in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 3
    for node in convolutions:
        sources = [next(one for one in graph.node if name in one.output) for name in node.input]
        assert {made[name] for name in node.input} == {"DequantizeLinear"}
        assert all(source.input[0] in kept for source in sources[1:])


@pytest.mark.parametrize("text", ["", "[]", '{"entries": {"a": {}}}', '{"entries": {"a": {"ms": -1, "macs": 1}}}'])
def test_a_damaged_table_is_one_sentence(tmp_path: Path, text: str):
    (tmp_path / "table.json").write_text(text, encoding="utf-8")
    with pytest.raises(AutoMedSAMError, match="no latency table"):
        CostTable(tmp_path / "table.json")


def test_a_table_that_lacks_an_operation_names_it(tmp_path: Path):
    (tmp_path / "table.json").write_text('{"machine": {}, "entries": {}}', encoding="utf-8")
    with pytest.raises(AutoMedSAMError, match="lacks mb_k3_e2 16@64"):
        SpaceCosts(SPACE, CostTable(tmp_path / "table.json"))


def test_calibration_takes_images_of_training_patients(pack):
    assert len(list(calibration_images(pack, 5))) == 5
