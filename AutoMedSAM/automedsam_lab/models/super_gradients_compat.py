"""Lets super-gradients 3.7.1 run on today's torch, numpy and Python; import it before super_gradients.

The package is unmaintained and imports many packages at import time that the detector never uses. Those
that are absent are replaced by empty stand-ins, `pkg_resources` by a small one, and `torchvision.ops.nms`
by a plain one where torchvision was built for CUDA and torch for the CPU.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
import types
from collections.abc import Sequence
from typing import Any

import torch

from automedsam.errors import AutoMedSAMError

_UNUSED = [
    "data_gradients",
    "boto3",
    "botocore",
    "seaborn",
    "pandas",
    "onnxsim",
    "imagesize",
    "jsonschema",
    "einops",
    "requests",
    "treelib",
    "tensorboard",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "stringcase",
    "deprecated",
    "scipy",
    "rapidfuzz",
]
_SETTINGS = {
    "CRASH_HANDLER": "FALSE",
    "UPLOAD_LOGS": "FALSE",
    "CONSOLE_LOG_LEVEL": "WARNING",
    "SUPER_GRADIENTS_LOG_DIR": tempfile.gettempdir(),
}


class _AnyMeta(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __or__(cls, other: Any) -> Any:
        return cls

    def __ror__(cls, other: Any) -> Any:
        return cls


class _StandIn(metaclass=_AnyMeta):
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) else self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandIn


class _StandInError(Exception):
    pass


class _StandInModule(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.endswith(("Error", "Exception", "NotFound")):
            return _StandInError
        return type(name, (_StandIn,), {})


class _StandInFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, roots: set[str]) -> None:
        self._roots = roots

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] in self._roots:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _StandInModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__path__ = []


@functools.cache
def install() -> None:
    """Make `import super_gradients` work in this process; calling it again does nothing.

    Raises:
        AutoMedSAMError: super-gradients is not installed.
    """
    if not _present("super_gradients"):
        message = (
            "Training a detector needs super-gradients; install it with "
            "'pip install --no-deps super-gradients==3.7.1' and the packages that docs/training.md names."
        )
        raise AutoMedSAMError(message)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    absent = {name for name in _UNUSED if not _present(name)}
    finder = _StandInFinder(absent)
    sys.meta_path.append(finder)
    try:
        if not _present("pkg_resources"):
            sys.modules["pkg_resources"] = _package_resources()
        _repair_torchvision()
        importlib.import_module("super_gradients.training")
    finally:
        # Once super-gradients is in, nobody else may meet a stand-in where a package is absent.
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if type(module) is _StandInModule]:
            del sys.modules[name]


def _present(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _package_resources() -> types.ModuleType:
    import packaging.version

    class DistributionNotFound(Exception):  # noqa: N818  the name in pkg_resources
        pass

    def resource_filename(package: str, resource: str) -> str:
        folder = os.path.dirname(str(importlib.import_module(package).__file__))
        return os.path.join(folder, resource) if resource else folder

    def get_distribution(name: str) -> types.SimpleNamespace:
        try:
            return types.SimpleNamespace(version=importlib.metadata.version(name), project_name=name)
        except importlib.metadata.PackageNotFoundError as error:
            raise DistributionNotFound(name) from error

    module: Any = types.ModuleType("pkg_resources")
    module.parse_version = packaging.version.parse
    module.resource_filename = resource_filename
    module.parse_requirements = lambda text: []
    module.working_set = [
        types.SimpleNamespace(key=found.name.lower(), version=found.version, project_name=found.name)
        for found in importlib.metadata.distributions()
        if found.name
    ]
    module.DistributionNotFound = DistributionNotFound
    module.get_distribution = get_distribution
    return module


def _repair_torchvision() -> None:
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.impl("nms", _nms, "CPU")
        _LIBRARIES.append(library)
        extension: Any = importlib.import_module("torchvision.extension")
        extension._has_ops = lambda: True


# A torch library's operators live as long as the object does.
_LIBRARIES: list[torch.library.Library] = []


def _nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    order = scores.argsort(descending=True, stable=True)
    kept: list[int] = []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(int(first))
        low = torch.maximum(boxes[first, :2], boxes[rest, :2])
        high = torch.minimum(boxes[first, 2:], boxes[rest, 2:])
        common = (high - low).clamp(min=0).prod(1)
        area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
        order = rest[common <= threshold * (area[first] + area[rest] - common)]
    return torch.tensor(kept, dtype=torch.int64)
