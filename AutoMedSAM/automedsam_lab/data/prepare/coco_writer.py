"""A prepared dataset's COCO files and manifest, written a row at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from automedsam.io.atomic import atomic_write
from automedsam_lab.data.prepare.image_worker import SIZE
from automedsam_lab.data.prepare.split import FRACTIONS
from automedsam_lab.data.prepare.state import PrepareState
from automedsam_lab.data.splits import SPLITS

SCHEMA = 1
_ENTRIES = "SELECT entry FROM pictures WHERE part = ? ORDER BY file"


def write_annotations(state: PrepareState, out: Path, labels: Mapping[int, str]) -> None:
    """One COCO file for each part. Numbers count through all parts, from 1.

    Args:
        state: what was made.
        out: the dataset's folder.
        labels: names by value.
    """
    image_id = annotation_id = 0
    categories = [{"id": value, "name": name} for value, name in sorted(labels.items())]
    for part in SPLITS:
        with (
            atomic_write(out / "annotations" / f"{part}.json") as unfinished,
            unfinished.open("w", encoding="utf-8") as f,
        ):
            _write_object(
                f,
                images=_images(state, part, image_id),
                annotations=_annotations(state, part, image_id, annotation_id),
                categories=categories,
            )
        for images, boxes in state.read("SELECT COUNT(*), SUM(boxes) FROM pictures WHERE part = ?", part):
            image_id, annotation_id = image_id + images, annotation_id + (boxes or 0)


def write_manifest(
    state: PrepareState, out: Path, described: Mapping[str, Any], labels: Mapping[int, str]
) -> dict[str, Any]:
    """The manifest, last of all: with it the dataset is whole.

    Args:
        state: what was made.
        out: the dataset's folder, whose annotations are written.
        described: `dataset`, `root`, `seed`, `licence` and whatever else the run knows of itself.
        labels: names by value.

    Returns:
        `counts` by part, as they were written.
    """
    counts = {part: _counts(state, part) for part in SPLITS}
    schemes = [scheme for (scheme,) in state.read(_CASES.format("DISTINCT json_extract(plan.source, '$.scheme')"))]
    slivers, left_out = next(state.read("SELECT SUM(slivers), SUM(left_out) FROM done"))
    with atomic_write(out / "manifest.json") as unfinished, unfinished.open("w", encoding="utf-8") as stream:
        _write_object(
            stream,
            schema=SCHEMA,
            **described,
            size=SIZE,
            fractions=list(FRACTIONS),
            labels={str(value): name for value, name in sorted(labels.items())},
            scheme=schemes[0] if len(schemes) == 1 else None,
            counts=counts,
            left_out={"slivers": slivers or 0, "pictures_of_slivers_alone": left_out or 0},
            files=_files(state, out),
            patients={part: _patients(state, part) for part in SPLITS},
            skipped=({"path": path, "reason": reason} for path, reason in state.read("SELECT * FROM skipped")),
            cases=_cases(state),
        )
    return counts


_CASES = "SELECT {} FROM plan JOIN done ON done.name = plan.name"


def _images(state: PrepareState, part: str, before: int) -> Iterator[dict[str, Any]]:
    for number, (entry,) in enumerate(state.read(_ENTRIES, part), start=before + 1):
        image = json.loads(entry)
        del image["boxes"]
        yield {"id": number, **image}


def _annotations(state: PrepareState, part: str, images_before: int, before: int) -> Iterator[dict[str, Any]]:
    for image, (entry,) in enumerate(state.read(_ENTRIES, part), start=images_before + 1):
        for box in json.loads(entry)["boxes"]:
            before += 1
            yield {"id": before, "image_id": image, **box}


def _counts(state: PrepareState, part: str) -> dict[str, int]:
    images, boxes, empty = next(
        state.read("SELECT COUNT(*), SUM(boxes), SUM(boxes = 0) FROM pictures WHERE part = ?", part)
    )
    (patients,) = next(state.read(_CASES.format("COUNT(DISTINCT patient)") + " WHERE plan.part = ?", part))
    return {"patients": patients, "images": images, "boxes": boxes or 0, "empty": empty or 0}


def _patients(state: PrepareState, part: str) -> list[str]:
    found = state.read(_CASES.format("DISTINCT patient") + " WHERE plan.part = ? ORDER BY patient", part)
    return [patient for (patient,) in found]


def _cases(state: PrepareState) -> Iterator[dict[str, Any]]:
    for part, stored in state.read(_CASES.format("plan.part, plan.source") + " ORDER BY plan.name"):
        source = json.loads(stored)
        case = {key: source[key] for key in ("case", "patient", "images", "label", "scheme", "modality", "values")}
        if source["masks"]:
            case["masks"] = source["masks"]
        yield {**case, "part": part}


def _files(state: PrepareState, out: Path) -> dict[str, str]:
    """Digests of the annotations; and of each folder of images that of what `sha256sum *` says in it."""
    digests = {}
    for part in SPLITS:
        path = out / "annotations" / f"{part}.json"
        with path.open("rb") as stream:
            digests[f"annotations/{part}.json"] = hashlib.file_digest(stream, "sha256").hexdigest()
        for folder, column in (("images", "image"), ("masks", "mask")):
            digest, some = hashlib.sha256(), False
            query = f"SELECT file, {column} FROM pictures WHERE part = ? AND {column} IS NOT NULL ORDER BY file"
            for file, of_file in state.read(query, part):
                digest.update(f"{of_file}  {file}\n".encode())
                some = True
            if some:
                digests[f"{folder}/{part}"] = digest.hexdigest()
    return digests


def _write_object(stream: TextIO, **members: Any) -> None:
    """A JSON object; members that are iterators become lists, an item a line, and are never held whole."""
    separator = "{\n"
    for name, value in members.items():
        stream.write(f"{separator}{json.dumps(name)}: ")
        separator = ",\n"
        if isinstance(value, Iterator):
            _write_array(stream, value)
        else:
            json.dump(value, stream, allow_nan=False)
    stream.write("\n}\n")


def _write_array(stream: TextIO, items: Iterable[Any]) -> None:
    separator = "\n"
    stream.write("[")
    for item in items:
        stream.write(separator + json.dumps(item, allow_nan=False))
        separator = ",\n"
    stream.write("]")
