"""Data to try the module with, and the module's own test."""

from pathlib import Path
from typing import Any

import numpy as np

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_phantom_is_made_without_a_network(scene: Any) -> None:
    import slicer
    from phantoms import phantom_head

    from AutoMedSAMLib.sample_data import make_phantom
    from runs import ijk_to_ras

    expected, _ = phantom_head()
    volume = make_phantom()
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), expected.array)
    corner = np.array(expected.world((5, 7, 9))) * (-1, -1, 1)
    np.testing.assert_allclose((ijk_to_ras(volume) @ (9, 7, 5, 1))[:3], corner)


def test_the_tile_that_the_readme_names_is_there_once_slicer_has_started_and_works(module: Any, scene: Any) -> None:
    import slicer
    from SampleData import SampleDataLogic

    assert "*Sample Data > AutoMedSAM > AutoMedSAM phantom (generated)*" in README.read_text(encoding="utf-8")
    (volume,) = SampleDataLogic.click("AutoMedSAM", "AutoMedSAM phantom (generated)")
    assert volume.GetImageData().GetNumberOfPoints() == 60 * 240 * 240
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    assert composite.GetBackgroundVolumeID() == volume.GetID()


def test_no_tile_has_an_address_that_does_not_exist(module: Any) -> None:
    from SampleData import SampleDataLogic

    addresses = [uri for source in SampleDataLogic.registered["AutoMedSAM"] for uri in source.uris]
    assert not addresses, "before there is a release, there is nothing to download"


def test_a_phantom_that_cannot_be_made_is_explained_to_the_person_who_clicked(
    module: Any, scene: Any, monkeypatch: Any
) -> None:
    import slicer
    from SampleData import SampleDataLogic

    from AutoMedSAMLib.engine import process as engine_process

    shown: list[str] = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **_: shown.append(text))
    monkeypatch.setattr(engine_process, "_python", lambda: "/nowhere/PythonSlicer")
    assert SampleDataLogic.click("AutoMedSAM", "AutoMedSAM phantom (generated)") == []
    assert shown and "could not generate the phantom" in shown[0]


def test_the_self_test_passes(scene: Any) -> None:
    import unittest

    from AutoMedSAMLib.selftest import AutoMedSAMTest

    result = unittest.TestResult()
    AutoMedSAMTest().run(result)
    assert result.wasSuccessful(), result.failures + result.errors
