"""A published checkpoint is read as it is; whatever else is given is named, and never run."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")

from published_files import TINY, TINY_SAM2, random_weights, write_medical_sam2, write_medsam2  # noqa: E402

from automedsam.errors import AutoMedSAMError  # noqa: E402
from automedsam.sam2.build import build_sam2  # noqa: E402
from automedsam_lab.checkpoints.matching import (  # noqa: E402
    MetaTensorMode,
    config_shapes,
    match_state_dict,
    mismatch_message,
    read_state_dict,
    shapes_of,
)
from automedsam_lab.checkpoints.model_zoo import CONFIGS, find_config, find_file  # noqa: E402

STOCK = {
    "sam2.1_hiera_t": "sam2.1/sam2.1_hiera_t",
    "sam2.1_hiera_t512": "sam2.1/sam2.1_hiera_t",
    "sam2.1_hiera_s": "sam2.1/sam2.1_hiera_s",
    "sam2.1_hiera_b+": "sam2.1/sam2.1_hiera_b+",
    "sam2_hiera_t": "sam2/sam2_hiera_t",
}


@pytest.mark.parametrize("name", list(CONFIGS))
def test_network_is_that_of_the_stock_package(name: str) -> None:
    """Keys and shapes, and what no shape shows: heads, windows and settings."""
    hydra = pytest.importorskip("hydra", reason="the lab's training packages are not installed")
    omegaconf = pytest.importorskip("omegaconf")
    import sam2

    def numbers(model: Any) -> tuple[Any, Any]:
        blocks = [
            (block.window_size, block.attn.num_heads, block.q_stride) for block in model.image_encoder.trunk.blocks
        ]
        chosen_by_us = {"image_size", "sam_image_embedding_size", "binarize_mask_from_pts_for_mem_enc"}
        plain = {key: value for key, value in vars(model).items() if isinstance(value, bool | int | float)}
        return blocks, {key: value for key, value in plain.items() if key not in chosen_by_us}

    yaml = omegaconf.OmegaConf.load(Path(str(sam2.__file__)).parent / "configs" / f"{STOCK[name]}.yaml")
    with MetaTensorMode():
        stock = hydra.utils.instantiate(yaml.model, _recursive_=True)
        ours = build_sam2(CONFIGS[name].architecture)
    assert config_shapes(CONFIGS[name]) == shapes_of(stock.state_dict())
    assert numbers(ours) == numbers(stock)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("sam2.1_hiera_t512", 38.96), ("sam2.1_hiera_s", 46.06), ("sam2.1_hiera_b+", 80.85), ("sam2_hiera_t", 38.95)],
)
def test_network_has_its_published_size(name: str, millions: float) -> None:
    values = sum(math.prod(shape) for shape in config_shapes(CONFIGS[name]).values())
    assert values / 1e6 == pytest.approx(millions, abs=0.01)


def test_medsam2_keeps_every_weight(tmp_path: Path) -> None:
    weights = random_weights(TINY)
    read = read_state_dict(write_medsam2(tmp_path / "MedSAM2_latest.pt", weights))
    assert not match_state_dict(read, TINY)
    assert all(torch.equal(read[key], weights[key]) for key in weights)


def test_medical_sam2_is_read_from_bfloat16(tmp_path: Path) -> None:
    weights = random_weights(TINY_SAM2)
    read = read_state_dict(write_medical_sam2(tmp_path / "MedSAM2_pretrain.pth", weights))
    assert not match_state_dict(read, TINY_SAM2)
    assert {value.dtype for value in read.values()} == {torch.float32}


def test_weights_of_distributed_training_are_read(tmp_path: Path) -> None:
    weights = {f"module.{key}": value for key, value in random_weights(TINY).items()}
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "last.ckpt")
    assert not match_state_dict(read_state_dict(tmp_path / "last.ckpt"), TINY)


def test_what_does_not_fit_is_listed_key_by_key() -> None:
    weights = random_weights(TINY)
    del weights["no_mem_embed"]
    weights["adapter.weight"] = torch.zeros(2)
    weights["maskmem_tpos_enc"] = torch.zeros(7, 1, 1, 16)
    mismatch = match_state_dict(weights, TINY)
    assert mismatch.lines() == [
        "missing    no_mem_embed",
        "unknown    adapter.weight",
        "misshapen  maskmem_tpos_enc: (7, 1, 1, 16), not (3, 1, 1, 16)",
    ]
    message = mismatch_message(Path("mine.pt"), weights, TINY, mismatch)
    assert "mine.pt does not fit tiny" in message and "\n" not in message
    assert "1 missing (no_mem_embed); 1 unknown (adapter.weight); 1 of another shape" in message


def test_error_names_the_configuration_of_the_checkpoint() -> None:
    small = {key: torch.empty(shape, device="meta") for key, shape in config_shapes(CONFIGS["sam2.1_hiera_s"]).items()}
    tiny = CONFIGS["sam2.1_hiera_t512"]
    message = mismatch_message(Path("small.pt"), small, tiny, match_state_dict(small, tiny))
    assert "it fits sam2.1_hiera_s: give --config sam2.1_hiera_s" in message
    assert "50 unknown in image_encoder (" in message and "and 47 more" in message


@pytest.mark.parametrize(
    ("key", "model"),
    [
        ("image_encoder.blocks.0.attn.rel_pos_h", "SAM 1 or MedSAM"),
        ("heads.head1.cls_pred.weight", "YOLO-NAS"),
        ("image_encoder.trunk.stem.0.weight", "the lab's own segmenter"),
        ("backbone.conv1.weight", "another model's checkpoint"),
    ],
)
def test_another_models_checkpoint_is_refused_by_name(key: str, model: str) -> None:
    state = {key: torch.zeros(2)}
    assert model in mismatch_message(Path("other.pt"), state, TINY, match_state_dict(state, TINY))


def test_large_is_refused_by_name() -> None:
    state = {"image_encoder.trunk.patch_embed.proj.weight": torch.empty(144, 3, 7, 7, device="meta")}
    assert "SAM 2 large" in mismatch_message(Path("large.pt"), state, TINY, match_state_dict(state, TINY))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_checkpoint_is_refused(tmp_path: Path, zipped: bool, share: float) -> None:
    path = tmp_path / "MedSAM2_latest.pt"
    torch.save({"model": random_weights(TINY)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(AutoMedSAMError, match=r"MedSAM2_latest\.pt is .*(incomplete|damaged).*download it again"):
        read_state_dict(path)


def test_error_names_the_length_of_a_truncated_published_file(tmp_path: Path) -> None:
    path = write_medsam2(tmp_path / "MedSAM2_latest.pt", random_weights(TINY))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(AutoMedSAMError, match=r"incomplete \(1,000 of 156,040,129 bytes\)"):
        read_state_dict(path)


def test_flipped_bit_is_noticed_though_torch_reads_over_it(tmp_path: Path) -> None:
    path = write_medsam2(tmp_path / "model.pt", random_weights(TINY))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)
    with pytest.raises(AutoMedSAMError, match="is damaged"):
        read_state_dict(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (ran,)

    path = tmp_path / "trap.pt"
    torch.save({"model": {"weight": Trap()}}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(AutoMedSAMError, match=r"trap\.pt holds code, not weights alone \(it asks for \w+"):
        read_state_dict(path)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 156040129\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"no weights at all", "no PyTorch checkpoint"),
    ],
)
def test_what_a_failed_download_leaves_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "MedSAM2_latest.pt"
    path.write_bytes(content)
    with pytest.raises(AutoMedSAMError, match=message):
        read_state_dict(path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"model": {"a": 1}}])
def test_file_without_weights_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "log.pt")
    with pytest.raises(AutoMedSAMError, match="holds no weights of a network"):
        read_state_dict(tmp_path / "log.pt")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    weights = random_weights(TINY)
    weights["no_mem_embed"][0, 0, 3] = float("nan")
    with pytest.raises(AutoMedSAMError, match=r"not finite \(no_mem_embed\)"):
        read_state_dict(write_medsam2(tmp_path / "diverged.pt", weights))


def test_missing_checkpoint_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="There is no checkpoint"):
        read_state_dict(tmp_path / "absent.pt")
    with pytest.raises(AutoMedSAMError, match="cannot be read"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize("name", ["sam2.1_hiera_t512", "configs/sam2.1_hiera_t512.yaml"])
def test_configuration_is_found_as_medsam2_names_it(name: str) -> None:
    assert find_config(name).architecture.image_size == 512


def test_unknown_configuration_lists_the_known() -> None:
    with pytest.raises(AutoMedSAMError, match=r"no configuration sam2\.1_hiera_l: choose one of sam2\.1_hiera_t512"):
        find_config("sam2.1_hiera_l")


def test_published_file_is_known_by_its_hash_under_any_name() -> None:
    latest = CONFIGS["sam2.1_hiera_t512"].files[0]
    assert latest.sha256 is not None
    assert find_file("renamed.pt", latest.sha256) == (latest, CONFIGS["sam2.1_hiera_t512"])
    assert find_file(latest.name, "0" * 64) == (latest, CONFIGS["sam2.1_hiera_t512"])
    assert find_file("renamed.pt", "0" * 64) is None


def test_sam2_and_sam21_are_distinguished_by_their_keys() -> None:
    older = {key: torch.empty(shape, device="meta") for key, shape in config_shapes(TINY_SAM2).items()}
    assert set(match_state_dict(older, TINY).missing) == {
        "no_obj_embed_spatial",
        "obj_ptr_tpos_proj.weight",
        "obj_ptr_tpos_proj.bias",
    }
    assert shapes_of(older) == config_shapes(replace(TINY_SAM2, name="same"))
