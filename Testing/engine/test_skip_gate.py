"""In CI, a test that is skipped for an unexpected reason fails the run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTING = Path(__file__).resolve().parents[1]
TESTS = """
import pytest

def test_passes():
    pass

def test_skips():
    pytest.skip("{reason}")
"""

SKIPPED_MODULE = """
import pytest

pytest.skip("{reason}", allow_module_level=True)
"""


def run(folder: Path, reason: str, level: str, tests: str = TESTS) -> subprocess.CompletedProcess[str]:
    for name in ("conftest.py", "allowed_skips.toml"):
        shutil.copy(TESTING / name, folder)
    (folder / "test_it.py").write_text(tests.format(reason=reason), encoding="utf-8")
    environment = {**os.environ, "AUTOMEDSAM_CI": level}
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(folder), str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=120)


def test_an_unexpected_skip_fails_ci_and_is_named(tmp_path: Path) -> None:
    result = run(tmp_path, "slicer-core has no wheel today", "full")
    assert result.returncode == 1
    assert "unexpected skips" in result.stdout and "slicer-core has no wheel today" in result.stdout


@pytest.mark.parametrize(
    ("reason", "level"),
    [("the real images are not on this machine (x)", "full"), ("the lab is not installed", "engine")],
)
def test_an_expected_skip_passes(tmp_path: Path, reason: str, level: str) -> None:
    assert run(tmp_path, reason, level).returncode == 0


@pytest.mark.parametrize(("reason", "code"), [("no wheel today", 1), ("the real images are not on this machine", 0)])
def test_the_skip_of_a_whole_module_is_judged_as_well(tmp_path: Path, reason: str, code: int) -> None:
    (tmp_path / "test_another.py").write_text("def test_passes():\n    pass\n", encoding="utf-8")
    result = run(tmp_path, reason, "full", SKIPPED_MODULE)
    assert result.returncode == code
    assert ("unexpected skips" in result.stdout) == bool(code)


def test_what_only_the_engine_may_skip_fails_the_full_run(tmp_path: Path) -> None:
    assert run(tmp_path, "the lab is not installed", "full").returncode == 1


def test_a_developers_machine_may_skip(tmp_path: Path) -> None:
    assert run(tmp_path, "anything at all", "").returncode == 0
