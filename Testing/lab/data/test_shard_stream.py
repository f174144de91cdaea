"""Every image comes once an epoch, in steps that do not depend on who reads them; damaged shards are not read."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.shards.index import INDEX, Shard, ShardIndex
from automedsam_lab.data.shards.order import WINDOW, EpochOrder, lanes_of

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("webdataset", reason="webdataset is not installed")
from generate_archive import generate_sa_med2d  # noqa: E402

from automedsam_lab.data.shards.sample import ShardSample  # noqa: E402
from automedsam_lab.data.shards.stream import LaneStream, MicroBatch  # noqa: E402
from automedsam_lab.data.shards.write import ShardSettings, write_shards  # noqa: E402


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    folder = tmp_path_factory.mktemp("shards")
    generate_sa_med2d(folder / "a", 60, 16, slices=2)
    write_shards(ShardSettings(folder / "a", folder / "s", shard_mb=0.05))
    index = ShardIndex.open(folder / "s")
    assert len(index.parts["train"]) > 3
    return index


def place(sample: ShardSample, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """The number of an image, and what was drawn for it."""
    case, at = sample.key.split("--")[2:]
    return {"image": torch.tensor(2 * int(case[5:]) + int(at[2:])), "drawn": torch.tensor(rng.random())}


def order_of(index: ShardIndex, epoch: int = 0, lanes: int = 4, batch: int = 3) -> EpochOrder:
    return EpochOrder(index.parts["train"], lanes, batch, 0, epoch)


def steps(index: ShardIndex, order: EpochOrder, processes: int, first: int = 0, workers: int = 0) -> dict:
    """What each step draws in each lane, whichever process reads it."""
    found = {}
    for rank in range(processes):
        lanes = lanes_of(rank, processes, order.lanes)
        batches: list[MicroBatch] = list(LaneStream(index.folder, order, lanes, place, first).loader(workers))
        assert [(one.step, one.lane) for one in batches] == [
            (step, lane) for step in range(first, order.steps) for lane in lanes
        ]
        for one in batches:
            tensors = {} if one.tensors is None else {name: value.tolist() for name, value in one.tensors.items()}
            found[one.step, one.lane] = (tensors.get("image", []), tensors.get("drawn", []))
    return found


@pytest.mark.parametrize(("lanes", "batch"), [(1, 1), (4, 3), (8, 2), (5, 100)])
def test_each_image_comes_once_an_epoch(index: ShardIndex, lanes: int, batch: int) -> None:
    found = steps(index, order_of(index, lanes=lanes, batch=batch), 1)
    images = Counter(image for batch_images, _ in found.values() for image in batch_images)
    assert len(images) == index.images("train") > 30 and set(images.values()) == {1}


def test_steps_are_the_same_in_one_two_and_four_processes_and_with_workers(index: ShardIndex) -> None:
    order = order_of(index)
    one = steps(index, order, 1)
    assert steps(index, order, 2) == one == steps(index, order, 4)
    assert steps(index, order, 2, workers=2) == one


def test_another_epoch_has_another_order_and_the_same_images(index: ShardIndex) -> None:
    first, second = (steps(index, order_of(index, epoch), 1) for epoch in (0, 1))
    one, other = ([image for images, _ in found.values() for image in images] for found in (first, second))
    assert one != other and sorted(one) == sorted(other) != one
    assert steps(index, order_of(index, 1), 2) == second


def test_reading_continues_at_any_step_in_another_number_of_processes(index: ShardIndex) -> None:
    order = order_of(index)
    whole = steps(index, order, 1)
    for first in range(order.steps):
        assert steps(index, order, 2, first) == {key: value for key, value in whole.items() if key[0] >= first}


def test_lanes_longer_than_a_window_are_shuffled_and_continued_exactly() -> None:
    shards = [Shard(f"train-{number}.tar", "", 0, 700, 0) for number in range(3)]
    order = EpochOrder(shards, 2, 10, 0, 0)

    def images(lane: int, first: int = 0) -> list[tuple[str, int]]:
        found = []
        for stretches, positions in order.windows(lane, first):
            group = [(one.shard.file, one.first + at) for one in stretches for at in range(one.count)]
            assert len(group) <= WINDOW
            found += [group[position] for position in positions]
        return found

    both = images(0) + images(1)
    assert len(both) == len(set(both)) == 2100 and both != sorted(both)
    for first in (1, WINDOW, 400, 1049):
        assert images(1, first) == images(1)[first:]


def test_processes_that_cannot_share_the_lanes_are_refused() -> None:
    with pytest.raises(AutoMedSAMError, match=r"8 lanes .* 3 processes; start 1, 2, 4 or 8 processes"):
        lanes_of(0, 3, 8)
    with pytest.raises(AutoMedSAMError, match="give --lanes a multiple of 16"):
        lanes_of(0, 16, 8)


@pytest.fixture
def copied(index: ShardIndex, tmp_path: Path) -> Path:
    folder = tmp_path / "copied"
    folder.mkdir()
    for path in index.folder.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_shard_of_the_same_size_and_other_content_is_not_read(copied: Path) -> None:
    index = ShardIndex.open(copied)
    path = copied / index.parts["train"][1].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    index = ShardIndex.open(copied)
    batches = list(LaneStream(copied, order_of(index, lanes=1), [0], place).loader(0))
    assert batches[-1].error is not None and f"{path.name} is damaged" in batches[-1].error
    # Nothing of it was trained on.
    assert sum(one.images for one in batches) <= index.images("train") - index.parts["train"][1].images


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda stored: stored.update(version=2), "version 2; this program reads"),
        (lambda stored: stored.update(format="other"), "of format 'other'"),
        (lambda stored: stored.pop("labels"), "is damaged"),
        (lambda stored: stored["parts"]["train"]["shards"][0].update(images=-1), "is damaged"),
        (lambda stored: stored["parts"]["train"]["shards"][0].update(file="../x.tar"), "is damaged"),
        (lambda stored: stored["parts"]["train"]["shards"][0].update(file="train-9.tar"), "cannot be read"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(copied: Path, change: object, reason: str) -> None:
    stored = json.loads((copied / INDEX).read_text())
    change(stored)  # type: ignore[operator]
    (copied / INDEX).write_text(json.dumps(stored))
    with pytest.raises(AutoMedSAMError, match=reason):
        ShardIndex.open(copied)


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="does not exist"):
        ShardIndex.open(tmp_path / "none")
    with pytest.raises(AutoMedSAMError, match="not a finished set of shards"):
        ShardIndex.open(tmp_path)
    (tmp_path / INDEX).write_text("[]")
    with pytest.raises(AutoMedSAMError, match="not an index of shards"):
        ShardIndex.open(tmp_path)


def test_an_index_that_counts_too_many_images_is_noticed(index: ShardIndex) -> None:
    wrong = [replace(shard, images=shard.images + 2) for shard in index.parts["train"]]
    batches = list(LaneStream(index.folder, EpochOrder(wrong, 1, 4, 0, 0), [0], place).loader(0))
    assert batches[-1].error is not None and "ends after" in batches[-1].error
