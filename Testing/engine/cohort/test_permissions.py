"""A cohort where its user may not read or write: one sentence, and nothing is left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_cohort import write_tiny_cohort

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no permission bits")

# Root passes over permissions by two capabilities, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: without them, they bind.
WITHOUT_PRIVILEGES = """
import ctypes, os, sys
for capability in (1, 2):
    if ctypes.CDLL(None).prctl(24, capability, 0, 0, 0):
        sys.exit("the capability cannot be dropped")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def cohort(source: Path, output: Path) -> subprocess.CompletedProcess[str]:
    program = ["-m", "automedsam", "cohort", str(source), "-o", str(output), "-m", "hippocampus", "--workers", "1"]
    as_user = ["-c", WITHOUT_PRIVILEGES, *program] if os.geteuid() == 0 else program
    return subprocess.run([sys.executable, *as_user], check=False, capture_output=True, encoding="utf-8", timeout=300)


def test_output_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o555)
    result = cohort(write_tiny_cohort(tmp_path / "in", 1), tmp_path / "shut" / "out")
    check_refused(result, tmp_path / "shut" / "out")
    assert not list((tmp_path / "shut").iterdir())


def test_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o555)
    result = cohort(write_tiny_cohort(tmp_path / "in", 1), tmp_path / "out")
    check_refused(result, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_image_that_cannot_be_read_is_listed(tmp_path: Path) -> None:
    source, output = write_tiny_cohort(tmp_path / "in", 2), tmp_path / "out"
    (source / "case0000.nii.gz").chmod(0)
    result = cohort(source, output)
    assert result.returncode == 1, result.stderr
    assert "case0000" in result.stdout + result.stderr and "ermission" in result.stdout + result.stderr
    assert [path.name for path in (output / "segmentations").iterdir()] == ["case0001.seg.nrrd"]


def check_refused(result: subprocess.CompletedProcess[str], named: Path) -> None:
    assert result.returncode == 2, result.stderr
    assert str(named) in result.stderr and "permission" in result.stderr.lower()
    assert "Traceback" not in result.stderr
