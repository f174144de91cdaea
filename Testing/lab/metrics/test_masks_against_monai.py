"""HD95 and surface Dice are those of MONAI: `masks_against_monai.py`, in a process of its own.

MONAI loads libraries beside which SciPy's KD-tree has crashed in a process that had loaded the rest of the lab.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("masks_against_monai.py")
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(importlib.util.find_spec("monai") is None, reason="MONAI is not installed")
def test_surface_scores_are_those_of_monai() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=False, timeout=300)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert " passed" in ran.stdout and "skipped" not in ran.stdout
