"""Data to try the module with, and the module's own test."""

from typing import Any

import numpy as np


def test_the_phantom_is_made_without_a_network(scene: Any) -> None:
    import slicer

    from automedsam.phantom import phantom_head
    from AutoMedSAMLib.sample_data import make_phantom
    from runs import ijk_to_ras

    expected, _ = phantom_head()
    volume = make_phantom()
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), expected.array)
    corner = np.array(expected.world((5, 7, 9))) * (-1, -1, 1)
    np.testing.assert_allclose((ijk_to_ras(volume) @ (9, 7, 5, 1))[:3], corner)


def test_both_phantoms_are_offered_once_slicer_has_started(scene: Any, monkeypatch: Any) -> None:
    import SampleData

    from AutoMedSAMLib import sample_data

    monkeypatch.setattr(SampleData.SampleDataLogic, "registered", [])
    sample_data.register()
    download, generated = SampleData.SampleDataLogic.registered
    assert download.category == generated.category == "AutoMedSAM"
    assert download.uris[0].endswith("/automedsam-phantom-flair.nii.gz")
    assert download.checksums == [f"SHA256:{sample_data.ASSET_SHA256}"]
    (volume,) = generated.customDownloader(generated)
    assert volume.GetImageData().GetNumberOfPoints() == 60 * 240 * 240


def test_the_self_test_passes(scene: Any) -> None:
    import unittest

    from AutoMedSAMLib.selftest import AutoMedSAMTest

    result = unittest.TestResult()
    AutoMedSAMTest().run(result)
    assert result.wasSuccessful(), result.failures + result.errors
