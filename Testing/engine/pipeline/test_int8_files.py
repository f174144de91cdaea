"""A checkpoint gets its INT8 files once, on the volume at hand; a stop or a full disk leaves it as it was."""

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from automedsam.bundle import Bundle, load_bundle
from automedsam.contract.backends import Backend
from automedsam.core.boxes import Box, Tracklet
from automedsam.core.volume import Plane, Volume
from automedsam.errors import AutoMedSAMError

pytest.importorskip("torch", reason="INT8 files are made of PyTorch weights")
pytest.importorskip("sam2", reason="INT8 files are made of PyTorch weights")
pytest.importorskip("onnx", reason="INT8 files are written with onnx")

from tiny_checkpoint import install_tiny

from automedsam.models.checkpoint_manifest import add_detector
from automedsam.pipeline import int8_files
from automedsam.pipeline.comparison import reference_backend
from automedsam.pipeline.int8_files import calibration_slices, make_int8, needs_int8
from automedsam.pipeline.run import SegmentationRun
from automedsam.quantization import segmenter as quantization

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def volume() -> Volume:
    array = np.random.default_rng(0).integers(0, 90, (6, 40, 48)).astype(np.uint8)
    array[1:5, 10:28, 12:30] += 120
    return Volume(array, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), IDENTITY)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv("AUTOMEDSAM_MODELS", str(tmp_path / "models"))
    return install_tiny(tmp_path / "models" / "tiny-sam")


def make(bundle: Bundle, progress: Callable[[int, int], object] = lambda done, total: None) -> Bundle:
    run = SegmentationRun(volume(), bundle, backend=Backend.FP32_TORCH, device="cpu")
    return make_int8(bundle, run.channels, progress)


def segmented(bundle: Bundle, backend: Backend) -> SegmentationRun:
    run = SegmentationRun(volume(), bundle, backend=backend, plane=Plane.AXIAL)
    box = Box(12.0, 10.0, 18.0, 18.0, 0.9, 1)
    list(run.propagate([Tracklet(1, {2: box, 3: box}, 2)]))
    return run


def content(folder: Path) -> dict[str, bytes]:
    """The files of a folder and those below it, but for the lock, which stays and is empty."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found.pop(".int8.lock", b"") == b""
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make(install_tiny(tmp_path_factory.mktemp("models") / "tiny-sam"))


def test_checkpoint_runs_in_int8_once_its_files_are_made(bundle: Bundle) -> None:
    assert needs_int8(bundle, Backend.INT8) and not needs_int8(bundle, Backend.FP32_TORCH)
    steps: list[tuple[int, int]] = []
    made = make(bundle, lambda done, total: steps.append((done, total)))
    assert steps == [(done, steps[0][1]) for done in range(steps[0][1] + 1)]
    assert made.backends() == [Backend.INT8, Backend.FP32_TORCH]
    assert not needs_int8(made, Backend.INT8)
    assert set(content(bundle.folder)) == {
        "bundle.json", "tiny.pt", "image_encoder.int8.onnx", "memory_attention.int8.onnx", "mask_decoder.int8.onnx",
        "memory_encoder.int8.onnx",
    }  # fmt: skip
    assert set(made.golden(Backend.INT8) or {}) == {
        "image_encoder", "memory_attention", "mask_decoder", "memory_encoder"
    }  # fmt: skip


def test_int8_segments_nearly_what_fp32_does(made: Bundle) -> None:
    from automedsam.core.mask_agreement import dice

    int8, fp32 = (segmented(made, backend).result().labels > 0 for backend in (Backend.INT8, Backend.FP32_TORCH))
    assert fp32.any() and dice(int8, fp32) > 0.9


def test_weights_of_the_networks_are_8_bits_wide(made: Bundle) -> None:
    import onnx

    graph = onnx.load(made.folder / "image_encoder.int8.onnx").graph
    assert any(node.op_type == "MatMulInteger" for node in graph.node)
    assert any(tensor.data_type == onnx.TensorProto.INT8 for tensor in graph.initializer)


def test_results_and_boxes_of_the_model_stay_those_of_the_same_model(bundle: Bundle) -> None:
    before = bundle.hash
    made = make(bundle)
    assert made.hash == before == load_bundle(bundle.folder).hash
    int8, fp32 = (segmented(made, one).result().provenance for one in (Backend.INT8, Backend.FP32_TORCH))
    # The model's hash does not cover what was made here.
    assert len(int8["int8_hash"]) == 64 and "int8_hash" not in fp32


def test_second_call_finds_the_files_of_the_first(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    make(bundle)
    before = content(bundle.folder)
    monkeypatch.setattr(int8_files, "_write_files", lambda *_: pytest.fail("the files are made again"))
    # As another process does that had read the manifest before.
    again = make(bundle)
    assert again.has(Backend.INT8) and content(bundle.folder) == before
    with pytest.raises(AutoMedSAMError, match="tiny-sam has INT8 files already"):
        make(again)


def test_int8_runs_where_there_is_no_pytorch(made: Bundle) -> None:
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'sam2', 'onnx')))\n"
        "import numpy as np\n"
        "from automedsam.bundle import load_bundle\n"
        "from automedsam.core.boxes import Box, Tracklet\n"
        "from automedsam.core.volume import Volume\n"
        "from automedsam.pipeline.run import SegmentationRun\n"
        "array = np.random.default_rng(0).integers(0, 255, (4, 40, 48)).astype(np.uint8)\n"
        f"volume = Volume(array, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), {IDENTITY})\n"
        "run = SegmentationRun(volume, load_bundle(sys.argv[1]))\n"
        "list(run.propagate([Tracklet(1, {2: Box(12.0, 10.0, 18.0, 18.0, 0.9, 1)}, 2)]))\n"
        "print(run.result().provenance['backend'], len(run.tracker.objects[0].masks) > 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, made.folder], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["int8", "True"]), done.stderr


class _StoppedError(Exception):
    pass


@pytest.mark.parametrize("step", range(15))
def test_stopped_at_any_step_nothing_has_changed(bundle: Bundle, step: int) -> None:
    before = content(bundle.folder)

    def stop(done: int, total: int) -> None:
        assert total == 14
        if done == step:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        make(bundle, stop)
    assert content(bundle.folder) == before
    assert not [path for path in bundle.folder.iterdir() if path.is_dir()]


@pytest.mark.parametrize("failing", ["export", "quantize", "manifest", "rename"])
def test_full_disk_ends_in_one_sentence_and_nothing_has_changed(
    bundle: Bundle, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(bundle.folder)
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_: object, **__: object) -> None:
        raise full

    if failing == "export":
        import torch

        monkeypatch.setattr(torch.onnx, "export", fail)
    elif failing == "quantize":
        # Where a layer that cannot be quantized would stay in FP32.
        monkeypatch.setattr(quantization.Quantizer, "write", fail)
    elif failing == "manifest":
        monkeypatch.setattr(int8_files, "json", SimpleNamespace(dumps=fail))
    else:
        whole = Path.replace

        def replace(path: Path, target: Path) -> Path:
            if path.name == "mask_decoder.int8.onnx" and target.parent == bundle.folder:
                raise full
            return whole(path, target)

        monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(AutoMedSAMError) as raised:
        make(bundle)
    message = str(raised.value)
    assert "tiny-sam cannot be made" in message and "No space left on device" in message and "free space" in message
    assert "\n" not in message and ".int8-" not in message
    assert content(bundle.folder) == before


def test_onnx_that_fails_on_a_full_disk_leaves_no_layer_in_fp32(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        message = "Protobuf could not be parsed"
        raise RuntimeError(message)

    monkeypatch.setattr(quantization.Quantizer, "write", fail)
    monkeypatch.setattr(quantization, "is_full", lambda folder: True)
    with pytest.raises(AutoMedSAMError, match="No space left on device"):
        make(bundle)


def test_network_that_cannot_be_quantized_is_not_called_int8(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        message = "Type inference failed"
        raise RuntimeError(message)

    monkeypatch.setattr(quantization.Quantizer, "write", fail)
    before = content(bundle.folder)
    with pytest.raises(AutoMedSAMError, match=r"cannot quantize the image encoder of tiny-sam: update onnxruntime"):
        make(bundle)
    assert content(bundle.folder) == before


def test_too_little_memory_leaves_no_layer_in_fp32(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(quantization.Quantizer, "write", fail)
    before = content(bundle.folder)
    with pytest.raises(MemoryError):
        make(bundle)
    assert content(bundle.folder) == before


def test_too_little_room_is_noticed_before_any_work(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50_000_000))
    with pytest.raises(AutoMedSAMError, match="MB free: free space there"):
        make(bundle, lambda done, total: pytest.fail("work has begun"))


def test_leftovers_of_a_process_that_was_killed_are_removed(bundle: Bundle) -> None:
    (bundle.folder / ".int8-abc").mkdir()
    (bundle.folder / ".int8-abc" / "image_encoder.onnx").write_bytes(b"half")
    make(bundle)
    assert not (bundle.folder / ".int8-abc").exists()


def test_one_process_at_a_time(bundle: Bundle) -> None:
    fcntl = pytest.importorskip("fcntl")
    with (bundle.folder / ".int8.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(AutoMedSAMError, match="is making the INT8 files of tiny-sam already: wait"):
            make(bundle)


def test_damaged_weights_make_no_files(bundle: Bundle) -> None:
    (bundle.folder / "tiny.pt").write_bytes(b"x" + (bundle.folder / "tiny.pt").read_bytes()[1:])
    with pytest.raises(AutoMedSAMError, match=r"tiny\.pt of bundle tiny-sam is damaged"):
        make(bundle)


def test_detector_without_int8_is_refused(bundle: Bundle) -> None:
    manifest = add_detector(bundle.manifest, bundle.folder, load_bundle("glioma"))
    (bundle.folder / "detector.int8.onnx").rename(bundle.folder / "detector.fp32.onnx")
    manifest["detector"]["files"] = {"fp32": "detector.fp32.onnx"}
    manifest["files"]["detector.fp32.onnx"] = manifest["files"].pop("detector.int8.onnx")
    (bundle.folder / "bundle.json").write_text(json.dumps(manifest))
    bundle = load_bundle(bundle.folder)
    assert not needs_int8(bundle, Backend.INT8)
    with pytest.raises(AutoMedSAMError, match=r"detector of tiny-sam is here in FP32 alone.*--detector"):
        make(bundle)


def test_detector_in_int8_finds_the_objects(bundle: Bundle) -> None:
    manifest = add_detector(bundle.manifest, bundle.folder, load_bundle("glioma"))
    (bundle.folder / "bundle.json").write_text(json.dumps(manifest))
    made = make(load_bundle(bundle.folder))
    run = SegmentationRun(volume(), made)
    list(run.events())
    assert run.result().labels.shape == volume().shape


def test_missing_package_is_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(AutoMedSAMError, match=r"needs onnx, which is not installed: pip install 'automedsam\[fp32\]'"):
        make(bundle)


def test_built_in_model_has_nothing_to_make() -> None:
    glioma = load_bundle("glioma")
    assert not needs_int8(glioma, Backend.INT8)
    with pytest.raises(AutoMedSAMError, match="glioma has INT8 files already"):
        make_int8(glioma, np.zeros((1, 2, 4, 4), np.uint8), lambda done, total: None)


def test_calibration_looks_at_the_slices_that_show_something(bundle: Bundle) -> None:
    channels = np.zeros((1, 100, 20, 30), np.uint8)
    channels[0, 40:60, 5:9] = 200
    slices = calibration_slices(bundle, channels)
    assert slices.shape == (16, 3, 64, 64) and slices.dtype == np.float32
    assert all(np.ptp(one) > 0 for one in slices)
    assert calibration_slices(bundle, channels[:, :3]).shape == (3, 3, 64, 64)


def test_run_without_the_files_names_the_command_that_makes_them(bundle: Bundle) -> None:
    with pytest.raises(AutoMedSAMError, match=r"models int8 tiny-sam --volume FILE.*or choose the backend fp32"):
        segmented(bundle, Backend.INT8)
    with pytest.raises(AutoMedSAMError, match=r"has no INT8 files here.*models int8 tiny-sam --volume FILE"):
        reference_backend(bundle)


def test_command_names_the_folder_of_a_model_that_is_not_installed(tmp_path: Path) -> None:
    bundle = install_tiny(tmp_path / "elsewhere")
    assert bundle.int8_command == f"automedsam models int8 {tmp_path / 'elsewhere'} --volume FILE"
    assert load_bundle("glioma").int8_command == ""
