"""The preview of a slice: the mask that propagation gives there, in the volume's axes; only the newest is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from automedsam.core.ijk_boxes import IjkBoxConverter
from automedsam.core.volume import Plane, Volume

if TYPE_CHECKING:
    from Testing.engine.conftest import Message, Worker

# A right-handed oblique grid whose columns I and K run against the patient's axes.
TILTED = (-0.9848, -0.1736, 0.0, -0.1736, 0.9848, 0.0, 0.0, 0.0, -1.0)


@pytest.fixture(scope="module")
def a_lesion() -> tuple[Volume, np.ndarray]:
    """Voxels `(K, J, I)` of three different lengths with a bright ball, and where it is."""
    k, j, i = np.indices((40, 64, 80))
    ball = (k - 18) ** 2 + (j - 24) ** 2 + (i - 50) ** 2 < 81
    noise = np.random.default_rng(0).normal(100, 5, ball.shape)
    return Volume((noise + 120 * ball).astype(np.float32), (1.0, 1.0, 1.0), (5.0, 6.0, 7.0), TILTED), ball


@pytest.fixture
def fields_of(request_of: Callable[..., Message], tmp_path: Path) -> Callable[..., Message]:
    def fields(volume: Volume, **more: Any) -> Message:
        asked = request_of(volume, plane="axial", boxes=[], mask=str(tmp_path / "mask.npy"), **more)
        asked.pop("labels")
        return asked

    return fields


def point(i: float, j: float, k: float, *, positive: bool = True) -> Message:
    return {"position": [i, j, k], "positive": positive}


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("kind", ["box", "point", "mask"])
def test_a_preview_is_the_slice_that_propagation_gives(
    warm_worker: Worker, a_lesion: tuple[Volume, np.ndarray], fields_of: Callable[..., Message], tmp_path: Path,
    plane: str, kind: str,
) -> None:  # fmt: skip
    volume, ball = a_lesion
    axis = volume.slice_axis(Plane(plane))[0]
    center = (18, 24, 50)
    index = center[axis]
    low_high = [edge for middle in center[::-1] for edge in (middle - 9, middle + 9)]
    tracklet: Message = {"label": 1, "seed": index, "boxes": []}
    boxes = []
    edited = np.take(ball, index, axis)
    if kind == "box":
        boxes = [{"id": 4, "slice": index, "bounds": low_high, "drawn": True}]
        tracklet["boxes"] = [4]
    elif kind == "point":
        tracklet["points"] = [point(50, 24, 18)]
    else:
        np.save(tmp_path / "edited.npy", edited.astype(np.uint8))
        tracklet["masks"] = [{"slice": index, "path": str(tmp_path / "edited.npy")}]
    asked = {**fields_of(volume, tracklets=[tracklet], slice=index), "plane": plane, "boxes": boxes}
    answer = warm_worker.ask("preview", **asked)[-1]
    assert answer["event"] == "preview", answer
    mask = np.load(asked.pop("mask"))
    assert mask.dtype == np.uint8 and mask.shape == edited.shape and answer["area"] == mask.sum() > 0
    assert 0 <= answer["score"] <= 1 and answer["seconds"] > 0 and answer["slice"] == index
    assert (mask & edited).sum() > 0.9 * mask.sum() and (mask & edited).sum() > 0.5 * edited.sum()
    if kind == "mask":
        np.testing.assert_array_equal(mask, edited)
    finished = warm_worker.ask("propagate", labels=str(tmp_path / "labels.npy"), **asked)[-1]
    labels = np.load(tmp_path / "labels.npy")
    np.testing.assert_array_equal(np.take(labels, index, axis), mask)
    assert {key: finished["tracklets"][0].get(key) for key in tracklet} == tracklet


def test_masks_and_points_find_their_frame_and_back(a_lesion: tuple[Volume, np.ndarray]) -> None:
    volume, ball = a_lesion
    for plane in Plane:
        grid = IjkBoxConverter(volume, plane)
        frames = replace(volume, array=ball).to_frames(plane)[0]
        frame, found = grid.point((50, 24, 18), positive=True)
        assert frames[frame, int(found.y), int(found.x)]
        index = grid.slice_index(frame)
        mask = np.take(ball, index, grid.axis)
        np.testing.assert_array_equal(grid.frame_mask(mask), frames[frame])
        np.testing.assert_array_equal(grid.volume_mask(grid.frame_mask(mask)), mask)
        # One corner voxel of the volume, and its outermost edge.
        for corner in ((0, 0, 0), (79, 63, 39), (-0.5, -0.5, -0.5), (79.5, 63.5, 39.5)):
            frame, found = grid.point(corner, positive=True)
            assert 0 <= frame < len(frames) and int(found.y) < frames.shape[1] and int(found.x) < frames.shape[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"points": [{"position": [500, 24, 18], "positive": True}]}, "lies outside the volume"),
        ({"points": [{"position": [50, 24, -9], "positive": True}]}, "lies outside the volume"),
        ({"empty": [400]}, "not in the volume"),
        ({"limits": [3, 400]}, "not in the volume"),
        ({"masks": [{"slice": 18, "path": "gone.npy"}]}, "cannot be read"),
        ({"masks": [{"slice": 18, "path": "small.npy"}]}, "does not lie on a slice"),
        ({"masks": [{"slice": 18, "path": "grey.npy"}]}, "no mask of 0 and 1"),
        ({"points": [], "masks": []}, "no box, no point and no mask"),
        ({"points": [{"position": [50, 24], "positive": True}]}, "position"),
        ({"points": [{"position": [50, 24, 18], "positive": 1}]}, "positive"),
        ({"limits": [9, 3]}, "limits"),
    ],
)
def test_a_wrong_prompt_ends_in_one_sentence(
    warm_worker: Worker, a_lesion: tuple[Volume, np.ndarray], fields_of: Callable[..., Message], tmp_path: Path,
    change: Message, words: str,
) -> None:  # fmt: skip
    np.save(tmp_path / "small.npy", np.ones((3, 3), np.uint8))
    np.save(tmp_path / "grey.npy", np.full((64, 80), 7, np.uint8))
    if "masks" in change:
        change = {**change, "masks": [{**one, "path": str(tmp_path / one["path"])} for one in change["masks"]]}
    tracklet = {"label": 1, "seed": 18, "boxes": [], "points": [point(50, 24, 18)], **change}
    answer = warm_worker.ask("preview", **fields_of(a_lesion[0], tracklets=[tracklet], slice=18))[-1]
    assert answer["event"] == "error" and words in answer["message"], answer
    assert not (tmp_path / "mask.npy").exists()


def test_a_newer_preview_supersedes_and_cancel_stops_all(
    a_worker: Worker, a_lesion: tuple[Volume, np.ndarray], fields_of: Callable[..., Message]
) -> None:
    tracklet = {"label": 1, "seed": 18, "boxes": [], "points": [point(50, 24, 18)]}
    fields = fields_of(a_lesion[0], tracklets=[tracklet], slice=22)
    a_worker.ask("preview", **fields)  # the engine is warm
    lines = [json.dumps({"op": "preview", "id": number, **fields}) for number in range(10, 20)]
    a_worker.say("\n".join(lines))
    answers = [a_worker.hear() for _ in lines]
    assert [one["id"] for one in answers] == list(range(10, 20))
    assert answers[-1]["event"] == "preview"
    # One that the process began before it had read the next line may be answered.
    assert [one["event"] for one in answers[1:-1]].count("cancelled") >= 5
    a_worker.say("\n".join([*lines, json.dumps({"op": "cancel"})]))
    assert [a_worker.hear()["event"] for _ in lines][-1] == "cancelled"
    # A preview supersedes no other request.
    a_worker.say("\n".join([json.dumps({"op": "devices", "id": 30}), lines[0], lines[1]]))
    assert [a_worker.hear()["event"] for _ in range(3)][::2] == ["devices", "preview"]


def test_a_loaded_model_is_that_of_the_next_preview(
    start: Callable[[], Worker], a_lesion: tuple[Volume, np.ndarray], fields_of: Callable[..., Message]
) -> None:
    worker = start()
    loaded = worker.ask("load", model="glioma")[-1]
    assert loaded["event"] == "loaded" and loaded["device"].startswith("CPU")
    tracklet = {"label": 1, "seed": 18, "boxes": [], "points": [point(50, 24, 18)]}
    assert worker.ask("preview", **fields_of(a_lesion[0], tracklets=[tracklet], slice=18))[-1]["event"] == "preview"
    refused = worker.ask("load", model="no such model")[-1]
    assert refused["event"] == "error" and refused["user_error"]
