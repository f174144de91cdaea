"""The examples in the docstrings of the public names run as they are printed."""

import doctest
import sys
from pathlib import Path
from types import ModuleType

import pytest
import SimpleITK as sitk
from phantoms import phantom_head

import automedsam

WITH_EXAMPLES = sorted({getattr(automedsam, name).__module__ for name in automedsam.__all__} | {"automedsam"})


@pytest.fixture(scope="module")
def a_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples read `head.nii.gz` in the working folder."""
    folder = tmp_path_factory.mktemp("examples")
    volume, _ = phantom_head()
    sitk.WriteImage(volume.to_image(volume.array), str(folder / "head.nii.gz"))
    return folder


def module_of(name: str) -> ModuleType:
    __import__(name)
    return sys.modules[name]


@pytest.mark.parametrize("name", automedsam.__all__)
def test_each_public_name_has_an_example(name: str) -> None:
    thing = getattr(automedsam, name)
    assert ">>>" in (thing.__doc__ or ""), f"the docstring of {thing.__module__}.{name} has no example"


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run_as_printed(name: str, a_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(a_folder)
    failed, tried = doctest.testmod(module_of(name), optionflags=doctest.ELLIPSIS)
    assert tried and not failed
