"""Contenders that can be compared: the same slices, the same weights, turn by turn. Nothing here is judged by time."""

import os
import shutil
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")
pytest.importorskip("onnx", reason="the lab is not installed")
pytest.importorskip("matplotlib", reason="the lab is not installed")

from published_files import TINY  # noqa: E402

from automedsam.bundle import Bundle, load_bundle  # noqa: E402
from automedsam.core.boxes import Box  # noqa: E402
from automedsam.errors import AutoMedSAMError  # noqa: E402
from automedsam_lab.benchmark.models import random_bundle  # noqa: E402
from automedsam_lab.benchmark.report import markdown, plot  # noqa: E402
from automedsam_lab.benchmark.run import Benchmark, Options, bench, contenders, in_turn, made_up_clip  # noqa: E402
from automedsam_lab.benchmark.stages import Stopwatch, TimedNetworks  # noqa: E402
from automedsam_lab.benchmark.stock_sam2 import StockPredictor  # noqa: E402
from automedsam_lab.benchmark.worker import FP32, INT8, STOCK  # noqa: E402
from automedsam_lab.cli.app import main  # noqa: E402

SLICES, REPEATS = 7, 2


class Heads(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A detector's outputs: boxes and scores of the anchors of strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = torch.nn.ModuleList(torch.nn.Conv2d(3, 5, stride, stride) for stride in (8, 16, 32))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = torch.cat([head(image).flatten(2) for head in self.heads], 2).permute(0, 2, 1)
        return found[..., :4] * 10 + 20, found[..., 4:].sigmoid()


@pytest.fixture(scope="module")
def a_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny network of random weights, taken through `convert`."""
    folder = tmp_path_factory.mktemp("bench")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Heads().eval(),
            (torch.zeros(1, 3, 64, 64),),
            str(folder / "detector.onnx"),
            opset_version=17,
            input_names=["image"],
            output_names=["boxes", "scores"],
            dynamic_axes={name: {0: "n"} for name in ("image", "boxes", "scores")},
            dynamo=False,
        )
    return random_bundle(TINY, folder / "tiny", str(folder / "detector.onnx"))


@pytest.fixture(scope="module")
def measured(a_bundle: Bundle) -> Benchmark:
    """Every contender, twice."""
    return bench(a_bundle, Options(SLICES, REPEATS))


@pytest.fixture
def int8_alone(a_bundle: Bundle, tmp_path: Path) -> Bundle:
    """The same bundle as it comes without its FP32 files, like the starters."""
    folder = tmp_path / "int8"
    shutil.copytree(a_bundle.folder, folder, ignore=shutil.ignore_patterns("*.fp32.onnx", "*.pt"))
    return load_bundle(folder)


def test_every_contender_takes_part_and_sees_the_same_slices(measured: Benchmark) -> None:
    assert [result.name for result in measured.results] == [STOCK, FP32, INT8]
    assert len({result.seen for result in measured.results}) == 1
    assert not measured.absent


def test_contenders_take_turns_and_never_run_at_once(measured: Benchmark) -> None:
    runs = [(run.began, run.ended, result.name) for result in measured.results for run in result.runs]
    order = [name for _, _, name in sorted(runs)]
    assert order == [STOCK, FP32, INT8, FP32, INT8, STOCK]
    assert all(ended <= began for (_, ended, _), (began, _, _) in pairwise(sorted(runs)))
    assert {in_turn(3, repeat)[0] for repeat in range(3)} == {0, 1, 2}


def test_our_fp32_has_the_stock_predictors_masks(measured: Benchmark) -> None:
    _, fp32, int8 = measured.results
    assert fp32.dice > 0.999 and fp32.logits < 1e-3
    assert int8.logits > 10 * fp32.logits, "INT8 that is FP32 would show that the files are mixed up"


def test_every_slice_goes_through_every_stage(measured: Benchmark) -> None:
    stock, *ours = measured.results
    for result in ours:
        calls = {stage: spent.calls for stage, spent in result.runs[0].stages.items()}
        assert (calls["encode"], calls["attend"], calls["decode"], calls["remember"]) == (
            SLICES,
            SLICES - 1,
            SLICES,
            SLICES,
        )
        assert calls["detect"] == calls["write"] == 1
        assert result.runs[0].boxes is not None
    calls = {stage: spent.calls for stage, spent in stock.runs[0].stages.items()}
    assert calls["attend"] == SLICES - 1
    assert min(calls["encode"], calls["decode"], calls["remember"]) >= SLICES
    assert "detect" not in calls and calls["write"] == 1


def test_stages_add_up_to_all_of_following(measured: Benchmark) -> None:
    for result in measured.results:
        for run in result.runs:
            parts = [run.stages[stage] for stage in ("encode", "attend", "decode", "remember", "other")]
            assert sum(part.wall for part in parts) == pytest.approx(run.stages["follow"].wall)
            assert sum(part.cpu for part in parts) == pytest.approx(run.stages["follow"].cpu)


def test_sizes_are_those_of_the_files(measured: Benchmark, a_bundle: Bundle) -> None:
    stock, fp32, int8 = measured.results
    assert stock.bytes == {"segmenter": (a_bundle.folder / "segmenter.pt").stat().st_size}
    for result in (fp32, int8):
        files = list(a_bundle.folder.glob(f"*.{result.name}.onnx"))
        assert sum(result.bytes.values()) == sum(path.stat().st_size for path in files)
    assert all(result.peak_mb > 10 for result in measured.results)


def test_layers_of_random_weights_are_not_alike(a_bundle: Bundle) -> None:
    weights = torch.load(a_bundle.folder / "segmenter.pt", weights_only=True)["model"]
    fuser = [weights[f"memory_encoder.fuser.layers.{layer}.dwconv.weight"] for layer in (0, 1)]
    assert not torch.equal(*fuser)


def test_table_and_plot_show_all_of_it(measured: Benchmark, tmp_path: Path) -> None:
    table = markdown([measured], {"cpu": "a processor", "cores": 2, "torch": "2"})
    assert "random weights" in table and "a processor" in table
    for title in ("stock sam2, FP32 torch", "ours, FP32", "ours, INT8"):
        assert table.count(title) == 2  # a line among the contenders, and a column of the stages
    lines = [line.split("|") for line in table.splitlines() if line.startswith("|")]
    assert [line[1].strip() for line in lines[-7:]] == [
        "detect",
        "encode",
        "attend",
        "decode",
        "remember",
        "other",
        "write",
    ]
    plot([measured, measured], tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_without_fp32_files_int8_is_measured_alone_with_a_warning(int8_alone: Bundle) -> None:
    names, absent = contenders(int8_alone)
    assert names == [INT8]
    assert len(absent) == 2 and all(sentence.startswith(int8_alone.name) for sentence in absent)


def test_starters_have_no_stock_predictor() -> None:
    names, absent = contenders(load_bundle("glioma"))
    assert STOCK not in names and INT8 in names
    assert "does not support filled boxes" in absent[0]


def test_command_writes_table_plot_and_figures(
    int8_alone: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["bench", str(int8_alone.folder), "-o", str(tmp_path / "out"), "--slices", "3", "--repeats", "1"])
    assert not left.value.code
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"bench.md", "bench.png", "bench.json"}
    assert (tmp_path / "out" / "bench.md").read_text() in capsys.readouterr().out


def test_one_contender_alone_may_run_through_many_slices(int8_alone: Bundle, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Results\n<!-- bench -->\nold\n<!-- end of bench -->\nMore.\n", encoding="utf-8")
    command = ["bench", str(int8_alone.folder), "-o", str(tmp_path / "out"), "--slices", "3", "--repeats", "1"]
    with pytest.raises(SystemExit) as left:
        main([*command, "--only", "int8", "--readme", str(readme)])
    assert not left.value.code
    text = readme.read_text(encoding="utf-8")
    assert (tmp_path / "out" / "bench.md").read_text().strip() in text and "(out/bench.png)" in text
    assert text.startswith("# Results\n<!-- bench -->\n") and text.endswith("\n<!-- end of bench -->\nMore.\n")
    assert "old" not in text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(["--only", "fp16"], "stock, fp32, int8"), (["--only", "stock"], "leave --only out"), ([], "has no lines")],
)
def test_what_cannot_be_measured_or_written_is_reported_before(
    int8_alone: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: list[str], message: str
) -> None:
    place = [] if wrong else ["--readme", str(tmp_path / "README.md")]
    with pytest.raises(SystemExit) as left:
        main(["bench", str(int8_alone.folder), "-o", str(tmp_path / "out"), "--slices", "3", *wrong, *place])
    assert left.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux can bind a process to a core")
def test_contenders_may_be_given_fewer_cores(int8_alone: Bundle) -> None:
    result = bench(int8_alone, Options(3, 1, threads=1))
    assert result.options.cores == 1
    assert "cores: 1;" in markdown([result], {"cpu": "a processor", "cores": 2})


def test_contender_that_cannot_run_is_reported_in_one_sentence(int8_alone: Bundle) -> None:
    (int8_alone.folder / "memory_encoder.int8.onnx").write_bytes(b"damaged")
    with pytest.raises(AutoMedSAMError, match=r"memory_encoder\.int8\.onnx"):
        bench(int8_alone, Options(3, 1))


def test_the_package_is_as_it_was_after_a_run(a_bundle: Bundle) -> None:
    import sam2.sam2_video_predictor as stock

    before = (stock.load_video_frames, stock.tqdm)
    watch = Stopwatch()
    slices = np.random.default_rng(0).integers(0, 255, (3, 40, 48)).astype(np.uint8)
    logits = StockPredictor(a_bundle.folder / "segmenter.pt", watch).follow(slices, 1, Box(10, 10, 20, 20))
    assert logits.shape == slices.shape and np.isfinite(logits).all()
    assert (stock.load_video_frames, stock.tqdm) == before


def test_what_is_not_a_stage_passes_through_unchanged() -> None:
    class Parts:
        width = 3

        def encode_image(self, image: int) -> int:
            return image + 1

    watch = Stopwatch()
    parts = TimedNetworks(Parts(), watch)
    assert (parts.encode_image(1), parts.width) == (2, 3)
    assert watch.spent["encode"].calls == 1


@pytest.mark.parametrize("count", [3, 40, 60, 155])
def test_made_up_clip_boxes_a_lesion_in_its_middle(count: int) -> None:
    clip = made_up_clip(count, None)
    assert clip.slices.shape == (count, 240, 240) and clip.slices.dtype == np.uint8
    assert 0 < clip.seed < count - 1
    rows, columns = (
        slice(round(at), round(at + size)) for at, size in ((clip.box.y, clip.box.height), (clip.box.x, clip.box.width))
    )
    seed = clip.slices[clip.seed]
    assert seed[rows, columns].mean() > seed[seed > 0].mean()
