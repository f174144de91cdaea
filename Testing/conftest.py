"""What the tests of all rooms share: the real images, and a gate that fails CI for unexpected skips."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).resolve().parent
_SHARED_DATA = _HERE.parents[1] / "shared" / "data"
# "full" where everything is installed, "engine" where only the engine is; unset on a developer's machine.
_LEVEL = os.environ.get("AUTOMEDSAM_CI", "")

# What a command prints must not depend on whether the developer has seen the terms of the weights before.
os.environ.setdefault("AUTOMEDSAM_ACCEPT_TERMS", "1")
# Nor on the models that the developer has downloaded.
os.environ["AUTOMEDSAM_MODELS"] = str(_HERE / "no-models")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the repository; none of them may be copied into it."""
    if not _SHARED_DATA.is_dir():
        pytest.skip(f"the real images are not on this machine ({_SHARED_DATA})")
    return _SHARED_DATA


def _is_allowed(reason: str) -> bool:
    allowed = tomllib.loads((_HERE / "allowed_skips.toml").read_text(encoding="utf-8"))["skip"]
    return any(_LEVEL in entry["levels"] and re.search(entry["reason"], reason) for entry in allowed)


def _unexpected_skips(reporter: Any) -> list[str]:
    found = []
    for report in reporter.stats.get("skipped", []):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not _is_allowed(reason):
            found.append(f"{report.nodeid}: {reason}")
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that silently does not run protects nobody: in CI, a skip that nobody expected is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if _LEVEL and reporter is not None and _unexpected_skips(reporter):
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Names the skips that failed the run."""
    unexpected = _unexpected_skips(terminalreporter) if _LEVEL else []
    if unexpected:
        terminalreporter.section("unexpected skips (Testing/allowed_skips.toml)", red=True)
        for line in unexpected:
            terminalreporter.line(line)
