"""The comparison of runtimes: all take turns on the same inputs, and who fails does not end it."""

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from log_lines import log_lines

from automedsam.bundle import Bundle
from automedsam.errors import AutoMedSAMError
from automedsam_lab.benchmark.runtimes import (
    Implementation,
    OrtInputs,
    Runner,
    contenders,
    counts,
    markdown,
    measure,
    time_part,
)
from automedsam_lab.cli.app import main

onnx = pytest.importorskip("onnx", reason="the lab is not installed")

from onnx import TensorProto, helper  # noqa: E402

SIZES = {"memories": 3, "n": 1}


def a_graph(path: Path, axis: str) -> Path:
    """Doubles `(axis, 4)`."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [axis, 4]) for name in ("image", "twice")]
    graph = helper.make_graph([helper.make_node("Add", ["image", "image"], ["twice"])], "twice", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def a_contender(name: str, log: list[tuple[str, int]], factor: float = 2.0, batch: int = 1) -> Implementation:
    """Multiplies, takes a thousandth of a second, and takes down its turn."""

    def run(feed: OrtInputs) -> list[np.ndarray]:
        log.append((name, len(feed["image"])))
        time.sleep(1e-3)
        return [factor * feed["image"]]

    return Implementation(name, lambda _: run, batch)


def broken(_: Path) -> Runner:
    message = "no such kernel\nand a long story"
    raise RuntimeError(message)


def test_all_take_turns_and_each_time_another_one_begins(tmp_path: Path) -> None:
    log: list[tuple[str, int]] = []
    entrants = [a_contender(name, log) for name in "abc"]
    timings = time_part("detector", "int8", a_graph(tmp_path / "a.onnx", "n"), entrants, SIZES, 3)
    assert "".join(name for name, _ in log) == "abc" + "abc" + "bca" + "cab", "one warms up, three count"
    assert all(len(timing.wall) == len(timing.cpu) == 3 and min(timing.wall) >= 1 for timing in timings)


def test_batches_run_only_where_an_axis_is_free_for_them(tmp_path: Path) -> None:
    log: list[tuple[str, int]] = []
    entrants = [a_contender("one", log), a_contender("four", log, batch=4)]
    found = time_part("detector", "int8", a_graph(tmp_path / "a.onnx", "n"), entrants, SIZES, 1)
    assert dict(log) == {"one": 1, "four": 4}
    assert found[1].apart == 0 and found[1].wall[0] < found[0].wall[0], "times are told for one input"
    fixed = time_part("memory_attention", "int8", a_graph(tmp_path / "b.onnx", "memories"), entrants, SIZES, 1)
    assert [timing.contender for timing in fixed] == ["one"]
    assert log[-1] == ("one", 3)


def test_answers_are_compared_with_the_first_ones(tmp_path: Path) -> None:
    entrants = [a_contender("first", []), a_contender("other", [], factor=2.2)]
    first, other = time_part("detector", "int8", a_graph(tmp_path / "a.onnx", "n"), entrants, SIZES, 1)
    assert first.apart == 0 and other.apart == pytest.approx(0.1)


def test_one_that_fails_is_reported_and_the_others_continue(tmp_path: Path) -> None:
    entrants = [a_contender("works", []), Implementation("broken", broken), a_contender("too", [])]
    timings = time_part("detector", "int8", a_graph(tmp_path / "a.onnx", "n"), entrants, SIZES, 2)
    assert [len(timing.wall) for timing in timings] == [2, 0, 2]
    table = markdown(timings, 2, {"cores": 2})
    assert "- INT8, broken, detector: RuntimeError: no such kernel" in table and "long story" not in table
    lines = [line.split("|")[1:] for line in table.splitlines() if line.startswith("| INT8")]
    assert [line[0].strip() for line in lines] == ["INT8, works", "INT8, broken", "INT8, too"]
    assert lines[1][1].strip() == "failed" and "x " in lines[2][1] and "x " not in lines[0][1]
    assert lines[0][2].strip() == "-", "what this model has no file of"


def test_threads_are_halved_to_one() -> None:
    assert (counts(1), counts(2), counts(12)) == ([1], [2, 1], [12, 6, 3, 1])


def test_openvino_is_compared_only_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert not [one for one in contenders(2, "fp32") if "OpenVINO" in one.name]
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace())
    named = {precision: [one.name for one in contenders(2, precision)] for precision in ("int8", "fp32")}
    assert sum("OpenVINO" in name for name in named["int8"]) == 2
    assert set(named["fp32"]) - set(named["int8"]) == {"OpenVINO in bfloat16, 2 threads"}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runtimes_give_the_same_answers(runtime: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    title = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}[runtime]
    entrants = [one for one in contenders(2, "int8") if title in one.name]
    timings = time_part("detector", "int8", a_graph(tmp_path / "a.onnx", "n"), entrants, SIZES, 1)
    assert timings and not any(timing.failed or timing.apart for timing in timings)


@pytest.fixture
def a_bundle(tmp_path: Path) -> SimpleNamespace:
    """A bundle of one small INT8 file."""
    files = {"detector": a_graph(tmp_path / "detector.onnx", "n")}
    segmenter = SimpleNamespace(memories=None, num_maskmem=3, max_pointers=2)
    return SimpleNamespace(
        name="small",
        segmenter=segmenter,
        has_detector=True,
        has=lambda kind: kind == "int8",
        files=lambda _, detector: files,
    )


def test_precisions_that_a_bundle_has_are_measured(a_bundle: SimpleNamespace) -> None:
    with log_lines() as logged:
        timings = measure(a_bundle, 1, threads=1)
    assert logged[0] == "detector in INT8" and len(logged) == 1 + len(timings)
    assert {timing.precision for timing in timings} == {"int8"}
    with pytest.raises(AutoMedSAMError, match="has no fp32 files here"):
        measure(a_bundle, 1, precisions=("fp32",))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["runtimes", *map(str, arguments)])
        return int(left.value.code or 0), *capsys.readouterr()

    return run


def test_the_command_writes_its_table(
    command: Callable[..., tuple[int, str, str]],
    a_bundle: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("automedsam.bundle.load_bundle", lambda _: a_bundle)
    out = tmp_path / "table.md"
    code, output, _ = command("small", "-o", out, "--repeats", 1, "--threads", 1)
    assert not code and out.read_text(encoding="utf-8") == output
    assert "| INT8, ONNX Runtime, 1 thread |" in output


def test_what_is_wrong_is_reported_in_one_sentence(
    command: Callable[..., tuple[int, str, str]], a_manifest: Bundle, tmp_path: Path
) -> None:
    for arguments, sentence in (
        (("no-such-model",), "no-such-model"),
        (("glioma", "--precision", "int3"), "choose int8 or fp32"),
        (("glioma", "-o", tmp_path / "nowhere" / "table.md"), "does not exist"),
    ):
        code, output, error = command(*arguments)
        assert code == 2 and not output
        assert sentence in error.replace("\n", " ") and len(error.strip().splitlines()) == 1
