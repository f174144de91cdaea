"""The package, its bundles, the changelog and the citation have one version."""

import re
from pathlib import Path

import pytest

import automedsam
from automedsam.bundle import list_bundles

ROOT = Path(__file__).resolve().parents[2]


def numbers(version: str) -> tuple[int, ...]:
    assert re.fullmatch(r"\d+\.\d+\.\d+", version), version
    return tuple(map(int, version.split(".")))


def test_newest_changelog_entry_is_of_the_package_version() -> None:
    headings = re.findall(
        r"^## (\S+)(?: \((\S+)\))?$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    version, state = headings[0]
    assert version == automedsam.__version__
    assert state == "unreleased" or re.fullmatch(r"\d{4}-\d\d-\d\d", state)
    assert [numbers(name) for name, _ in headings] == sorted((numbers(name) for name, _ in headings), reverse=True)


def test_citation_is_of_the_package_version() -> None:
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited[1] == automedsam.__version__


def test_package_metadata_takes_the_version_from_the_source() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'version = { attr = "automedsam.__version__" }' in project


@pytest.mark.parametrize("bundle", list_bundles(), ids=lambda bundle: bundle.name)
def test_built_in_bundles_carry_the_version_of_the_release_that_built_them(bundle: automedsam.Bundle) -> None:
    """Saved scenes recognize a bundle by the hash of its manifest, so it changes only when the weights do."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert numbers(bundle.version) <= numbers(automedsam.__version__)
    assert f"## {bundle.version}" in changelog
