"""Cohorts through the engine's process: run, listed, a case opened as its run left it, corrected and saved."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import two_lesions

from automedsam.cohort.lock import locked
from automedsam.core.volume import Volume
from automedsam.io.segmentation_reader import read_labels
from automedsam.review.results import Results

if TYPE_CHECKING:
    from Testing.engine.conftest import Message, Worker


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Volume]:
    """A folder with a head of two lesions, one without contrast, and a file that is no image."""
    folder = tmp_path_factory.mktemp("study")
    head, _ = two_lesions()
    sitk.WriteImage(head.to_image(head.array), str(folder / "anna_flair.nii.gz"))
    dark = np.where(head.array > 0, 300, 0).astype(np.int16)
    sitk.WriteImage(head.to_image(dark), str(folder / "bernd_flair.nii.gz"))
    (folder / "carl_flair.nii.gz").write_bytes(b"no image")
    return folder, head


@pytest.fixture(scope="module")
def cohort(
    warm_worker: Worker, study: tuple[Path, Volume], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Message]]:
    folder = tmp_path_factory.mktemp("out") / "results"
    events = warm_worker.ask("cohort", input=str(study[0]), folder=str(folder), model="glioma")
    return folder, events


def case(worker: Worker, folder: Path, name: str, into: Path) -> Message:
    into.mkdir(exist_ok=True)
    return worker.ask("case", folder=str(folder), case=name, into=str(into))[-1]


def first_name(worker: Worker, folder: Path) -> str:
    cases = worker.ask("worklist", folder=str(folder))[-1]["cases"]
    return next(one["name"] for one in cases if one["name"].startswith("anna"))


def test_a_folder_becomes_a_cohort_and_the_same_request_does_nothing_again(
    warm_worker: Worker, study: tuple[Path, Volume], cohort: tuple[Path, list[Message]]
) -> None:
    folder, events = cohort
    ended = [one for one in events if one["event"] == "case_done"]
    assert [one["done"] for one in ended] == [1, 2, 3] and {one["total"] for one in ended} == {3}
    last = events[-1]
    assert (last["event"], last["count"], last["done"], last["stopped"]) == ("cohort", 3, 2, False)
    assert [name.split("_")[0] for name, _ in last["failed"]] == ["carl"] and "carl" in last["failed"][0][1]
    assert (folder / "cohort.csv").is_file() and (folder / "statistics.html").is_file()
    again = warm_worker.ask("cohort", input=str(study[0]), folder=str(folder), model="glioma")
    # The failed case is tried again; the others are there.
    assert [one["event"] for one in again] == ["case_done", "cohort"]


def test_a_worklist_has_failed_cases_first_then_the_most_uncertain(
    warm_worker: Worker, cohort: tuple[Path, list[Message]]
) -> None:
    listed = warm_worker.ask("worklist", folder=str(cohort[0]))[-1]
    assert listed["event"] == "worklist" and listed["model"] == "glioma" and listed["title"].startswith("glioma")
    assert [one["state"] for one in listed["cases"]] == ["failed", "done", "done"]
    doubts = [one["doubt"] for one in listed["cases"]]
    assert listed["cases"][0]["name"] == "carl" and doubts == sorted(doubts, reverse=True)


def test_an_opened_case_is_as_its_run_left_it(
    warm_worker: Worker, study: tuple[Path, Volume], cohort: tuple[Path, list[Message]],
    request_of: Callable[..., Message], tmp_path: Path,
) -> None:  # fmt: skip
    folder, name = cohort[0], first_name(warm_worker, cohort[0])
    opened = case(warm_worker, folder, name, tmp_path / "into")
    (image,) = opened["volumes"]
    np.testing.assert_array_equal(np.load(image["path"]), study[1].array)
    assert opened["model"] == "glioma" and image["spacing"] == pytest.approx(study[1].spacing)
    fields = request_of(study[1]) | {"volume": image}
    events = warm_worker.ask("reopen", folder=str(folder), case=name, **fields)
    direct = warm_worker.ask("segment", **{**fields, "labels": str(tmp_path / "again.npy")})
    labels = np.load(fields["labels"])
    assert labels.any()
    np.testing.assert_array_equal(labels, np.load(tmp_path / "again.npy"))
    finished, expected = events[-1], direct[-1]
    assert finished["event"] == "finished" and events[0]["event"] == "started"
    assert [one["plane"] for one in (events[0], direct[0])] == ["axial", "axial"]
    assert finished["report"]["volume_ml"] == pytest.approx(expected["report"]["volume_ml"], abs=1e-5)
    assert len(finished["tracklets"]) == len(expected["tracklets"]) > 1

    def boxes(sent: list[Message], tracklets: list[Message]) -> set[tuple[float, ...]]:
        by_id = {box["id"]: box for one in sent if one["event"] == "boxes" for box in one["boxes"]}
        members = [by_id[number] for one in tracklets for number in one["boxes"]]
        return {(box["slice"], *np.round(box["bounds"], 3), round(box["score"], 4)) for box in members}

    assert boxes(events, finished["tracklets"]) == boxes(direct, expected["tracklets"])
    assert [one["slice"] for one in finished["confidence"]] == [one["slice"] for one in expected["confidence"]]
    shares = [one["confidence"] for one in expected["confidence"]]
    assert [one["confidence"] for one in finished["confidence"]] == pytest.approx(shares, abs=1e-4)


def test_a_corrected_case_takes_the_place_of_the_result_and_everything_follows(
    warm_worker: Worker, study: tuple[Path, Volume], cohort: tuple[Path, list[Message]], tmp_path: Path
) -> None:
    folder, name = cohort[0], first_name(warm_worker, cohort[0])
    line = warm_worker.ask("decide", folder=str(folder), case=name, decision="fix", note="too small")[-1]["case"]
    assert (line["decision"], line["note"]) == ("fix", "too small")
    output = next((folder / "segmentations").glob("anna*.seg.nrrd"))
    labels = np.asarray(read_labels(output).mask(0), np.uint8)
    labels[3:6, 100:110, 100:120] = 1
    np.save(tmp_path / "fixed.npy", labels)
    head = study[1]
    fields = {"path": str(tmp_path / "fixed.npy"), "spacing": head.spacing, "origin": head.origin}
    fields["direction"] = head.direction
    segments = [{"value": 1, "name": "Glioma, whole tumour", "color": [1.0, 0.0, 0.0]}]
    request = {"folder": str(folder), "case": name, "labels": fields, "segments": segments}

    with locked(folder):
        refused = warm_worker.ask("save_case", **request)[-1]
    assert refused["user_error"] and "is in use" in refused["message"]
    elsewhere = {**request, "labels": {**fields, "origin": [0.0, 0.0, 0.0]}}
    assert "another grid" in warm_worker.ask("save_case", **elsewhere)[-1]["message"]

    saved = warm_worker.ask("save_case", note="grown by hand", **request)[-1]
    assert saved["event"] == "decided" and saved["case"]["decision"] == "accept" and not saved["case"]["outdated"]
    file = read_labels(output)
    np.testing.assert_array_equal(file.mask(0), labels)
    assert "corrected" in file.provenance
    # The review page sees it, and so do the table and a later run.
    seen = next(one for one in Results(folder).summary()["cases"] if one["name"] == name)
    millilitres = int(labels.sum()) * head.voxel_volume_ml
    assert seen["decision"] == "accept" and seen["note"] == "grown by hand"
    assert sum(seen["volume_ml"].values()) == pytest.approx(millilitres, abs=1e-4)
    rows = list(csv.DictReader((folder / "cohort.csv").open(encoding="utf-8")))
    row = next(one for one in rows if one["case"] == name)
    assert any(value == str(round(millilitres, 6)) for value in row.values())
    again = warm_worker.ask("cohort", input=str(study[0]), folder=str(folder), model="glioma")
    assert [one.get("case") for one in again if one["event"] == "case_done"] != [name]
    np.testing.assert_array_equal(read_labels(output).mask(0), labels)
    details = json.loads(next((folder / "cases").glob("anna*.json")).read_text(encoding="utf-8"))
    assert details["record"]["corrected"]["time"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"case": "nobody"}, "has no case nobody"),
        ({"case": "carl_flair"}, "has no segmentation"),
        ({"folder": "/tmp"}, "is not the output folder of a cohort"),
    ],
)
def test_a_case_that_is_not_there_is_refused_in_one_sentence(
    warm_worker: Worker, cohort: tuple[Path, list[Message]], tmp_path: Path, change: Message, sentence: str
) -> None:
    names = [one["name"] for one in warm_worker.ask("worklist", folder=str(cohort[0]))[-1]["cases"]]
    asked = {"folder": str(cohort[0]), "case": names[0], "into": str(tmp_path)} | change
    if asked["case"] == "carl_flair":
        asked["case"] = next(name for name in names if name.startswith("carl"))
    refused = warm_worker.ask("case", **asked)[-1]
    assert refused["event"] == "error" and refused["user_error"] and sentence in refused["message"]


def test_a_volume_that_is_not_the_case_is_refused(
    warm_worker: Worker, study: tuple[Path, Volume], cohort: tuple[Path, list[Message]],
    request_of: Callable[..., Message],
) -> None:  # fmt: skip
    other = replace(study[1], origin=(1.0, 2.0, 3.0))
    name = first_name(warm_worker, cohort[0])
    refused = warm_worker.ask("reopen", folder=str(cohort[0]), case=name, **request_of(other))[-1]
    assert refused["user_error"] and "is not the image of" in refused["message"]


def test_a_cancelled_cohort_ends_after_the_case_in_progress_and_goes_on(
    start: Callable[[], Worker], study: tuple[Path, Volume], tmp_path: Path
) -> None:
    worker, folder = start(), tmp_path / "stopped"
    worker.send("cohort", input=str(study[0]), folder=str(folder), model="glioma")
    first = worker.until("case_done")[-1]
    worker.say('{"op": "cancel"}')
    last = worker.until("cohort", "cancelled")[-1]
    assert last["event"] == "cohort" and last["stopped"] and last["done"] < 3 and first["done"] == 1
    again = worker.ask("cohort", input=str(study[0]), folder=str(folder), model="glioma")[-1]
    assert (again["done"], again["stopped"]) == (2, False)
