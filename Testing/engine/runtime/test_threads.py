"""Threads are those that a person says, else those that are fastest here; few cores are all used, at no cost."""

from pathlib import Path

import pytest

from automedsam.bundle import load_bundle
from automedsam.contract.backends import Backend
from automedsam.errors import AutoMedSAMError
from automedsam.pipeline.backends import load_model
from automedsam.runtime import threads
from automedsam.runtime.threads import VARIABLE, _fastest_thread_count, tuned_thread_count

MODEL = Path("memory_attention.onnx")


class Stopwatch:
    """Takes as long as it is told for each number of threads, and remembers what it was asked."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.asked = seconds, []

    def __call__(self, count: int) -> float:
        self.asked.append(count)
        return self.seconds[count]

    def of(self, _path: Path, count: int) -> float:
        return self(count)


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_chosen", {})
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def a_stopwatch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    """On 8 cores that are 4 with two threads each."""
    watch = Stopwatch({8: 1.2, 4: 1.0, 2: 1.9, 1: 3.8})
    monkeypatch.setattr(threads, "_seconds", watch.of)
    monkeypatch.setattr(threads, "available_cores", lambda: 8)
    return watch


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({8: 1.0, 4: 1.9}, 8),  # each core helps
        ({8: 1.2, 4: 1.0, 2: 1.9}, 4),  # hyperthreads
        ({16: 3.0, 8: 2.0, 4: 1.5, 2: 1.0, 1: 1.9}, 2),  # a container that may use two cores' time
        ({8: 1.00, 4: 1.04, 2: 1.08}, 4),  # hardly slower, once: the measure stays the fastest of all
        ({6: 1.0, 3: 1.0, 1: 1.0}, 1),
    ],
)
def test_threads_are_halved_as_long_as_that_is_hardly_slower(seconds: dict[int, float], chosen: int) -> None:
    watch = Stopwatch(seconds)
    assert _fastest_thread_count(max(seconds), watch) == chosen
    assert watch.asked == list(seconds), "nothing else is measured"


def test_a_file_is_measured_once_in_a_process(a_stopwatch: Stopwatch) -> None:
    assert [tuned_thread_count(MODEL) for _ in range(3)] == [4, 4, 4]
    assert a_stopwatch.asked == [8, 4, 2]
    tuned_thread_count(Path("another.onnx"))
    assert a_stopwatch.asked == [8, 4, 2] * 2


@pytest.mark.parametrize("cores", [1, 2])
def test_few_cores_are_all_used_and_nothing_is_measured(
    cores: int, a_stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    assert tuned_thread_count(MODEL) == cores
    assert not a_stopwatch.asked


@pytest.mark.parametrize(("setting", "found"), [("3", 3), (" 1 ", 1), ("99", 8), ("", 4)])
def test_thread_count_from_the_environment(
    setting: str, found: int, a_stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, setting)
    assert tuned_thread_count(MODEL) == found
    assert bool(a_stopwatch.asked) == (not setting)


@pytest.mark.parametrize("setting", ["many", "0", "-2", "1.5", "²"])
def test_thread_count_that_is_no_number_is_refused(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, setting)
    with pytest.raises(AutoMedSAMError, match=VARIABLE) as refused:
        load_model(load_bundle("glioma"), Backend.INT8)
    assert str(refused.value).endswith("or leave it out.") and repr(setting) in str(refused.value)


def test_a_real_model_is_measured_where_there_are_cores_to_choose_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 4)
    path = load_bundle("glioma").files(Backend.INT8)["memory_attention"]
    assert tuned_thread_count(path) in (1, 2, 4)
    assert list(threads._chosen) == [path.resolve()]
