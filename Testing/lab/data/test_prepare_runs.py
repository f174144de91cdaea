"""A run that was cut goes on, a second one changes nothing, and several workers make what one makes."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import archive_files
import prepared_checks as checks
import pytest
from PIL import Image
from typer.testing import CliRunner

from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.prepare import app
from automedsam_lab.data.prepare.run import Settings, prepare
from automedsam_lab.data.readers.base import ReaderOptions
from automedsam_lab.data.readers.registry import DatasetFormat


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(DatasetFormat.KVASIR, archive_files.kvasir(tmp_path / "a"), tmp_path / "o")


def tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "manifest.json", *sorted((out / "annotations").iterdir()))}


def cut_after(count: int) -> Callable[[], None]:
    """What a user's Ctrl-C does after so many entries."""
    left = [count]

    def on_done() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    return on_done


def test_a_second_call_makes_nothing_and_writes_the_same_tables(settings: Settings) -> None:
    first = prepare(settings)
    before = tables(settings.out)
    stamps = {path: path.stat().st_mtime_ns for path in settings.out.glob("*/*/*.png")}
    second = prepare(settings)
    assert (first.made, first.kept, second.made, second.kept) == (10, 0, 0, 10)
    assert tables(settings.out) == before and stamps
    assert {path: path.stat().st_mtime_ns for path in settings.out.glob("*/*/*.png")} == stamps


def test_a_cut_run_goes_on_where_it_was_cut_and_ends_as_an_uncut_one(settings: Settings, tmp_path: Path) -> None:
    uncut = replace(settings, out=tmp_path / "uncut")
    prepare(uncut)
    with pytest.raises(KeyboardInterrupt):
        prepare(settings, on_done=cut_after(4))
    assert not (settings.out / "manifest.json").exists()
    # What a process that was killed while it wrote leaves behind.
    (settings.out / "images" / "train" / ".automedsam-1.png").write_bytes(b"half")
    (settings.out / "masks" / "test" / "cju_of_no_entry.png").write_bytes(b"half")
    summary = prepare(settings)
    assert (summary.made, summary.kept) == (6, 4)
    assert tables(settings.out) == tables(uncut.out)
    checks.check(settings.out)


def test_a_run_cut_before_its_first_entry_leaves_nothing_in_the_way_of_another(settings: Settings) -> None:
    def on_plan(*_counts: int) -> None:
        (settings.out / "images" / "train" / ".half-written.png").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(settings, on_plan=on_plan)
    assert not any(settings.out.iterdir())
    assert prepare(replace(settings, seed=1)).made == 10


def test_a_killed_process_leaves_no_half_picture(settings: Settings) -> None:
    program = (
        "import os; from pathlib import Path; from automedsam_lab.data.readers.registry import DatasetFormat; "
        "from automedsam_lab.data.prepare.run import Settings, prepare; left = [5]\n"
        "def on_done():\n    left[0] -= 1\n    left[0] or os._exit(9)\n"
        f"prepare(Settings(DatasetFormat.KVASIR, Path({str(settings.root)!r}), Path({str(settings.out)!r})), "
        "on_done=on_done)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    for path in settings.out.glob("images/*/*.png"):
        Image.open(path).load()
    summary = prepare(settings)
    assert (summary.made, summary.kept) == (5, 5)
    checks.check(settings.out)


def test_a_picture_that_was_lost_or_cut_is_made_again_and_no_other(settings: Settings) -> None:
    prepare(settings)
    before = tables(settings.out)
    lost, short = sorted((settings.out / "images" / "train").iterdir())[:2]
    lost.unlink()
    short.write_bytes(short.read_bytes()[:100])
    summary = prepare(settings)
    assert (summary.made, summary.kept) == (2, 8) and tables(settings.out) == before
    checks.check(settings.out)


def test_an_image_that_changed_in_the_archive_is_made_again(settings: Settings) -> None:
    prepare(settings)
    changed = settings.root / "images" / "cju0003.jpg"
    Image.fromarray(archive_files.still((70, 80, 3))).save(changed)
    summary = prepare(settings)
    assert (summary.made, summary.kept) == (1, 9)
    checks.check(settings.out)


def test_what_left_the_archive_leaves_the_dataset_and_what_was_repaired_comes_in(settings: Settings) -> None:
    mask = settings.root / "masks" / "cju0005.jpg"
    content = mask.read_bytes()
    mask.write_bytes(b"damaged")
    assert prepare(settings).skips == 1
    mask.write_bytes(content)
    (settings.root / "images" / "cju0001.jpg").unlink()
    summary = prepare(settings)
    assert summary.skips == 0 and len(checks.check(settings.out)) == 9
    assert "cju0001.png" not in checks.images_of(settings.out)


def test_several_workers_make_what_one_makes(settings: Settings, tmp_path: Path) -> None:
    prepare(settings)
    both = replace(settings, out=tmp_path / "two", workers=2)
    summary = prepare(both)
    assert tables(both.out) == tables(settings.out) and summary.peak_mb > 0


def test_a_worker_s_flaw_is_reported_as_this_process_s_own(settings: Settings) -> None:
    bad = settings.root / "images" / "cju0007.jpg"
    bad.write_bytes(b"damaged")
    summary = prepare(replace(settings, workers=2))
    assert summary.skips == 1 and str(bad) in summary.skipped[0].reason and summary.made == 9


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"least_side": 9.0}, {"choices": ReaderOptions(patient="^(cju)")}, {"layout": DatasetFormat.NPZ}],
)
def test_a_folder_of_other_settings_is_not_mixed_with(settings: Settings, other: dict) -> None:
    prepare(settings)
    before = tables(settings.out)
    with pytest.raises(AutoMedSAMError, match="was begun with"):
        prepare(replace(settings, **other))
    assert tables(settings.out) == before


def test_a_folder_of_other_files_is_left_alone(settings: Settings) -> None:
    settings.out.mkdir()
    (settings.out / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(AutoMedSAMError, match="holds other files"):
        prepare(settings)
    assert [path.name for path in settings.out.iterdir()] == ["thesis.txt"]


def test_two_runs_in_one_folder_do_not_meet(settings: Settings) -> None:
    met = []

    def on_done() -> None:
        if not met:
            with pytest.raises(AutoMedSAMError, match="wait for another run"):
                prepare(settings)
            met.append(True)

    prepare(settings, on_done=on_done)
    assert met
    checks.check(settings.out)


def test_a_disk_that_cannot_be_written_to_ends_the_run_rather_than_skip_the_archive(
    settings: Settings, monkeypatch
) -> None:
    from automedsam_lab.data.prepare import image_worker

    def full(path: Path) -> None:
        message = f"{path} cannot be written (No space left on device); free space there or choose another folder."
        raise AutoMedSAMError(message)

    monkeypatch.setattr(image_worker, "atomic_write", full)
    with pytest.raises(AutoMedSAMError, match="No space left"):
        prepare(settings)


def test_the_manifest_s_digests_are_those_of_sha256sum(settings: Settings) -> None:
    import hashlib

    prepare(settings)
    for name, digest in checks.manifest_of(settings.out)["files"].items():
        path = settings.out / name
        if path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
            continue
        lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(path.iterdir())]
        assert hashlib.sha256("".join(lines).encode()).hexdigest() == digest


def test_the_command_counts_what_it_made_and_skipped(settings: Settings) -> None:
    (settings.root / "images" / "cju0007.jpg").write_bytes(b"damaged")
    result = CliRunner().invoke(
        app, ["kvasir", str(settings.root), "-o", str(settings.out), "--workers", "1"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "9 entries prepared, 0 kept, 1 skipped" in result.output and "peak memory" in result.output
    assert "cju0007.jpg is no picture" in result.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--year", "2020"], "--year is for brats"),
        (["--every", "2"], "--every is for videos"),
        (["--labels", "1=a"], "--labels is for"),
    ],
)
def test_an_option_of_another_layout_is_refused(settings: Settings, options: list[str], expected: str) -> None:
    result = CliRunner().invoke(app, ["kvasir", str(settings.root), "-o", str(settings.out), *options])
    assert isinstance(result.exception, AutoMedSAMError) and expected in str(result.exception)
