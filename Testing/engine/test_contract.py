"""Slicer's side and the engine agree on one contract, which loads nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from automedsam.contract import planes, protocol
from automedsam.core.volume import Plane, Volume

CODE = """
import sys
from automedsam.contract import errors, manifest, planes, protocol
print([name for name in ("numpy", "scipy", "SimpleITK", "onnxruntime", "torch", "typer") if name in sys.modules])
"""


def test_the_contract_loads_no_library() -> None:
    loaded = subprocess.run([sys.executable, "-c", CODE], capture_output=True, encoding="utf-8", check=True).stdout
    assert loaded.strip() == "[]"


def test_a_single_slice_decides_the_plane() -> None:
    columns = np.eye(3).tolist()
    assert planes.default_plane((5, 1, 5), (1, 1, 1), columns, None) == "coronal"
    assert planes.default_plane((5, 5, 1), (1, 1, 9), columns, None) == "sagittal"


def test_the_thickest_spacing_decides_the_plane() -> None:
    columns = np.eye(3).tolist()
    assert planes.default_plane((9, 9, 9), (1.0, 1.0, 1.4), columns, "sagittal") == "sagittal"
    assert planes.default_plane((9, 9, 9), (1.0, 1.0, 1.6), columns, "sagittal") == "axial"
    assert planes.default_plane((9, 9, 9), (3.0, 1.0, 1.6), columns, None) == "sagittal"


def test_the_volume_follows_the_contract() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        spacing = tuple(float(one) for one in rng.uniform(0.5, 4, 3))
        volume = Volume(np.zeros((3, 4, 5)), spacing, (0.0, 0.0, 0.0), tuple(matrix.ravel().tolist()))  # type: ignore[arg-type]
        columns = (matrix * spacing).T.tolist()
        assert volume.default_plane(Plane.CORONAL) == planes.default_plane((3, 4, 5), spacing, columns, "coronal")
        for plane in Plane:
            assert volume.slice_axis(plane)[0] == planes.slice_axis(plane.value, columns)


def test_the_engine_s_events_have_the_contract_s_fields(
    a_worker: Any, request_of: Callable[..., dict[str, Any]], a_head: Volume
) -> None:
    message = request_of(a_head)
    events = [*a_worker.ask("segment", **message), *a_worker.ask("check", volume=message["volume"], model="glioma")]
    events += [*a_worker.ask("devices"), *a_worker.ask("nonsense")]
    kinds = {str(one.__annotations__["event"]): one for one in get_args(protocol.Event)}
    assert {event["event"] for event in events} >= {"started", "stage", "boxes", "tracklets", "slice", "finished"}
    for event in events:
        (kind,) = [one for literal, one in kinds.items() if f"'{event['event']}'" in literal.replace('"', "'")]
        assert set(event) >= kind.__required_keys__, event
        assert set(event) <= kind.__required_keys__ | kind.__optional_keys__, event
