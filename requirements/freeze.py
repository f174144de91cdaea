"""Prints the exact versions in this environment as a constraints file; `.ci/run --freeze` calls it after its tests."""

import platform
import subprocess
import sys

# Not ours to pin: the package itself, and what every environment brings.
SKIPPED = {"automedsam", "pip", "setuptools", "wheel"}
HEADER = f"""\
# Exact versions that CI passed with (Python {platform.python_version()}, {platform.system()} {platform.machine()}).
# Written by `.ci/run --freeze`. Use: pip install '.[test]' -c requirements/constraints.txt
"""


def freeze() -> str:
    """The constraints, sorted by name; local parts such as `+cpu`, which PyPI does not have, are left out."""
    command = [sys.executable, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    pins = [line.split("+")[0] for line in lines if line.split("==")[0].lower() not in SKIPPED]
    return HEADER + "\n".join(sorted(pins, key=str.lower)) + "\n"


if __name__ == "__main__":
    print(freeze(), end="")
