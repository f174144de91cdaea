"""A cohort does what is missing or changed, once, lists what fails, and never mixes settings or runs."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from built_in import VERSION
from tiny_cohort import write_tiny_case, write_tiny_cohort

from automedsam.cohort.figures import diameters
from automedsam.cohort.journal import Journal
from automedsam.cohort.lock import locked
from automedsam.cohort.manifest import Manifest
from automedsam.cohort.output_folder import OutputFolder
from automedsam.cohort.ray_pool import has_ray
from automedsam.cohort.worker import CaseWorker
from automedsam.core.segmentation import Segment, Segmentation
from automedsam.core.volume import Plane, Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_tiny_cohort(tmp_path / "in", 3)


def run(command: Command, source: Path | str, output: Path, *more: str) -> tuple[int, str, str]:
    return command("cohort", source, "-o", output, "-m", "hippocampus", "--workers", "1", *more)


def done(output: Path) -> list[str]:
    """The cases in the order in which they were finished, as often as they were."""
    found = Journal(OutputFolder(output).manifest).read()
    return [record["case"] for _, record in found if record.get("state") == "done"]


def test_each_case_has_its_files_and_its_line(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, error = run(command, source, out)
    assert code == 0, error
    for name in ("case0000", "case0001", "case0002"):
        assert read_volume(out / "segmentations" / f"{name}.seg.nrrd", check_voxels=False).shape == (16, 16, 16)
        assert json.loads((out / "cases" / f"{name}.json").read_text())["record"]["state"] == "done"
    rows = list(csv.DictReader((out / "cohort.csv").open(encoding="utf-8")))
    assert [row["case"] for row in rows] == ["case0000", "case0001", "case0002"]
    assert float(rows[0]["volume of Hippocampus, anterior (ml)"]) >= 0 and float(rows[0]["seconds"]) > 0
    page = (out / "statistics.html").read_text(encoding="utf-8")
    assert "<svg" in page and "http" not in page


def test_called_again_it_does_what_is_missing_or_changed(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(command, source, out)
    assert run(command, source, out)[0] == 0 and len(done(out)) == 3
    write_tiny_case(source / "case0001.nii.gz", 77)
    (out / "segmentations" / "case0002.seg.nrrd").unlink()
    write_tiny_case(source / "new.nii.gz", 5)
    assert run(command, source, out)[0] == 0
    assert done(out)[3:] == ["case0001", "case0002", "new"]


def test_a_file_that_was_only_touched_is_not_segmented_again(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(command, source, out)
    before = (out / "segmentations" / "case0000.seg.nrrd").stat().st_mtime_ns
    os.utime(source / "case0000.nii.gz")
    run(command, source, out)
    assert (out / "segmentations" / "case0000.seg.nrrd").stat().st_mtime_ns == before
    assert len(done(out)) == 4 and len(Manifest(OutputFolder(out))) == 3


def test_what_a_lost_worker_had_finished_is_taken_over(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(command, source, out)
    manifest = out / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    # The end of the manifest is lost, in the middle of a line.
    manifest.write_bytes(b"".join(lines[:2]) + lines[2][:50])
    before = (out / "segmentations" / "case0001.seg.nrrd").stat().st_mtime_ns
    assert run(command, source, out)[0] == 0
    assert done(out) == ["case0000", "case0001", "case0002"]
    assert (out / "segmentations" / "case0001.seg.nrrd").stat().st_mtime_ns == before


def test_failing_cases_are_listed_and_the_others_go_on(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (source / "broken.nii.gz").write_bytes(b"no image")
    whole = (source / "case0000.nii.gz").read_bytes()
    (source / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((16, 16, 16), np.float32)), str(source / "flat.nii.gz"))
    code, _, error = run(command, source, out)
    assert code == 1 and len(done(out)) == 3
    for name in ("broken", "cut", "flat"):
        assert sum(line.startswith(f"{name}: ") for line in error.splitlines()) == 1
    write_tiny_case(source / "broken.nii.gz", 9)
    (source / "cut.nii.gz").unlink()
    (source / "flat.nii.gz").unlink()
    assert run(command, source, out)[0] == 0 and done(out)[3:] == ["broken"]
    rows = list(csv.DictReader((out / "cohort.csv").open(encoding="utf-8")))
    assert [row["case"] for row in rows] == ["broken", "case0000", "case0001", "case0002"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--threshold", "0.9"), "threshold 0.9 instead of unset"),
        (("--plane", "axial"), "plane axial instead of unset"),
        (("--format", "nii.gz"), "format .nii.gz instead of .seg.nrrd"),
        (("-m", "glioma"), f"model glioma {VERSION} instead of hippocampus"),
    ],
)
def test_settings_are_never_mixed(
    command: Command, source: Path, tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "out"
    run(command, source, out)
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file() and file.name != ".lock"}
    code, _, error = run(command, source, out, *more)
    assert code == 2 and said in error and error.count("\n") == 1
    assert all(file.read_bytes() == content for file, content in before.items())


def test_two_runs_in_one_folder(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(command, source, out)
    program = (
        f"import sys\nfrom pathlib import Path\nfrom automedsam.cohort.lock import locked\n"
        f"with locked(Path({str(out)!r})):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    code, _, error = run(command, source, out)
    assert code == 2 and f"in use by process {other.pid} on" in error
    other.communicate()
    with locked(out):
        pass


def test_a_damaged_manifest_is_noticed(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(command, source, out)
    manifest = out / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes().replace(b'"state":"done"', b'"state":"lost"', 1))
    code, _, error = run(command, source, out)
    assert code == 2 and "Line 2 of" in error


def test_other_files_are_not_mixed_with_results(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    code, _, error = run(command, source, out)
    assert code == 2 and "contains other files (thesis.txt)" in error
    assert [file.name for file in out.iterdir()] == ["thesis.txt"]


def test_a_refused_run_leaves_a_folder_that_the_next_can_use(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if has_ray():
        refused = command("cohort", source, "-o", out, "-m", "hippocampus", "--address", "127.0.0.1:1")
        assert refused[0] == 2 and "cannot be reached" in refused[2]
    else:
        refused = command("cohort", source, "-o", out, "-m", "hippocampus", "--address", "127.0.0.1:1")
        assert refused[0] == 2 and "pip install 'automedsam[cohort]'" in refused[2]
    assert not (out / "manifest.jsonl").exists()
    assert run(command, source, out)[0] == 0


def test_ctrl_c_keeps_finished_cases(
    command: Command, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, segment, count = tmp_path / "out", CaseWorker.run, [0]

    def stopping(self: CaseWorker, row: dict) -> dict:
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt
        return segment(self, row)

    monkeypatch.setattr(CaseWorker, "run", stopping)
    code, _, error = run(command, source, out)
    assert code == 130 and "the same command continues" in error
    assert done(out) == ["case0000"] and "case0000" in (out / "cohort.csv").read_text()
    assert run(command, source, out)[0] == 0
    assert done(out) == ["case0000", "case0001", "case0002"]


def test_a_full_disk_lists_the_case(
    command: Command, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import automedsam.cohort.worker as worker_module

    real = worker_module.write_segmentation

    def full(result: Segmentation, path: Path) -> None:
        if path.name.startswith("case0001"):
            message = f"{path} cannot be written (No space left on device); free space there."
            raise AutoMedSAMError(message)
        real(result, path)

    monkeypatch.setattr(worker_module, "write_segmentation", full)
    code, _, error = run(command, source, tmp_path / "out")
    assert code == 1 and "case0001: " in error and "No space left" in error
    assert done(tmp_path / "out") == ["case0000", "case0002"]


def test_a_manifest_that_cannot_be_written_ends_the_run(
    command: Command, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(command, source, out)
    write_tiny_case(source / "new.nii.gz", 5)

    def no_room(self: Journal, record: dict) -> int:
        message = f"{self.path} cannot be written (No space left on device); free space there."
        raise AutoMedSAMError(message)

    monkeypatch.setattr(Journal, "append", no_room)
    code, _, error = run(command, source, out)
    assert code == 2 and "No space left" in error and len(done(out)) == 3


def test_dice_where_there_is_a_reference(command: Command, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "labels").mkdir()
    for name in ("a", "b", "c"):
        write_tiny_case(source / f"{name}.nii.gz", 1)
    image = sitk.ReadImage(str(source / "a.nii.gz"))
    sitk.WriteImage(sitk.Cast(image > 140, sitk.sitkUInt8), str(source / "labels" / "a.nii.gz"))
    sitk.WriteImage(sitk.Cast(image > 140, sitk.sitkUInt8)[:8], str(source / "labels" / "b.nii.gz"))
    code, _, error = run(command, source, out)
    assert code == 1 and "b: The reference" in error and "another grid" in error
    rows = {row["case"]: row for row in csv.DictReader((out / "cohort.csv").open(encoding="utf-8"))}
    assert 0 <= float(rows["a"]["Dice of Hippocampus, anterior"]) <= 1
    assert rows["c"]["Dice of Hippocampus, anterior"] == ""


def test_a_cell_is_never_a_formula(command: Command, tmp_path: Path) -> None:
    image = write_tiny_case(tmp_path / "a.nii.gz", 1)
    (tmp_path / "cases.csv").write_text(f"case,image\n=1+1,{image}\n")
    assert run(command, tmp_path / "cases.csv", tmp_path / "out")[0] == 0
    assert "\n'=1+1,done" in (tmp_path / "out" / "cohort.csv").read_text().replace("\r", "")


def test_nifti_is_written_where_it_is_wanted(command: Command, source: Path, tmp_path: Path) -> None:
    assert run(command, source, tmp_path / "out", "--format", "nii.gz", "--no-images")[0] == 0
    assert (tmp_path / "out" / "segmentations" / "case0000.nii.gz").is_file()
    assert not list((tmp_path / "out" / "images").iterdir())


def test_the_diameter_is_that_of_the_largest_part() -> None:
    labels = np.zeros((3, 20, 20), np.uint8)
    labels[1, 2:5, 2:14] = 1
    labels[1, 10:12, 2:4] = 1
    volume = Volume(labels, (2.0, 1.0, 5.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    segments = [Segment(1, "A", (1.0, 0.0, 0.0), ""), Segment(2, "B", (0.0, 1.0, 0.0), "")]
    found = diameters(Segmentation(labels, volume, segments, plane=Plane.AXIAL))
    # 11 steps of 2 mm across, 2 of 1 mm down, and a voxel along the line.
    line = np.hypot(22, 2)
    assert found["A"] == pytest.approx(line + np.hypot(2 * 22 / line, 2 / line), abs=0.01)
    assert found["B"] is None


def test_a_journal_survives_every_cut(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "whole")
    records = [{"event": "x", "n": index, "text": "ü\n\u2028}"} for index in range(3)]
    for record in records:
        journal.append(record)
    content = journal.path.read_bytes()
    ends = [end for start in range(0, len(content), 11) for end in (start, start + 1)]
    for length in {
        *ends,
        *(place + near for place, byte in enumerate(content) if byte == 10 for near in (-1, 0, 1, 2)),
    }:
        cut = Journal(tmp_path / "cut")
        cut.path.write_bytes(content[:length])
        kept = [record for _, record in cut.read()]
        assert kept == records[: len(kept)]
        offset = cut.append({"last": True})
        assert cut.read_at(offset) == {"last": True}
        again = [record for _, record in cut.read()]
        # A line that lacks its line break alone is whole once the next one has begun.
        assert again[-1] == {"last": True} and again[:-1] == records[: len(again) - 1] and len(again) - 1 >= len(kept)
