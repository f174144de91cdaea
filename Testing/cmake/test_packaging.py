"""The extension configures, installs all that it needs, and its self-tests pass from where it was installed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
MODULE = REPOSITORY / "AutoMedSAM"
NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.fp32.onnx", "*.pt", ".*")

# The rules of the index's schema, version 1.0.1, in our own words.
INDEX_RULES = {
    "type": "object",
    "required": ["$schema", "category", "scm_url"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "pattern": r"slicer-extension-catalog-entry-schema-v1\.0\.\d\.json#$"},
        "category": {"type": "string", "minLength": 1},
        "scm_url": {"type": "string", "pattern": r"^https://"},
        "scm_revision": {"type": "string"},
        "scm_type": {"enum": ["git", "local"]},
        "build_dependencies": {"type": "array", "items": {"type": "string"}},
        "build_subdirectory": {"type": "string"},
        "enabled": {"type": "boolean"},
        "tier": {"type": "integer", "enum": [1, 3, 5]},
    },
}


def run(*command: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=timeout,
    )


def configure(source: Path, build: Path, installed: Path) -> subprocess.CompletedProcess[str]:
    cmake = shutil.which("cmake") or pytest.skip("CMake is not on this machine: pip install '.[test]'")
    return run(
        cmake,
        "-S",
        source,
        "-B",
        build,
        f"-DSlicer_DIR={HERE / 'stub'}",
        f"-DSlicer_LAUNCHER_EXECUTABLE={sys.executable};{HERE / 'launcher.py'}",
        f"-DCMAKE_INSTALL_PREFIX={installed}",
    )


@pytest.fixture
def a_copy(tmp_path: Path) -> Path:
    """A copy of what CMake reads, free to be spoilt."""
    copy = tmp_path / "source"
    copy.mkdir()
    shutil.copy(REPOSITORY / "CMakeLists.txt", copy)
    shutil.copytree(MODULE, copy / "AutoMedSAM", ignore=NOT_COPIED)
    return copy


def cmake_value(name: str) -> str:
    """A value as the Extensions Index reads it: from the text of CMakeLists.txt, where no variable is replaced."""
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(rf'set\({name} "(.*)"\)', text)[1]


def test_every_file_of_the_module_is_listed() -> None:
    checked = run(sys.executable, HERE / "list_files.py", "--check")
    assert checked.returncode == 0, checked.stdout


def test_a_stale_list_is_noticed_and_mended(a_copy: Path) -> None:
    module = a_copy / "AutoMedSAM"
    script = [sys.executable, HERE / "list_files.py", "--module", module]
    run(*script)
    (module / "AutoMedSAMLib" / "forgotten.py").touch()
    (module / "Resources" / "requirements.txt").unlink()
    checked = run(*script, "--check")
    assert checked.returncode == 1
    assert "not listed: AutoMedSAMLib/forgotten.py" in checked.stdout
    assert "listed, but not there: Resources/requirements.txt" in checked.stdout
    run(*script)
    assert run(*script, "--check").returncode == 0


def test_configuring_fails_for_an_unlisted_file(a_copy: Path, tmp_path: Path) -> None:
    (a_copy / "AutoMedSAM" / "Resources" / "forgotten.json").touch()
    configured = configure(a_copy, tmp_path / "build", tmp_path / "installed")
    assert configured.returncode != 0
    assert "Resources/forgotten.json is not listed" in configured.stdout


def test_configuring_fails_for_a_listed_file_that_is_gone(a_copy: Path, tmp_path: Path) -> None:
    (a_copy / "AutoMedSAM" / "automedsam" / "core" / "volume.py").unlink()
    configured = configure(a_copy, tmp_path / "build", tmp_path / "installed")
    assert configured.returncode != 0
    assert "automedsam/core/volume.py is listed, but is not there" in configured.stdout


@pytest.mark.parametrize(
    "name", ["HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "KEYWORDS", "ICONURL", "SCREENSHOTURLS", "DEPENDS"]
)
def test_configuring_fails_without_what_the_extensions_manager_shows(a_copy: Path, tmp_path: Path, name: str) -> None:
    path = a_copy / "CMakeLists.txt"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(rf"set\(EXTENSION_{name} .*\)\n", "", text), encoding="utf-8")
    configured = configure(a_copy, tmp_path / "build", tmp_path / "installed")
    assert configured.returncode != 0
    assert f"EXTENSION_{name} is not set" in configured.stdout


def test_the_installed_extension_passes_its_own_tests(tmp_path: Path) -> None:
    pytest.importorskip("slicer_core", reason="the harness needs slicer-core: pip install '.[test]'")
    pytest.importorskip("PySide6", reason="the harness needs PySide6-Essentials: pip install '.[test]'")
    build, installed = tmp_path / "build", tmp_path / "installed"
    configured = configure(REPOSITORY, build, installed)
    assert configured.returncode == 0, configured.stdout
    assert run("cmake", "--install", build).returncode == 0
    folder = next(installed.rglob("qt-scripted-modules"))
    assert (folder / "automedsam" / "bundles" / "glioma" / "bundle.json").is_file()
    tested = run("ctest", "--test-dir", build, "--output-on-failure", "--verbose")
    assert tested.returncode == 0, tested.stdout
    for name in ("py_AutoMedSAM", "py_nomainwindow_qSlicerAutoMedSAMModuleGenericTest"):
        assert re.search(rf"{name} \.+ +Passed", tested.stdout)
    # What ran is what was installed, not this checkout.
    assert f"loaded {folder / 'AutoMedSAM.py'}" in tested.stdout
    assert str(MODULE) not in tested.stdout


def test_what_is_missing_in_the_installed_folder_fails_ctest(tmp_path: Path) -> None:
    pytest.importorskip("slicer_core", reason="the harness needs slicer-core: pip install '.[test]'")
    pytest.importorskip("PySide6", reason="the harness needs PySide6-Essentials: pip install '.[test]'")
    build, installed = tmp_path / "build", tmp_path / "installed"
    assert configure(REPOSITORY, build, installed).returncode == 0
    assert run("cmake", "--install", build).returncode == 0
    next(installed.rglob("automedsam/detection/linking.py")).unlink()
    tested = run("ctest", "--test-dir", build, "--output-on-failure")
    assert tested.returncode != 0
    # Slicer's side is whole, and the engine is not: the panel opens, and the self-test says that nothing came.
    assert "50% tests passed" in tested.stdout and "AutoMedSAMError" in tested.stdout


def test_the_entry_for_the_extensions_index_keeps_its_rules() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="checking needs jsonschema: pip install '.[test]'")
    entry = json.loads((REPOSITORY / "AutoMedSAM.json").read_text(encoding="utf-8"))
    jsonschema.validate(entry, INDEX_RULES)
    project = re.search(
        r"^project\((\w+)\)$", (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    # The index asks that the file be called as the project is.
    assert (REPOSITORY / f"{project[1]}.json").is_file()
    assert entry["category"] == "Segmentation"
    assert entry["build_dependencies"] == [name for name in cmake_value("EXTENSION_DEPENDS").split(";") if name != "NA"]


def test_the_index_finds_the_icon_and_the_screenshots() -> None:
    # The index reads the text and does not run CMake: each value is set once, on one line, in double quotes.
    lines = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8").splitlines()
    for name in ("EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"):
        (line,) = (one for one in lines if name in one)
        start, value, end = line.split('"')
        assert (start, end) == (f"set({name} ", ")")
        assert value and all(address.startswith("https://") for address in value.split(" "))


@pytest.mark.parametrize(
    "spoilt", [{"teir": 1}, {"tier": 2}, {"scm_url": None}, {"build_dependencies": "NA"}, {"category": ""}]
)
def test_the_rules_of_the_index_reject_a_bad_entry(spoilt: dict[str, object]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="checking needs jsonschema: pip install '.[test]'")
    entry = json.loads((REPOSITORY / "AutoMedSAM.json").read_text(encoding="utf-8")) | spoilt
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(entry, INDEX_RULES)


def test_the_index_finds_values_and_no_variables() -> None:
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    assert not [line for line in text.splitlines() if line.startswith("set(EXTENSION_") and "$" in line]
    assert cmake_value("EXTENSION_RECOMMENDS") == "PyTorch"
    # Keywords are separated by spaces, and one of several words has a hyphen.
    keywords = cmake_value("EXTENSION_KEYWORDS").split(" ")
    assert len(keywords) > 3 and all(re.fullmatch(r"[\w-]+", keyword) for keyword in keywords)


def test_the_repository_is_called_as_the_index_asks() -> None:
    url = json.loads((REPOSITORY / "AutoMedSAM.json").read_text(encoding="utf-8"))["scm_url"]
    owner, name = urlsplit(url).path.removesuffix(".git").strip("/").split("/")
    assert name == "SlicerAutoMedSAM"
    # The placeholder stands for the owner in the files that CONTRIBUTING.md names, and nowhere else.
    contributing = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"`{owner}/{name}` is a placeholder" in contributing
    tracked = run("git", "-C", REPOSITORY, "ls-files", "-z").stdout.split("\0")
    named = {
        path: set(re.findall(r"(?:github\.com|githubusercontent\.com)/([\w-]+/\w*AutoMedSAM)\b", text))
        for path in tracked
        if Path(path).suffix in (".txt", ".json", ".md", ".toml", ".yml", ".cff", ".py", ".ui")
        and (text := (REPOSITORY / path).read_text(encoding="utf-8"))
    }
    assert {one for found in named.values() for one in found} == {f"{owner}/{name}"}
    assert [path for path, found in named.items() if found and f"`{path}`" not in contributing] == []


def test_all_addresses_are_of_one_repository_and_its_files_are_there() -> None:
    url = json.loads((REPOSITORY / "AutoMedSAM.json").read_text(encoding="utf-8"))["scm_url"]
    repository = urlsplit(url).path.removesuffix(".git").strip("/")
    assert urlsplit(cmake_value("EXTENSION_HOMEPAGE")).path == f"/{repository}"
    shown = [cmake_value("EXTENSION_ICONURL"), *cmake_value("EXTENSION_SCREENSHOTURLS").split()]
    for address in shown:
        start = f"https://raw.githubusercontent.com/{repository}/main/"
        assert address.startswith(start)
        assert (REPOSITORY / address.removeprefix(start)).is_file()


def test_the_icon_has_the_size_that_slicer_shows() -> None:
    icon = (REPOSITORY / "Resources" / "AutoMedSAM.png").read_bytes()
    width, height = int.from_bytes(icon[16:20], "big"), int.from_bytes(icon[20:24], "big")
    assert icon.startswith(b"\x89PNG") and (width, height) == (128, 128)
    assert (MODULE / "Resources" / "Icons" / "AutoMedSAM.png").read_bytes() == icon


def test_no_requirement_is_named_twice() -> None:
    lists = [REPOSITORY / "requirements.txt", *(MODULE / "Resources").glob("requirements*.txt")]
    lines = [line for path in lists for line in path.read_text(encoding="utf-8").splitlines()]
    names = [re.split(r"[<>=!~ ]", line)[0].lower() for line in lines if line and not line.startswith("#")]
    assert sorted(names) == sorted(set(names))
    # Slicer passes over lines that begin so without a word.
    assert not [line for line in lines if line.startswith("-")]


def test_slicer_is_not_asked_for_what_it_has_itself() -> None:
    text = (MODULE / "Resources" / "requirements.txt").read_text(encoding="utf-8")
    assert not re.search(r"^(numpy|simpleitk|vtk)\b", text, re.MULTILINE | re.IGNORECASE)


def test_the_license_is_where_the_index_expects_it() -> None:
    assert "Apache License" in (REPOSITORY / "LICENSE.txt").read_text(encoding="utf-8")
