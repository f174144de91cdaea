"""Backend and plane of the Python API may be given by their values."""

from dataclasses import replace

import pytest
from phantoms import phantom_head

from automedsam import AutoMedSAMError, Backend, Plane, SegmentationRun, load_bundle, segment


def test_backend_and_plane_are_accepted_by_value() -> None:
    volume, _ = phantom_head()
    run = SegmentationRun(volume, load_bundle("glioma"), backend="fp32-onnx", plane="coronal")
    assert run.backend is Backend.FP32_ONNX and run.plane is Plane.CORONAL


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"backend": "int4"}, "There is no backend 'int4': choose one of int8, fp32, fp32-onnx."),
        ({"plane": "oblique"}, "There is no plane 'oblique': choose one of axial, coronal, sagittal."),
        ({"plane": ""}, "There is no plane '': choose one of axial, coronal, sagittal."),
    ],
)
def test_unknown_value_is_refused_in_one_sentence(option: dict[str, str], sentence: str) -> None:
    volume, _ = phantom_head()
    with pytest.raises(AutoMedSAMError) as refused:
        segment(replace(volume), load_bundle("glioma"), **option)
    assert str(refused.value) == sentence
