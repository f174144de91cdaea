"""The engine never knows Slicer or the lab, and the lab never knows Slicer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def lint_imports(folder: Path, *sources: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lint-imports")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sources))}
    return subprocess.run(
        [str(command), "--no-cache"], cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False
    )


def test_nobody_imports_what_they_may_not_know() -> None:
    found = lint_imports(REPOSITORY, REPOSITORY / "AutoMedSAM")
    assert found.returncode == 0, found.stdout
    assert "0 broken" in found.stdout


def test_a_forbidden_import_is_noticed(tmp_path: Path) -> None:
    for package in ("automedsam", "automedsam_lab"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / "automedsam" / "faulty.py").write_text("def late():\n    import slicer, automedsam_lab\n")
    found = lint_imports(tmp_path, tmp_path)
    assert found.returncode != 0
    assert "automedsam.faulty -> slicer" in found.stdout
    assert "automedsam.faulty -> automedsam_lab" in found.stdout


def test_files_stay_small() -> None:
    long = {
        path.name: lines
        for path in (REPOSITORY / "AutoMedSAM").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long
