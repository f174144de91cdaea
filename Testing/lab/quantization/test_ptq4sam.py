"""PTQ4SAM's two ideas: signs that fold exactly, and a logarithmic grid that is fitted to the attention's output."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")

from tiny_segmenter import SETTINGS, some_clips, tiny_model  # noqa: E402

from automedsam.sam2.torch_networks import TorchNetworks  # noqa: E402
from automedsam_lab.quantization.fidelity import Fidelity, agreement, propagate_clips  # noqa: E402
from automedsam_lab.quantization.ptq4sam.ablation import Ablation, Variant, markdown  # noqa: E402
from automedsam_lab.quantization.ptq4sam.adaptive_granularity import quantize_softmax, search_granularity  # noqa: E402
from automedsam_lab.quantization.ptq4sam.bimodal_integration import (  # noqa: E402
    Integration,
    channel_signs,
    fold_signs,
    integrate_bimodal,
    is_bimodal,
    token_to_image_attentions,
)
from automedsam_lab.quantization.ptq4sam.fake_quantization import (  # noqa: E402
    observe,
    round_by_channel,
    round_to_range,
    search_softmax,
    simulated_parts,
)


def test_two_peaks_differ_from_one_and_from_three() -> None:
    rng = np.random.default_rng(0)
    one, left, right = rng.normal(0, 1, 2000), rng.normal(-4, 0.5, 1000), rng.normal(4, 0.5, 1000)
    assert is_bimodal(np.concatenate([left, right]))
    assert not is_bimodal(one)
    assert not is_bimodal(np.concatenate([left * 2, one / 2, right * 2]))
    assert not is_bimodal(np.zeros(100))


def test_peaks_too_close_or_too_low_do_not_count() -> None:
    rng = np.random.default_rng(0)
    main = rng.normal(0, 1, 5000)
    assert not is_bimodal(np.concatenate([main, rng.normal(12, 0.3, 5)])), "a hundredth of the sum is needed"


def test_a_fold_of_any_signs_is_exact() -> None:
    model = tiny_model()
    clips, rng = some_clips(), torch.Generator().manual_seed(0)
    before = propagate_clips(TorchNetworks(model), SETTINGS, clips)
    for attention in token_to_image_attentions(model).values():
        signs = torch.where(torch.rand(attention.internal_dim, generator=rng) < 0.5, -1.0, 1.0)
        weight = attention.k_proj.weight.clone()
        fold_signs(attention, signs)
        assert not torch.equal(weight, attention.k_proj.weight)
    after = propagate_clips(TorchNetworks(model), SETTINGS, clips)
    assert max(float(np.abs(a - b).max()) for a, b in zip(before, after, strict=True)) < 1e-4


def test_bimodal_keys_are_found_in_a_model_and_become_one_peak() -> None:
    model = tiny_model()
    name, attention = next(iter(token_to_image_attentions(model).items()))
    with torch.no_grad():
        attention.k_proj.weight.mul_(3)
        attention.k_proj.bias.copy_(torch.where(torch.arange(attention.internal_dim) % 3 == 0, -8.0, 8.0))
    untouched = deepcopy(model)
    done = {one.attention: one for one in integrate_bimodal(model, some_clips()[0], SETTINGS)}
    assert done[name].bimodal and done[name].turned == math.ceil(attention.internal_dim / 3)
    assert bool((attention.k_proj.bias > 0).all())
    assert not integrate_bimodal(deepcopy(model), some_clips()[0], SETTINGS)[0].bimodal
    wanted, found = (propagate_clips(TorchNetworks(one), SETTINGS, some_clips()) for one in (untouched, model))
    assert agreement(wanted, found).logits < 1e-5


def test_a_channel_whose_mean_is_zero_keeps_its_sign() -> None:
    keys = torch.tensor([[[1.0, -1.0, 2.0], [-1.0, -3.0, 2.0]]])
    assert channel_signs(keys).tolist() == [1.0, -1.0, 1.0]


@pytest.mark.parametrize(
    ("value", "tau", "bits", "expected"),
    [
        (0.5, 1, 8, 0.5),  # q = -log2(0.5) = 1
        (0.3, 1, 8, 0.25),  # q = round(1.737) = 2
        (0.3, 2, 8, 2**-1.5),  # q = round(3.474) = 3
        (0.3, 4, 8, 2**-1.75),  # q = round(6.948) = 7
        (1.5, 1, 8, 1.0),  # above the scale
        (0.0, 1, 8, 0.0),
        (2.0**-4, 1, 2, 0.0),  # q = 4 > 2^2 - 1
        (2.0**-3, 1, 2, 0.125),  # q = 3, the last code
    ],
)
def test_the_logarithmic_grid_by_hand(value: float, tau: int, bits: int, expected: float) -> None:
    assert quantize_softmax(torch.tensor([value]), 1.0, tau, bits).item() == pytest.approx(expected, rel=1e-6)


def test_the_scale_is_the_grid_s_greatest_value() -> None:
    found = quantize_softmax(torch.tensor([0.8, 0.4, 0.1]), 0.8, 1, 8)
    assert found.tolist() == pytest.approx([0.8, 0.4, 0.1])


def test_the_search_minimises_the_error_of_the_attention_s_output() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = [
        (torch.randn(6, 20, generator=generator).mul(2).softmax(-1), torch.randn(20, 5, generator=generator))
        for _ in range(3)
    ]

    def error(scale: float, tau: int) -> float:
        return sum(float((quantize_softmax(p, scale, tau, 4) @ v - p @ v).square().sum()) for p, v in samples)

    found = search_granularity(samples, bits=4)
    assert found.error == pytest.approx(error(found.scale, found.tau), rel=1e-5)
    greatest = max(float(p.max()) for p, _ in samples)
    for tau in (1, 2, 4):
        assert found.error <= error(greatest, tau), "as good as the plain choice at least"
    by_grid = min(error(scale, tau) for tau in (1, 2, 4) for scale in np.linspace(0.01 * greatest, greatest, 60))
    assert found.error < 1.5 * by_grid


def test_finer_steps_are_chosen_where_the_range_allows_them() -> None:
    narrow = torch.linspace(0.2, 1.0, 64).reshape(8, 8)
    assert search_granularity([(narrow, torch.eye(8))], bits=8).tau == 4
    wide = torch.exp2(-torch.arange(16.0)).repeat(4, 1)
    assert search_granularity([(wide, torch.eye(16) * torch.exp2(torch.arange(16.0)))], bits=4).tau == 1


def test_rounding_spans_the_range_and_keeps_zero() -> None:
    found = round_to_range(torch.tensor([-1.0, 0.0, 0.1, 2.0, 9.0]), -1.0, 2.0, 2)
    assert found.tolist() == pytest.approx([-1.0, 0.0, 0.0, 2.0, 2.0])
    weights = round_by_channel(torch.tensor([[1.0, 0.4], [100.0, -100.0]]), 2)
    assert weights.tolist() == [[1.0, 0.0], [100.0, -100.0]]


def test_more_bits_are_closer_to_fp32() -> None:
    model, clips = tiny_model(), some_clips(1)
    wanted, observed = propagate_clips(TorchNetworks(model), SETTINGS, clips), observe(model, SETTINGS, clips)
    apart = [
        agreement(wanted, propagate_clips(simulated_parts(model, observed, bits), SETTINGS, clips)).logits
        for bits in (4, 8, 16)
    ]
    assert apart[0] > apart[1] > apart[2] and apart[2] < 0.02


def test_every_attention_gets_a_granularity_of_its_own() -> None:
    model, clips = tiny_model(), some_clips(1)
    observed = observe(model, SETTINGS, clips)
    grids = search_softmax(observed, 8)
    # Two of the one memory layer, and seven of the decoder's two layers and its last attention.
    assert len(grids) == 2 + 7
    wanted = propagate_clips(TorchNetworks(model), SETTINGS, clips)
    assert agreement(wanted, propagate_clips(simulated_parts(model, observed, 8, grids), SETTINGS, clips)).dice > 0.8


def test_the_table_states_what_is_simulated() -> None:
    variants = (
        Variant("INT8 as shipped", "ONNX Runtime", Fidelity(0.999, 0.99, 0.01)),
        Variant("W6A6 + AGQ", "simulated in torch", Fidelity(0.9, 0.8, 0.2)),
    )
    table = markdown(Ablation(variants, (Integration("final", True, 5, 32),)), "A tiny model.")
    assert "| W6A6 + AGQ | simulated in torch | 0.9000 | 0.8000 | 0.2000 |" in table
    assert "final (5 of 32 channels turned)" in table
    assert "BIG changes nothing" in markdown(Ablation(variants, ()), "A tiny model.")
