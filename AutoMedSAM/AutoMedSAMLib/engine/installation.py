"""What the engine needs and Slicer lacks: asked for and installed on the first run, never before."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from automedsam.contract.backends import Backend
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.bundle_info import Model, read_model

_RESOURCES = Path(__file__).resolve().parents[2] / "Resources"
REQUIREMENTS = _RESOURCES / "requirements.txt"
FOR_DOWNLOADS = _RESOURCES / "requirements-models.txt"
FOR_INT8 = _RESOURCES / "requirements-int8.txt"

# Slicer's own, which no installation may replace.
_SLICERS_OWN = ("numpy", "SimpleITK", "vtk")
_REQUESTER = "AutoMedSAM"
_SAM2_NEEDS = ("hydra-core", "iopath", "pillow", "tqdm")
# These pure Python packages have no wheels.
_SOURCE_ONLY = "sam2,iopath,antlr4-python3-runtime"


class _DeclinedError(AutoMedSAMError):
    """The user declined an installation."""


def ensure(backend: str) -> None:
    """Installs what a backend lacks, and asks before.

    While Slicer is being tested, nothing is asked or installed.

    Args:
        backend: "int8" or "fp32".

    Raises:
        AutoMedSAMError: If the user declined, the installation failed, or the PyTorch extension is missing.
    """
    if slicer.app.testingEnabled():
        return
    with _constraints() as constraints:
        _ensure_requirements(constraints, REQUIREMENTS, _("the engine"))
        if backend == Backend.FP32_TORCH:
            _ensure_pytorch(
                constraints,
                _("The FP32 backend"),
                _(
                    "The FP32 backend needs PyTorch: install the extension PyTorch in the Extensions Manager and "
                    "restart Slicer, or choose INT8, which does not need it."
                ),
            )


def ensure_run(model: Model, backend: str) -> None:
    """Installs what a run lacks, and asks before; also what makes INT8 files, where the run has to make them first.

    Args:
        model: the model.
        backend: "int8" or "fp32".

    Raises:
        AutoMedSAMError: As `ensure` does, or if the model cannot be read any more.
    """
    ensure(backend)
    if slicer.app.testingEnabled() or backend in model.precisions or backend in read_model(model.folder).precisions:
        return
    with _constraints() as constraints:
        _ensure_pytorch(
            constraints,
            _("Making INT8 files"),
            _(
                "Making INT8 files needs PyTorch: install the extension PyTorch in the Extensions Manager and restart "
                "Slicer. Once they are made, it is not needed any more."
            ),
        )
        _ensure_requirements(constraints, FOR_INT8, _("making INT8 files"))


def ensure_downloads() -> None:
    """Installs what downloads of models lack, and asks before.

    While Slicer is being tested, nothing is asked or installed.

    Raises:
        AutoMedSAMError: If the user declined, or the installation failed.
    """
    if slicer.app.testingEnabled():
        return
    try:
        with _constraints() as constraints:
            _ensure_requirements(constraints, REQUIREMENTS, _("the engine"))
            _ensure_requirements(constraints, FOR_DOWNLOADS, _("downloads of models"))
    except _DeclinedError as error:
        message = _(
            "Nothing was downloaded, since installing the packages was declined; click again to be asked again."
        )
        raise AutoMedSAMError(message) from error


def are_met() -> bool:
    """Whether the engine can run as it is: nothing is asked or installed."""
    return all(_is_installed(line) for line in _requirement_lines())


def _ensure_requirements(constraints: Path, path: Path, purpose: str) -> None:
    try:
        from slicer import packaging
    except ImportError:
        _ensure_requirements_without_packaging(constraints, path, purpose)
        return

    def install() -> None:
        packaging.pip_ensure(packaging.load_requirements(str(path)), requester=_REQUESTER, constraints=str(constraints))

    with _wheels_only():
        _attempt(_("the packages for {purpose}").format(purpose=purpose), install)


def _ensure_requirements_without_packaging(constraints: Path, path: Path, purpose: str) -> None:
    """Slicer 5.10 and older."""
    missing = [line for line in _requirement_lines(path) if not _is_installed(line)]
    if not missing:
        return
    question = _("AutoMedSAM needs {packages} for {purpose}. Install from PyPI into Slicer's Python now?")
    _ask(question.format(packages=", ".join(missing), purpose=purpose))
    options = ["--only-binary=:all:", "--constraint", str(constraints)]
    _attempt(", ".join(missing), lambda: slicer.util.pip_install([*options, *missing]))


def _ensure_pytorch(constraints: Path, purpose: str, no_extension: str) -> None:
    """Installs PyTorch and sam2; `no_extension` is the sentence for Slicer without its PyTorch extension."""
    if importlib.util.find_spec("torch") is None:
        try:
            import PyTorchUtils
        except ImportError as error:
            raise AutoMedSAMError(no_extension) from error

        torch = "PyTorch"

        def install_torch() -> None:
            if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True) is None:
                raise _declined(torch)

        _attempt(torch, install_torch)
    if importlib.util.find_spec("sam2") is None:
        question = _("{purpose} needs sam2 and {packages}. Install them into Slicer's Python now?")
        _ask(question.format(purpose=purpose, packages=", ".join(_SAM2_NEEDS)))
        options = ["--constraint", str(constraints)]
        wheels = ["--only-binary=:all:", f"--no-binary={_SOURCE_ONLY}"]

        def install_sam2() -> None:
            # Without --no-deps sam2 would bring a torch of its own, and torchvision, which is never imported.
            slicer.util.pip_install([*options, "--no-deps", "--no-build-isolation", "sam2>=1.1.0"])
            slicer.util.pip_install([*options, *wheels, *_SAM2_NEEDS])

        _attempt("sam2", install_sam2)


def _attempt(what: str, install: Callable[[], object]) -> None:
    try:
        install()
    except AutoMedSAMError:
        raise
    except Exception as error:
        if "declined" in str(error).lower():
            raise _declined(what) from error
        message = _("Installing {packages} failed; check the network connection, see the details, and try again.")
        raise AutoMedSAMError(message.format(packages=what), repr(error)) from error


def _ask(question: str) -> None:
    if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_REQUESTER):
        raise _declined(_("the packages"))


def _declined(what: str) -> AutoMedSAMError:
    message = _("Nothing was run, since installing {packages} was declined; click Apply to be asked again.")
    return _DeclinedError(message.format(packages=what))


def _requirement_lines(path: Path = REQUIREMENTS) -> Sequence[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def _is_installed(line: str) -> bool:
    from packaging.requirements import Requirement

    requirement = Requirement(line)
    try:
        return requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return False


@contextmanager
def _constraints() -> Iterator[Path]:
    """A file for pip that holds Slicer's own packages at the versions that are there."""
    lines = []
    for name in _SLICERS_OWN:
        try:
            lines.append(f"{name}=={importlib.metadata.version(name)}\n")
        except importlib.metadata.PackageNotFoundError:
            continue
    with tempfile.TemporaryDirectory(prefix="AutoMedSAM-", dir=slicer.app.temporaryPath) as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text("".join(lines), encoding="utf-8")
        yield path


@contextmanager
def _wheels_only() -> Iterator[None]:
    """`pip_ensure` passes no options on; pip reads this one from its environment as well."""
    name = "PIP_ONLY_BINARY"
    before = os.environ.get(name)
    os.environ[name] = ":all:"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
