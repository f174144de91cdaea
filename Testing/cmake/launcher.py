"""Takes Slicer's command line for tests and runs it in the harness.

Loads each module found in the given folders, as Slicer does when it starts, runs the code, and exits with 1 if that
raises or if anything went wrong behind the event loop.
"""

import argparse
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slicer"))

import harness


def main() -> int:
    """Runs the command.

    Returns:
        What the process exits with.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--no-splash", "--testing", "--no-main-window", "--disable-cli-modules"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--additional-module-paths", nargs="+", type=Path, default=[])
    parser.add_argument("--python-code", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        application = harness.start(Path(folder))
        from harness import faults
        from harness.modules import Module

        try:
            for path in (path for place in arguments.additional_module_paths for path in sorted(place.glob("*.py"))):
                Module(path)
                print(f"loaded {path}")
            application.startupCompleted.emit()
            exec(arguments.python_code, {})
        except Exception:
            traceback.print_exc()
            return 1
        finally:
            application.aboutToQuit.emit()
            application.processEvents()
        found = faults.take()
    print(*found, sep="\n", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
