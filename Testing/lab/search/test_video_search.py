"""The search of the video part: costs are those of a slice, it resumes, and training takes what it found."""

# ruff: noqa: E402

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.torch_networks import load_model
from automedsam_lab.cli.app import main
from automedsam_lab.cli.train_efficient import read_architecture
from automedsam_lab.data.clips import sample_clip
from automedsam_lab.data.segmenter_clips import ClipSource
from automedsam_lab.data.sets.clip_sets import ClipSet
from automedsam_lab.data.synthetic_volumes import generate
from automedsam_lab.models.starter_segmenter import build_trainable
from automedsam_lab.models.student.architecture import StudentArchitecture
from automedsam_lab.models.student.network import Student
from automedsam_lab.models.universal_segmenter import universal_architecture, write_initial_weights
from automedsam_lab.search.differentiable import SearchSettings
from automedsam_lab.search.latency_table import CostTable, read_table
from automedsam_lab.search.report import read_result
from automedsam_lab.search.video.clips import VideoData, clips_of_step
from automedsam_lab.search.video.differentiable import VideoSearch, fair_choice
from automedsam_lab.search.video.encoder import segmenter_encoder, student_encoder
from automedsam_lab.search.video.report import RESULT, write_video_report
from automedsam_lab.search.video.run import VideoStudySettings, drawn, run_video_study, train_random
from automedsam_lab.search.video.space import PRESENT, VideoChoice, VideoCosts, VideoSpace
from automedsam_lab.search.video.supernet import TRUNK, VideoSupernet
from automedsam_lab.search.video.table import measure_video_table, slice_keys
from automedsam_lab.training.options import RunOptions
from automedsam_lab.training.segmenter.clip_run import Prompting, run_clips
from automedsam_lab.training.segmenter.starter_recipe import Schedule, train_segmenter

pytestmark = pytest.mark.usefixtures("one_thread")

ENCODER = StudentArchitecture((16,) * 4, (("rep",),) * 4, decoder_feedforward=32)
SPACE = VideoSpace((32, 64), (1, 2), (1, 2), ENCODER, 64)
QUICK = SearchSettings(steps=4, target=100.0, batch=1, bf16=False)


def _ms(choice: VideoChoice) -> float:
    return choice.d_model / 32 + choice.memory_layers * (0.5 + choice.memories)


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> VideoCosts:
    """Memory attention costs what it does, the other parts a millisecond for each 32 channels together."""
    entries = {}
    for choice in SPACE.choices:
        attention, *others = slice_keys(SPACE, choice)
        entries[attention] = {"ms": choice.memory_layers * (0.5 + choice.memories), "macs": 1}
        entries.update({key: {"ms": choice.d_model / 64, "macs": 1} for key in others})
    path = tmp_path_factory.mktemp("costs") / "table.json"
    path.write_text(json.dumps({"machine": {"cpu": "x"}, "entries": entries}), encoding="utf-8")
    return VideoCosts(SPACE, CostTable(path))


@pytest.fixture(scope="module")
def data() -> VideoData:
    rng = np.random.default_rng(0)
    volumes = [replace(generate(rng), patient=f"patient {number}") for number in range(4)]
    return VideoData([ClipSet("made", volumes, 1.0)], {"made": [sample_clip(volumes[0], 3, 64, rng)]})


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All video parts are equally good."""
    monkeypatch.setattr(VideoSearch, "loss", lambda self, choice, clips: torch.tensor(1.0))
    return


def test_a_slice_costs_the_sum_of_its_parts(costs: VideoCosts):
    assert all(costs.of(choice) == pytest.approx(_ms(choice)) for choice in SPACE.choices)
    assert costs.affordable(5.0)[0] == VideoChoice(64, 2, 1)
    assert all(costs.of(choice) <= 5.0 for choice in costs.affordable(5.0))


def test_expected_cost_of_a_certain_choice_is_its_cost(costs: VideoCosts, data: VideoData):
    task = VideoSearch(data, costs, QUICK)
    assert float(task.weights.expected_cost().detach()) == pytest.approx(np.mean(costs.values))
    with torch.no_grad():
        for logits, place in zip(task.weights.logits, (1, 0, 1), strict=True):
            logits[place] = 50.0
    assert float(task.weights.expected_cost().detach()) == pytest.approx(_ms(VideoChoice(64, 1, 2)))


@pytest.mark.usefixtures("quiet")
def test_cost_beyond_the_target_moves_the_choice_to_what_is_cheaper(costs: VideoCosts, data: VideoData):
    dear = VideoSearch(data, costs, replace(QUICK, target=2.0, entropy_weight=0.0))
    free = VideoSearch(data, costs, replace(QUICK, target=100.0, entropy_weight=0.0))
    for task in (dear, free):
        for task.step in range(12):
            task.train_architecture(0.5)
    assert all(one[0].item() > one[-1].item() + 0.05 for one in dear.weights.probabilities())
    assert all(one[0].item() == pytest.approx(one[-1].item(), abs=1e-3) for one in free.weights.probabilities())


def test_a_better_option_gains_whatever_is_drawn(costs: VideoCosts, data: VideoData, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(VideoSearch, "loss", lambda self, choice, clips: torch.tensor(1.0 / choice.memory_layers))
    task = VideoSearch(data, costs, replace(QUICK, entropy_weight=0.0))
    for task.step in range(12):
        task.train_architecture(0.0)
    widths, layers, memories = task.weights.probabilities()
    assert layers[1].item() > 0.52
    assert widths[1].item() == pytest.approx(0.5, abs=0.01) == memories[1].item()


@pytest.mark.parametrize("choice", [VideoChoice(32, 1, 1), VideoChoice(64, 2, 1), VideoChoice(64, 1, 2)])
def test_a_path_of_the_supernet_is_the_network_alone(choice: VideoChoice, data: VideoData):
    supernet = VideoSupernet(SPACE)
    for other in SPACE.choices:
        supernet.path(other)
    shared = supernet.path(choice)
    alone = build_trainable(SPACE.network(choice))
    state = {name.replace("trunk.inner.", "trunk."): value for name, value in shared.state_dict().items()}
    alone.load_state_dict({**state, "maskmem_tpos_enc": shared.maskmem_tpos_enc.detach()})
    clips = clips_of_step(data.training, (1,), 1, 4, 64)
    with torch.no_grad():
        found, expected = (
            float(run_clips(model.eval(), clips, np.random.default_rng(0), prompting=Prompting(jitter=False)).loss)
            for model in (shared, alone)
        )
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_encoder_stays_as_it_was_and_the_rest_learns(costs: VideoCosts, data: VideoData):
    task = VideoSearch(data, costs, QUICK)
    before = {name: value.clone() for name, value in task.supernet.state_dict().items()}
    for _ in range(4):
        task.advance()
    after = task.state()["supernet"]
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(".trunk." in name for name in changed)
    assert {"networks.32.ages", "networks.64.ages"} & changed
    assert any("image_encoder.neck" in name for name in changed)


def test_every_video_part_is_warmed_up_before_one_comes_again():
    for turn in (0, 8):
        assert {fair_choice(SPACE, turn + place, seed=1) for place in range(8)} == set(SPACE.choices)


def test_no_patient_is_in_both_halves_and_one_is_too_few(data: VideoData):
    halves = [{volume.patient for one in half for volume in one.volumes} for half in data.halves(0)]
    assert [len(half) for half in halves] == [2, 2] and not halves[0] & halves[1]
    lonely = ClipSet("made", data.training[0].volumes[:1], 1.0)
    with pytest.raises(AutoMedSAMError, match="at least two training patients"):
        VideoData([lonely], data.validation).halves(0)


def test_a_resumed_search_goes_on_alike(costs: VideoCosts, data: VideoData):
    whole, first, second = (VideoSearch(data, costs, QUICK, frames=2) for _ in range(3))
    for _ in range(4):
        whole.advance()
    for _ in range(3):
        first.advance()
    second.restore(first.state())
    second.advance()
    assert whole.history == second.history and len(whole.history) == 2
    expected, found = whole.state(), second.state()
    for part in ("supernet", "weights"):
        assert all(torch.equal(value, found[part][name]) for name, value in expected[part].items())


def test_controls_have_the_same_time_and_are_affordable(costs: VideoCosts, data: VideoData):
    task = VideoSearch(data, costs, replace(QUICK, target=4.0), frames=2)
    train_random(task, 0.01)
    assert task.step == 1 and task.spent >= 0.01
    with torch.no_grad():
        task.weights.logits[0][1] = 50.0
    chosen = drawn(task, np.random.default_rng(0), by_weights=True, count=1)
    assert chosen[0].d_model == 64 and costs.of(chosen[0]) <= 4.0
    everything = drawn(task, np.random.default_rng(0), by_weights=False, count=20)
    assert set(everything) == set(costs.affordable(4.0))


def test_a_study_compares_the_search_with_its_controls_and_training_takes_its_architecture(
    costs: VideoCosts, data: VideoData, tmp_path: Path
):
    out = tmp_path / "study"
    settings = VideoStudySettings(replace(QUICK, steps=2, target=5.0), final_steps=1, final_batch=1, frames=2)
    trained = run_video_study(data, costs, out, settings=settings)
    with pytest.raises(AutoMedSAMError, match=r"a search in .* already"):
        run_video_study(data, costs, out, settings=settings)
    assert run_video_study(data, costs, out, settings=settings, resume=True) == trained
    assert {one.origin for one in trained} == {"search", "random", "largest affordable"}
    result = read_result(out, RESULT, "video")
    assert result["verdict"] in (out / "video.html").read_text("utf-8")
    assert result["costs"]["64-1-2"] == 4.5 and (out / "video.png").stat().st_size > 5000

    found = read_architecture(str(out / "architecture.json"))
    assert found == trained[0].architecture
    network = write_initial_weights(None, None, tmp_path / "initial.pt", found)
    assert (network.d_model, network.memory_layers) == (found.d_model, found.memory_layers)
    assert network.num_maskmem == 1 + found.memories
    path = train_segmenter(
        ClipSource(data.training, np.random.default_rng(0)),
        {},
        tmp_path / "again",
        schedule=Schedule(steps=1, image_share=0.0, clip_batch=1, clip_frames=3, long_share=0.0),
        architecture=replace(network, image_size=64),
        options=RunOptions("cpu", start_from=tmp_path / "initial.pt"),
    )
    model = load_model(path)[0]
    assert model.num_maskmem == len(model.maskmem_tpos_enc) == 1 + found.memories
    assert len(model.memory_attention.layers) == found.memory_layers


def test_the_default_numbers_are_those_of_the_built_in_segmenter():
    network = universal_architecture()
    assert VideoChoice(network.d_model, network.memory_layers, network.num_maskmem - 1) == PRESENT


def test_the_encoder_comes_from_a_student_or_a_segmenter(tmp_path: Path):
    torch.manual_seed(3)
    student = Student(ENCODER)
    torch.save({"model": student.state_dict(), "architecture": ENCODER.to_json()}, tmp_path / "student.pt")
    built, trunk = student_encoder(tmp_path / "student.pt")
    assert built == ENCODER
    supernet = VideoSupernet(SPACE, trunk)
    for name, value in supernet.trunk().items():
        assert torch.equal(value, student.state_dict()[TRUNK + name])
    # A segmenter of another width gives the same encoder.
    wanted = SPACE.student(VideoChoice(64, 1, 1))
    write_initial_weights(tmp_path / "student.pt", None, tmp_path / "segmenter.pt", wanted)
    again, weights = segmenter_encoder(tmp_path / "segmenter.pt")
    assert (again.widths, again.stages, again.decoder_feedforward) == (built.widths, built.stages, 32)
    assert weights is not None and all(torch.equal(value, weights[name]) for name, value in supernet.trunk().items())
    other = replace(wanted, stages=(("rep",),) * 3 + (("identity",),))
    with pytest.raises(AutoMedSAMError, match="another encoder"):
        write_initial_weights(tmp_path / "student.pt", None, tmp_path / "segmenter.pt", other)


def test_a_table_is_measured_once_and_continued(tmp_path: Path):
    path = tmp_path / "table.json"
    measure_video_table(replace(SPACE, d_models=(32,), memory_layers=(1,)), path, repeats=3)
    first = read_table(path)["entries"]
    assert len(first) == 4 and all(one["ms"] > 0 for one in first.values())
    assert (
        first["memory_attention 32@4 layers 1 memories 2"]["macs"]
        > first["memory_attention 32@4 layers 1 memories 1"]["macs"]
    )
    measure_video_table(replace(SPACE, d_models=(32,)), path, repeats=3)
    second = read_table(path)["entries"]
    assert len(second) == 6 and all(second[key] == value for key, value in first.items())


@pytest.mark.parametrize(
    ("table", "given", "sentence"),
    [
        (None, ["--minutes", "0"], "needs time"),
        (None, [], "needs an end"),
        (None, ["--steps", "4", "--target", "0"], "a cost above 0"),
        ("{", ["--steps", "4"], "no latency table"),
        ('{"machine": {}, "entries": {"rep 16@8": {"ms": 1, "macs": 1}}}', ["--steps", "4"], "another search space"),
        (None, ["--steps", "4", "--start-from", "missing.pt"], "not a segmenter"),
        (None, ["--steps", "4", "--start-from", "missing.pt", "--student", "missing.pt"], "not both"),
    ],
)
def test_bad_input_ends_in_one_sentence(
    table: str | None, given: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "table.json"
    if table is not None:
        path.write_text(table, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["search", "video", "-o", str(tmp_path / "out"), "--data", str(tmp_path), "--latency", str(path), *given])
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip()
    assert sentence in error.replace("\n", " ") and error.count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_an_unaffordable_target_and_a_missing_result_are_one_sentence(
    costs: VideoCosts, data: VideoData, tmp_path: Path
):
    with pytest.raises(AutoMedSAMError, match="raise --target"):
        run_video_study(data, costs, tmp_path, settings=VideoStudySettings(replace(QUICK, target=0.1)))
    with pytest.raises(AutoMedSAMError, match="no search to resume"):
        run_video_study(data, costs, tmp_path, settings=VideoStudySettings(QUICK), resume=True)
    with pytest.raises(AutoMedSAMError, match="no result of a search"):
        write_video_report(tmp_path)
