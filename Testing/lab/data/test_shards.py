"""Shards hold every image once, whole and by patient; an interrupted run ends as an uninterrupted one."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import archive_files
import numpy as np
import pytest
from generate_archive import generate_sa_med2d
from PIL import Image
from typer.testing import CliRunner

from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.prepare import app
from automedsam_lab.data.readers.base import ReaderOptions
from automedsam_lab.data.shards.index import INDEX, ShardIndex

webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
from automedsam_lab.data.shards.sample import ShardSample, decode  # noqa: E402
from automedsam_lab.data.shards.stream import read_tar  # noqa: E402
from automedsam_lab.data.shards.write import ShardSettings, write_shards  # noqa: E402


@pytest.fixture
def settings(tmp_path: Path) -> ShardSettings:
    return ShardSettings(archive_files.sa_med2d(tmp_path / "a", 12), tmp_path / "s", shard_mb=0.05)


def samples(folder: Path, part: str | None = None) -> Iterator[ShardSample]:
    index = ShardIndex.open(folder)
    for name, shards in index.parts.items():
        for shard in shards if part in (None, name) else ():
            yield from (decode(stored, folder / shard.file) for stored in read_tar(folder / shard.file))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def interrupt_after(count: int) -> Callable[[], None]:
    left = [count]

    def on_shard() -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    return on_shard


def test_shards_hold_every_image_with_its_objects_as_the_archive_has_them(settings: ShardSettings) -> None:
    summary = write_shards(settings)
    found = {sample.key: sample for sample in samples(settings.out)}
    images = sorted((settings.root / "images").iterdir())
    assert sorted(found) == [path.stem for path in images] and len(images) == 24
    for path in images:
        sample = found[path.stem]
        assert sample.image == path.read_bytes()
        assert (sample.modality, sample.dataset) == ("CT", "AbdomenCT1K")
        assert sample.patient == "AbdomenCT1K--" + path.stem.split("--")[2]
        # The third class is the union of the others and no object.
        assert [(one.name, one.box, one.area) for one in sample.objects] == [
            ("liver", (10, 20, 30, 25), 750),
            ("kidney", (40, 5, 8, 8), 64),
            ("kidney", (60, 30, 12, 9), 108),
        ]
        for at, ending in enumerate(("0001_000", "0002_000", "0002_001")):
            stored = np.asarray(Image.open(settings.root / "masks" / f"{path.stem}--{ending}.png")) > 0
            assert np.array_equal(sample.mask(at), stored)
        assert np.array_equal(sample.pixels(), np.asarray(Image.open(path)))
    assert sum(counts["images"] for counts in summary.counts.values()) == 24
    assert ShardIndex.open(settings.out).labels == {1: "kidney", 2: "liver"}


def test_no_patient_is_in_two_parts_and_no_shard_is_larger_than_asked_for(settings: ShardSettings) -> None:
    summary = write_shards(settings)
    parts = {part: {sample.patient for sample in samples(settings.out, part)} for part in ("train", "val", "test")}
    assert sum(len(members) for members in parts.values()) == 12 == len(set().union(*parts.values()))
    assert {part: len(members) for part, members in parts.items()} == {
        part: counts["patients"] for part, counts in summary.counts.items()
    }
    sizes = [path.stat().st_size for path in settings.out.glob("*.tar")]
    assert len(sizes) > 3 and max(sizes) <= 50_000


def test_webdataset_reads_the_shards_by_itself(settings: ShardSettings) -> None:
    write_shards(settings)
    shard = next(settings.out.glob("train-*.tar"))
    sample = next(iter(webdataset.WebDataset(str(shard), shardshuffle=False).decode("l8")))
    assert sample["image.png"].shape == (60, 90) and sample["mask0000.png"].shape == (60, 90)
    assert sample["json"]["objects"][0]["name"] == "liver"


def test_a_written_split_decides(settings: ShardSettings, tmp_path: Path) -> None:
    names = [f"AbdomenCT1K--Case_{number:05d}" for number in range(12)]
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": names[:5], "val": names[5:6], "test": names[6:10]}))
    summary = write_shards(replace(settings, split=str(split)))
    assert {sample.patient for sample in samples(settings.out, "train")} == set(names[:5])
    assert {sample.patient for sample in samples(settings.out, "test")} == set(names[6:10])
    assert summary.skips == 4 and "does not name" in summary.skipped[0].reason


def test_a_split_that_divides_a_patient_is_refused(settings: ShardSettings, tmp_path: Path) -> None:
    slices = [f"ct_00--AbdomenCT1K--Case_00000--x_{at:04d}" for at in (40, 41)]
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": slices[:1], "val": slices[1:]}))
    with pytest.raises(AutoMedSAMError, match="Case_00000 in two parts"):
        write_shards(replace(settings, split=str(split)))


def test_an_interrupted_run_ends_as_an_uninterrupted_one(settings: ShardSettings, tmp_path: Path) -> None:
    whole = replace(settings, out=tmp_path / "whole")
    write_shards(whole)
    with pytest.raises(KeyboardInterrupt):
        write_shards(settings, on_shard=interrupt_after(2))
    # Only an index makes a set of shards.
    assert not (settings.out / INDEX).exists()
    with pytest.raises(AutoMedSAMError, match="not a finished set"):
        ShardIndex.open(settings.out)
    (settings.out / ".automedsam-1.tar").write_bytes(b"what a killed process was writing")
    stamps = {path: path.stat().st_mtime_ns for path in settings.out.glob("train-*.tar")}
    summary = write_shards(settings)
    assert summary.kept == 2 and {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert contents(settings.out) == contents(whole.out)
    assert write_shards(settings).made == 0


def test_two_processes_write_what_one_writes(settings: ShardSettings, tmp_path: Path) -> None:
    two = replace(settings, out=tmp_path / "two", workers=2)
    write_shards(settings)
    write_shards(two)
    assert contents(settings.out) == contents(two.out)


def test_a_truncated_shard_is_written_again(settings: ShardSettings) -> None:
    write_shards(settings)
    before = contents(settings.out)
    path = next(settings.out.glob("train-*.tar"))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(AutoMedSAMError, match=rf"{path.name} is truncated: it has 5000 bytes"):
        ShardIndex.open(settings.out)
    assert write_shards(settings).made == 1
    assert contents(settings.out) == before


def test_damaged_images_are_left_out_and_named(settings: ShardSettings) -> None:
    images = sorted((settings.root / "images").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:90])
    images[1].unlink()
    Image.new("L", (9, 9)).save(settings.root / "masks" / f"{images[2].stem}--0001_000.png")
    summary = write_shards(settings)
    assert summary.skips == 3 and len(list(samples(settings.out))) == 21
    reasons = " ".join(flaw.reason for flaw in summary.skipped)
    assert all(path.name in reasons for path in images[:2]) and "9 x 9" in reasons
    assert json.loads((settings.out / INDEX).read_text())["skipped"]["count"] == 3
    strict = replace(settings, out=settings.out.parent / "strict", stop=True)
    with pytest.raises(AutoMedSAMError, match=f"{images[1].name} does not exist"):
        write_shards(strict)
    images[1].write_bytes(images[3].read_bytes())
    with pytest.raises(AutoMedSAMError, match=f"{images[0].name} is damaged|9 x 9"):
        write_shards(replace(strict, out=settings.out.parent / "strict too"))
    assert not (settings.out.parent / "strict too" / INDEX).exists()


def test_names_with_dots_and_of_any_length_stay_whole(settings: ShardSettings) -> None:
    index = settings.root / "SAMed2D_v1.json"
    listed = json.loads(index.read_text())
    for number, name in enumerate((f"mr_t1--A.B--Case_1.5.2--z_{'0' * 120}", "mr_t1--A.B--Case_1.5.3--z_0001")):
        image = f"images/{name}.png"
        Image.fromarray(np.full((20, 30), 80 + number, np.uint8)).save(settings.root / image)
        listed[image] = []
    index.write_text(json.dumps(listed))
    write_shards(settings)
    found = {sample.key: sample for sample in samples(settings.out) if sample.dataset == "A.B"}
    assert sorted(one.patient for one in found.values()) == ["A.B--Case_1.5.2", "A.B--Case_1.5.3"]
    assert np.asarray(Image.open(io.BytesIO(found["mr_t1--A.B--Case_1.5.3--z_0001"].image))).max() == 81


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seed": 5}, "begun with seed"),
        ({"shard_mb": 1.0}, "begun with shards of MB"),
        ({"options": ReaderOptions(patient="(Case)")}, "begun with patients by"),
    ],
)
def test_other_settings_need_another_folder(settings: ShardSettings, change: dict[str, object], reason: str) -> None:
    write_shards(settings)
    before = contents(settings.out)
    with pytest.raises(AutoMedSAMError, match=reason):
        write_shards(replace(settings, **change))  # type: ignore[arg-type]
    assert contents(settings.out) == before


def test_a_changed_archive_needs_another_folder(settings: ShardSettings) -> None:
    write_shards(settings)
    index = settings.root / "SAMed2D_v1.json"
    index.write_text(index.read_text() + " ")
    with pytest.raises(AutoMedSAMError, match="begun with an archive of"):
        write_shards(settings)


def test_what_is_no_archive_is_refused_and_can_be_put_right(settings: ShardSettings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AutoMedSAMError, match="give the folder SAMed2Dv1"):
        write_shards(replace(settings, root=tmp_path / "empty"))
    index = settings.root / "SAMed2D_v1.json"
    whole = index.read_text()
    index.write_text(whole[: len(whole) // 2])
    with pytest.raises(AutoMedSAMError, match="breaks off or is broken"):
        write_shards(settings)
    index.write_text(whole)
    assert write_shards(settings).skips == 0


def test_the_command_writes_shards_and_refuses_them_for_other_archives(tmp_path: Path) -> None:
    generate_sa_med2d(tmp_path / "a", 8, 32)
    arguments = ["sa-med2d", str(tmp_path / "a"), "-o", str(tmp_path / "s"), "--workers", "1"]
    result = CliRunner().invoke(app, [*arguments, "--shards"])
    assert result.exit_code == 0 and "0 images skipped" in result.output
    for wrong, reason in (
        (["kvasir", *arguments[1:], "--shards"], "--shards is for sa-med2d"),
        ([*arguments, "--shard-mb", "3"], "give --shards"),
        ([*arguments, "--shards", "--least-side", "9"], "leave it out with --shards"),
    ):
        refused = CliRunner().invoke(app, wrong)
        assert isinstance(refused.exception, AutoMedSAMError) and reason in str(refused.exception)
