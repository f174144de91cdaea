"""Writes the lists of files into AutoMedSAM/CMakeLists.txt, since Slicer installs what is listed and nothing else.

Without arguments it rewrites the lists; with --check it says what is missing or gone, and fails if anything is.
"""

import argparse
import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# What a checkout leaves behind, and the FP32 files, which are a release asset.
_NEVER = re.compile(r"(^|/)(__pycache__/|[^/]*\.egg-info/|\.)|\.(pyc|pt)$|\.fp32\.onnx$|(^|/)CMakeLists\.txt$")


def files_to_install(module: Path) -> dict[str, list[str]]:
    """The two lists' names in CMake, and what belongs in each, relative to the module's folder."""
    paths = sorted(path.relative_to(module).as_posix() for path in module.rglob("*") if path.is_file())
    kept = [path for path in paths if not _NEVER.search(path)]
    return {
        "MODULE_PYTHON_SCRIPTS": [path for path in kept if path.endswith(".py")],
        "MODULE_PYTHON_RESOURCES": [path for path in kept if not path.endswith(".py")],
    }


def with_lists(text: str, lists: dict[str, list[str]]) -> str:
    """The text of a CMakeLists.txt with these lists in the places of its own."""
    for name, paths in lists.items():
        entries = "".join(f"  {path}\n" for path in paths)
        text, found = re.subn(rf"set\({name}\n[^)]*\)", f"set({name}\n{entries})", text)
        if found != 1:
            message = f"CMakeLists.txt sets {name} {found} times"
            raise ValueError(message)
    return text


def listed(text: str) -> set[str]:
    """All paths in the two lists of a CMakeLists.txt."""
    return {path for block in re.findall(r"set\(MODULE_PYTHON_\w+\n([^)]*)\)", text) for path in block.split()}


def main() -> int:
    """Runs the command.

    Returns:
        What the process exits with.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, and fail where the lists are stale")
    parser.add_argument("--module", type=Path, default=REPOSITORY / "AutoMedSAM", help="the folder that is installed")
    arguments = parser.parse_args()
    path = arguments.module / "CMakeLists.txt"
    text = path.read_text(encoding="utf-8")
    wanted = files_to_install(arguments.module)
    if not arguments.check:
        path.write_text(with_lists(text, wanted), encoding="utf-8", newline="\n")
        return 0
    there, named = set().union(*wanted.values()), listed(text)
    for word, paths in (("not listed", there - named), ("listed, but not there", named - there)):
        for one in sorted(paths):
            print(f"{word}: {one}")
    if there == named:
        return 0
    print("Run python Testing/cmake/list_files.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
