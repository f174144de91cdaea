"""The engine never knows Slicer or the lab, the lab never knows Slicer, and Slicer's side knows neither."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# What is there in Slicer before anything is installed, and is quick to import.
# What both sides of the Slicer door agree on comes with the extension and loads nothing.
CONTRACT = "automedsam.contract"
SLICER_HAS = {"AutoMedSAMLib", "ctk", "numpy", "qt", "slicer", "vtk"}


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
    for package in ("automedsam", "automedsam_lab", "AutoMedSAMLib"):
        for path in (REPOSITORY / "AutoMedSAM" / package).rglob("*.py"):
            empty = tmp_path / path.relative_to(REPOSITORY / "AutoMedSAM")
            empty.parent.mkdir(parents=True, exist_ok=True)
            empty.touch()
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / "automedsam" / "faulty.py").write_text("def late():\n    import slicer, automedsam_lab\n")
    (tmp_path / "AutoMedSAMLib" / "faulty.py").write_text(
        "import automedsam.contract.planes\ndef late():\n    import automedsam.pipeline.run, scipy.ndimage\n"
    )
    (tmp_path / "automedsam" / "pipeline" / "run.py").touch()
    (tmp_path / "automedsam" / "contract" / "planes.py").touch()
    (tmp_path / "automedsam" / "core" / "faulty.py").write_text("def late():\n    import automedsam.pipeline.run\n")
    found = lint_imports(tmp_path, tmp_path)
    assert found.returncode != 0
    assert "automedsam.faulty -> slicer" in found.stdout
    assert "automedsam.faulty -> automedsam_lab" in found.stdout
    assert "AutoMedSAMLib.faulty -> automedsam.pipeline.run" in found.stdout
    assert "AutoMedSAMLib.faulty -> automedsam.contract" not in found.stdout
    assert "AutoMedSAMLib.faulty -> scipy" in found.stdout
    assert "automedsam.core.faulty -> automedsam.pipeline.run" in found.stdout


def test_opening_the_module_in_slicer_imports_only_what_slicer_has() -> None:
    files = [REPOSITORY / "AutoMedSAM" / "AutoMedSAM.py", *(REPOSITORY / "AutoMedSAM" / "AutoMedSAMLib").rglob("*.py")]
    foreign = {
        f"{path.name}: {name}"
        for path in files
        for name in imported_at_once(ast.parse(path.read_text(encoding="utf-8")), CONTRACT)
        if name not in SLICER_HAS | sys.stdlib_module_names
    }
    assert len(files) > 1 and not foreign


def test_a_foreign_import_is_noticed() -> None:
    program = "import numpy.linalg\nif True:\n    from torch.nn import Linear\ndef late():\n    import scipy\n"
    assert set(imported_at_once(ast.parse(program))) == {"numpy", "torch"}


def imported_at_once(node: ast.AST, but: str = "") -> Iterator[str]:
    """The top names of what a file imports when it is imported itself; what its functions import later is not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.split(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = child.module or ""
            whole = [module, *(f"{module}.{alias.name}" for alias in child.names)]
            if not but or not any(name == but or name.startswith(f"{but}.") for name in whole):
                yield module.split(".")[0]
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imported_at_once(child, but)


def test_files_stay_small() -> None:
    long = {
        path.name: lines
        for room in ("AutoMedSAM", "Testing")
        for path in (REPOSITORY / room).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long
