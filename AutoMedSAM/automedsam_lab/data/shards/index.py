"""The index of a folder of shards: what is in each of them, and how to recognize one that was damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.json_files import write_json

INDEX, FORMAT, VERSION = "index.json", "automedsam-shards", 1


@dataclass(frozen=True)
class Shard:
    """One finished shard.

    Attributes:
        file: its name in the folder.
        sha256: of the whole file.
        bytes: its size.
        images: how many images it holds.
        masks: how many masks they have together.
    """

    file: str
    sha256: str
    bytes: int
    images: int
    masks: int

    def check_size(self, folder: Path) -> None:
        """Compare the size on disk, which finds most damage at no cost.

        Raises:
            AutoMedSAMError: if the file is missing or has another size.
        """
        path = folder / self.file
        try:
            found = path.stat().st_size
        except OSError as error:
            message = f"The shard {path} cannot be read ({error.strerror}); {REMEDY}"
            raise AutoMedSAMError(message) from error
        if found != self.bytes:
            kind = "is truncated" if found < self.bytes else "was changed"
            message = f"The shard {path} {kind}: it has {found} bytes and the index lists {self.bytes}; {REMEDY}"
            raise AutoMedSAMError(message)

    def check_content(self, folder: Path) -> None:
        """Compare the SHA-256, which reads the file once.

        Raises:
            AutoMedSAMError: if the file is missing or another one.
        """
        self.check_size(folder)
        try:
            with (folder / self.file).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            message = f"The shard {folder / self.file} cannot be read ({error.strerror}); {REMEDY}"
            raise AutoMedSAMError(message) from error
        if found != self.sha256:
            message = f"The shard {folder / self.file} is damaged: its SHA-256 is not that of the index; {REMEDY}"
            raise AutoMedSAMError(message)


REMEDY = "copy it again, or delete it and run the same `automedsam-lab prepare --shards` command to write it again."


@dataclass(frozen=True)
class ShardIndex:
    """A complete set of shards.

    Attributes:
        folder: where the shards are.
        dataset: the layout that they were made from.
        license: of the images, in a few words.
        labels: class names by value.
        parts: the shards of "train", "val" and "test"; a part without images has none.
        digest: identifies the set: SHA-256 of all shards' digests.
    """

    folder: Path
    dataset: str
    license: str
    labels: dict[int, str]
    parts: dict[str, tuple[Shard, ...]]

    @property
    def digest(self) -> str:
        """Identifies the content of all shards."""
        listed = [(part, shard.sha256) for part, shards in sorted(self.parts.items()) for shard in shards]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()

    def images(self, part: str) -> int:
        """How many images a part has."""
        return sum(shard.images for shard in self.parts[part])

    @classmethod
    def open(cls, folder: Path) -> ShardIndex:
        """Read the index and compare the sizes of all shards with it.

        Raises:
            AutoMedSAMError: if the folder has no index, the index is damaged or of another version, or a shard is
                missing or has another size.
        """
        path = folder / INDEX
        if not folder.is_dir():
            message = f"The folder of shards {folder} does not exist; check its spelling."
            raise AutoMedSAMError(message)
        if not path.is_file():
            message = (
                f"{folder} has no {INDEX}, so it is not a finished set of shards; run "
                "`automedsam-lab prepare sa-med2d ARCHIVE --shards -o FOLDER`, which also finishes an interrupted run."
            )
            raise AutoMedSAMError(message)
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            found = stored["format"], stored["version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{path} is not an index of shards ({type(error).__name__}); write the shards again."
            raise AutoMedSAMError(message) from error
        if found != (FORMAT, VERSION):
            message = (
                f"{path} is of format {found[0]!r}, version {found[1]!r}; this program reads {FORMAT!r}, version "
                f"{VERSION}: write the shards again, or use the program that wrote them."
            )
            raise AutoMedSAMError(message)
        try:
            index = cls(
                folder,
                str(stored["dataset"]),
                str(stored["licence"]),
                {int(value): str(name) for value, name in stored["labels"].items()},
                {str(part): _shards(content["shards"]) for part, content in stored["parts"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"{path} is damaged ({error}); run the same `automedsam-lab prepare --shards` command again."
            raise AutoMedSAMError(message) from error
        for shards in index.parts.values():
            for shard in shards:
                shard.check_size(folder)
        return index


def write_index(
    folder: Path, described: Mapping[str, Any], parts: Mapping[str, Iterable[Shard]], patients: Mapping[str, int]
) -> None:
    """Write `index.json`, which marks the set as complete.

    Args:
        folder: with the shards.
        described: further entries, `dataset`, `licence` and `labels` among them.
        parts: the shards of each part.
        patients: how many patients each part has.
    """
    content: dict[str, Any] = {"format": FORMAT, "version": VERSION, **described, "parts": {}}
    for part, shards in parts.items():
        listed = list(shards)
        totals = {name: sum(getattr(shard, name) for shard in listed) for name in ("images", "masks", "bytes")}
        rows = [asdict(shard) for shard in listed]
        content["parts"][part] = {"patients": patients.get(part, 0), **totals, "shards": rows}
    write_json(content, folder / INDEX)


def _shards(rows: list[dict[str, Any]]) -> tuple[Shard, ...]:
    shards = tuple(Shard(**row) for row in rows)
    for shard in shards:
        if Path(shard.file).name != shard.file or not all(
            isinstance(count, int) and count >= 0 for count in (shard.bytes, shard.images, shard.masks)
        ):
            message = f"unusable entry {shard.file!r}"
            raise ValueError(message)
    return shards
