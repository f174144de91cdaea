"""The volume's copy for the engine: exact, whatever the volume, and never a long wait."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_the_copy_is_the_volume(add_volume: Any, tmp_path: Path, kind: type) -> None:
    from AutoMedSAMLib.engine.shared_files import VolumeExport

    array = np.random.default_rng(0).normal(100, 30, (7, 200, 300)).astype(kind)
    copy = VolumeExport([add_volume(array)], tmp_path / "volume.npy")
    while not copy.write_chunk(0.0001):
        assert copy.fraction < 1
    written = np.load(copy.path, mmap_mode="r", allow_pickle=False)
    assert written.dtype == array.dtype
    np.testing.assert_array_equal(written, array)


def test_several_modalities_become_channels(add_volume: Any, tmp_path: Path) -> None:
    from AutoMedSAMLib.engine.shared_files import VolumeExport

    one, two = np.full((3, 4, 5), 7, np.int16), np.full((3, 4, 5), 0.5, np.float32)
    copy = VolumeExport([add_volume(one), add_volume(two)], tmp_path / "volume.npy")
    assert copy.write_chunk(1)
    np.testing.assert_array_equal(np.load(copy.path), np.stack([one, two]))


@pytest.mark.alone
def test_a_large_volume_is_copied_in_short_turns(add_volume: Any, tmp_path: Path) -> None:
    from AutoMedSAMLib.engine.shared_files import VolumeExport

    copy = VolumeExport([add_volume(np.zeros((200, 512, 512), np.int16))], tmp_path / "volume.npy")
    turns = []
    done = False
    while not done:
        began = time.perf_counter()
        done = copy.write_chunk(0.02)
        turns.append(time.perf_counter() - began)
    assert np.median(turns) < 0.05
    assert copy.path.stat().st_size == 200 * 512 * 512 * 2 + 128


def test_no_name_of_a_node_becomes_a_path(scene: Any) -> None:
    from AutoMedSAMLib.engine.shared_files import SharedFiles

    exchange = SharedFiles()
    assert exchange.folder is None, "no folder before one is needed"
    first, second = exchange.new_path("labels"), exchange.new_path("labels")
    assert first != second and first.parent == exchange.folder
    exchange.close()
    assert not first.parent.exists()


def test_voxels_of_a_patient_go_even_if_a_file_is_open_for_a_while(scene: Any, monkeypatch: Any) -> None:
    """On Windows a file that is open cannot be removed; here its removal fails the first times."""
    import shutil

    from AutoMedSAMLib.engine import shared_files as module

    exchange = module.SharedFiles()
    path = exchange.new_path("volume")
    path.write_bytes(b"voxels")
    remove, tries = shutil.rmtree, []

    def held_for_a_while(folder: Path, ignore_errors: bool = False) -> None:
        tries.append(folder)
        if len(tries) > 3:
            remove(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(module.shutil, "rmtree", held_for_a_while)
    exchange.close()
    assert not path.exists() and not path.parent.exists()


def test_voxels_that_cannot_be_removed_are_named(scene: Any, monkeypatch: Any, caplog: Any) -> None:
    from AutoMedSAMLib.engine import shared_files as module

    exchange = module.SharedFiles()
    path = exchange.new_path("volume")
    path.write_bytes(b"voxels")
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "rmtree", lambda *_, **__: None)
        exchange.close(seconds=0.2)
    assert str(path.parent) in caplog.text
    assert module._remove(path.parent), "and they go when Python ends"
