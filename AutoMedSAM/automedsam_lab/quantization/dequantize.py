"""From quantized graphs back to weights that training can go on from.

The FP32 files of a bundle are large and often not at hand; its INT8 files always are. Each weight comes back
rounded as INT8 has it (Jacob et al., CVPR 2018, equation 1): the checkpoint is a beginning for further training, and
not what the bundle was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from automedsam.errors import AutoMedSAMError
from automedsam.quantization.quantizer import GEMM_SUFFIX

_QUANTIZED = "_quantized"
_TRANSPOSED = "_Transposed"
_SPREAD = 0.02
_SAME = 1e-5


class WeightLocation(NamedTuple):
    """Where a weight lies in exported graphs.

    Attributes:
        graph: the FP32 file.
        initializer: its name there.
        first: where in the flat initializer it begins; the decoder's tokens are stored as one.
        transposed: whether it lies there as `(inputs, outputs)`, the other way round than in torch.
    """

    graph: Path
    initializer: str
    first: int
    transposed: bool


def randomize_weights(model: nn.Module) -> None:
    """Makes every weight differ from all others, and every batch norm add its bias and do nothing else.

    An exporter folds batch norms into the convolutions before them. With norms like these a folded weight is the
    convolution's own and a folded bias the norm's, so that `trace` finds both.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * _SPREAD)
        for before, norm in _norms(model):
            norm.weight.fill_(1.0)
            _statistics(norm)[0].zero_()
            _statistics(norm)[1].fill_(1.0 - norm.eps)
            if before is not None and before.bias is not None:
                before.bias.zero_()


def trace(model: nn.Module, graphs: Iterable[Path]) -> dict[str, WeightLocation]:
    """Finds the weights of a randomised model in its exported FP32 graphs.

    Returns:
        Places by the weight's name; weights that no graph holds are left out.
    """
    import onnx
    from onnx import numpy_helper

    weights = {name: values.detach().numpy() for name, values in model.named_parameters()}
    found: dict[str, WeightLocation] = {}
    for path in graphs:
        for initializer in onnx.load(path).graph.initializer:
            if initializer.data_type == onnx.TensorProto.FLOAT:
                stored = numpy_helper.to_array(initializer)
                for name, weight in weights.items():
                    if name not in found and (lies := _lies(weight, stored)) is not None:
                        found[name] = WeightLocation(path, initializer.name, *lies)
    return found


def dequantize(path: Path) -> dict[str, NDArray[np.float32]]:
    """The float weights of a quantized graph, as they lay in the FP32 graph that it was made from.

    Args:
        path: an ONNX file with weights behind `DequantizeLinear` or `MatMulInteger`, or plain ones.

    Returns:
        Weights by the name of the FP32 graph's initializer.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    stored = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    found = {name: values for name, values in stored.items() if values.dtype == np.float32}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            whole, scale, zero = (stored[name] for name in node.input)
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            found[node.input[0].removesuffix(_QUANTIZED)] = _scaled(whole, scale, zero, axis)
        elif node.op_type == "MatMulInteger" and node.input[1] in stored:
            base = node.input[1].removesuffix(_QUANTIZED)
            whole, scale, zero = (stored[name] for name in (node.input[1], f"{base}_scale", node.input[3]))
            found[base] = _scaled(whole, scale, zero, 1)
        # ONNX Runtime's quantizer makes a Gemm a product with the transposed weight, and a sum.
        if node.name.removesuffix("_quant").endswith(GEMM_SUFFIX):
            base = node.input[1].removesuffix(_QUANTIZED)
            if base in found:
                # From 1.32 on, the transposed weight has a name of its own.
                found[base.removesuffix(_TRANSPOSED)] = np.ascontiguousarray(found[base].T)
    return found


def fill(model: nn.Module, places: Mapping[str, WeightLocation], weights: Mapping[Path, Mapping[str, Any]]) -> None:
    """Gives a model the weights of quantized graphs.

    Args:
        model: as `trace` saw it.
        places: what `trace` found.
        weights: what `dequantize` found, by the FP32 graph of the same part.

    Raises:
        AutoMedSAMError: if a weight is not there or has another size.
    """
    state = model.state_dict()
    for name, place in places.items():
        stored = weights[place.graph].get(place.initializer)
        size = state[name].numel()
        if stored is None or stored.size < place.first + size:
            message = (
                f"{place.graph.stem} of the bundle does not hold {name} as this version exports it: take the FP32 "
                "files, or the version that made the bundle."
            )
            raise AutoMedSAMError(message)
        shape = tuple(state[name].shape)
        flat = stored.ravel()[place.first : place.first + size]
        state[name] = torch.tensor(flat.reshape(shape[::-1]).T if place.transposed else flat.reshape(shape))
    model.load_state_dict(state)


def recalibrate_batchnorm(model: nn.Module, show: Callable[[], object]) -> None:
    """Gives batch norms the statistics of real images again, without changing what the network computes.

    Training normalises by the batch, and a folded norm no longer knows what it divided by. Each norm takes the mean
    and variance that it sees, and a weight and bias that undo them.

    Args:
        model: in evaluation mode.
        show: runs the model on images.
    """
    seen: dict[nn.Module, tuple[Tensor, Tensor, int]] = {}

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].double().transpose(0, 1).flatten(1)
        total, squares, count = seen.get(norm, (torch.zeros(()), torch.zeros(()), 0))
        seen[norm] = total + values.sum(1), squares + values.square().sum(1), count + values.shape[1]

    hooks = [norm.register_forward_pre_hook(look) for _, norm in _norms(model)]
    with torch.no_grad():
        show()
        for hook in hooks:
            hook.remove()
        for _, norm in _norms(model):
            if norm not in seen:
                continue
            total, squares, count = seen[norm]
            mean, variance = _statistics(norm)
            slope = norm.weight.double() / (variance.double() + norm.eps).sqrt()
            offset = norm.bias.double() - slope * mean.double()
            mean.copy_(total / count)
            variance.copy_((squares / count - (total / count).square()).clamp_min(0))
            norm.weight.copy_(slope * (variance.double() + norm.eps).sqrt())
            norm.bias.copy_(offset + slope * mean.double())


def _lies(weight: NDArray[np.float32], stored: NDArray[np.float32]) -> tuple[int, bool] | None:
    """Where in an initializer a weight begins, and whether it is transposed; None if it is not there."""
    if stored.size == weight.size:
        if np.allclose(stored.ravel(), weight.ravel(), _SAME, _SAME):
            return 0, False
        if weight.ndim == 2 and np.allclose(stored.ravel(), weight.T.ravel(), _SAME, _SAME):
            return 0, True
    elif weight.ndim == 2 and stored.ndim > 1 and weight.shape[1] == stored.shape[-1] and weight.size < stored.size:
        rows = stored.reshape(-1, stored.shape[-1])
        starts = np.flatnonzero(np.isclose(rows[:, 0], weight[0, 0], _SAME, _SAME))
        for row in starts[starts <= len(rows) - len(weight)]:
            if np.allclose(rows[row : row + len(weight)], weight, _SAME, _SAME):
                return int(row) * weight.shape[1], False
    return None


def _norms(model: nn.Module) -> Iterator[tuple[nn.Conv2d | None, nn.BatchNorm2d]]:
    """Each batch norm, and the convolution whose sums it takes if that one has a bias of its own."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                # YOLO-NAS's fused blocks (QARepVGG) alone have a convolution with a bias before a norm.
                before = getattr(module, "rbr_reparam", None) if name == "post_bn" else None
                yield before, child


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean, norm.running_var


def _scaled(whole: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any], axis: int) -> NDArray[np.float32]:
    """`scale * (whole - zero)`, along an axis where each channel has its own."""
    shape = [-1 if at == axis % whole.ndim else 1 for at in range(whole.ndim)] if scale.size > 1 else [1] * whole.ndim
    values = (whole.astype(np.float64) - zero.astype(np.float64).reshape(shape)) * scale.reshape(shape)
    return np.asarray(values, np.float32)
