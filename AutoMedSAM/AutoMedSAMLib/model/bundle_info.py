"""The models there are to choose from, read from their bundles' manifests."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from automedsam.contract.backend_files import can_make_int8, required_for
from automedsam.contract.backends import Backend
from automedsam.contract.manifest import MANIFEST_NAME, manifest_hash, read_manifest
from automedsam.contract.roles import Role
from AutoMedSAMLib.errors import AutoMedSAMError

BUILT_IN = Path(__file__).resolve().parents[2] / "automedsam" / "bundles"
# What the panel offers.
PANEL_BACKENDS = (Backend.INT8, Backend.FP32_TORCH)


@dataclass(frozen=True)
class Model:
    """What the panel and the logic need to know of a bundle; the engine itself reads the rest.

    Attributes:
        name: the short name that a user types.
        folder: the folder of the manifest.
        task: what it finds, in a few words.
        version: the bundle's own version.
        terms: the terms of use of its weights.
        modalities: what the volumes must be, in this order.
        plane: the plane of the slices that the detector was trained on: "axial", "coronal" or "sagittal".
        segments: `{"value", "name", "color", "terminology", "inside"}` for each label that it writes; `inside` is
            the value of the segment that it is a part of, or None.
        threshold: the score, 0 to 1, from which it accepts a box.
        has_detector: whether it finds objects by itself.
        precisions: the panel's backends ("int8", "fp32") whose files are here.
        hash: SHA-256 of the manifest as it was installed, which names the hashes of all other files.
        reference: the FP32 backend whose files are here, "fp32-onnx" or "fp32", to compare INT8 with; empty if none.
        words: the manifest's "roles": what modalities are also called.
        int8_can_be_made: whether a run in INT8 makes the INT8 files first, from the PyTorch weights that are here.
        caution: why none of its results is to be trusted, as the manifest has it; empty if that is not so.
    """

    name: str
    folder: Path
    task: str
    version: str
    terms: str
    modalities: tuple[str, ...]
    plane: str
    segments: list[dict[str, Any]]
    threshold: float
    has_detector: bool
    precisions: frozenset[str]
    hash: str
    reference: str = ""
    words: dict[str, Any] = field(default_factory=dict)
    int8_can_be_made: bool = False
    caution: str = ""

    @property
    def backends(self) -> frozenset[str]:
        """The panel's backends that can be chosen: those whose files are here, and INT8 where a run makes them."""
        return self.precisions | ({Backend.INT8.value} if self.int8_can_be_made else frozenset())

    @property
    def making_note(self) -> str:
        """What the first run in INT8 does, where it makes the INT8 files; empty if they are here or cannot be made."""
        if not self.int8_can_be_made:
            return ""
        message = _(
            "The first run in INT8 makes the INT8 files of {model} with the chosen volume. It happens once, takes "
            "minutes and needs PyTorch; later runs in INT8 do not."
        )
        return message.format(model=self.name)

    @property
    def no_comparison(self) -> str:
        """Why INT8 and FP32 cannot be compared, as a sentence; empty if the files of both are here."""
        if self.reference and Backend.INT8.value in self.precisions:
            return ""
        missing = Backend.FP32_TORCH if Backend.INT8.value in self.precisions else Backend.INT8
        message = _("The model {model} has no {backend} files here, so INT8 and FP32 cannot be compared.")
        if self.int8_can_be_made:
            message = _("The model {model} has no {backend} files yet: run it in INT8 once, which makes them.")
        return message.format(model=self.name, backend=missing.value.upper())

    @property
    def roles(self) -> tuple[Role, ...]:
        """The modalities, and by which other words volumes are recognized."""
        return Role.of_manifest({"modalities": self.modalities, "roles": self.words})

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def built_in_models() -> list[Model]:
    """The models that come with the extension, in the engine's order: automatic ones, then those of prompts.

    Models with a caution are last.
    """
    models = [read_model(path.parent) for path in BUILT_IN.glob(f"*/{MANIFEST_NAME}")]
    return sorted(models, key=lambda one: (bool(one.caution), not one.has_detector, len(one.modalities), one.name))


def find_model(name_or_folder: str | Path, others: Iterable[Model] = ()) -> Model:
    """A built-in model, or one of the others, by its name, or any by its bundle's folder.

    Raises:
        AutoMedSAMError: If there is none, or its manifest cannot be read.
    """
    models = [*built_in_models(), *others]
    for model in models:
        if model.name == str(name_or_folder):
            return model
    if _is_bundle(Path(name_or_folder)):
        return read_model(Path(name_or_folder))
    known = ", ".join(model.name for model in models)
    message = _("There is no model {name}: choose one of {known}, or give a bundle's folder.")
    raise AutoMedSAMError(message.format(name=name_or_folder, known=known))


def read_model(folder: Path) -> Model:
    """Reads a bundle's manifest.

    Raises:
        AutoMedSAMError: If the manifest is not there or not what it should be.
    """
    folder = Path(folder)
    manifest = _manifest_of(folder)
    here = [backend.value for backend in Backend if _runs_on(backend, manifest, folder)]
    try:
        hash_ = manifest_hash(folder, manifest)
    except OSError as error:
        raise _unreadable(folder, error) from error
    return Model(
        name=manifest["name"],
        folder=folder,
        task=manifest["task"],
        version=manifest["version"],
        terms=manifest["license"],
        modalities=tuple(manifest["modalities"]),
        plane=manifest["plane"],
        segments=[_segment(entry) for entry in manifest["segments"]],
        threshold=float(manifest["detector"]["score_threshold"]),
        has_detector=bool(manifest["detector"]["files"]),
        precisions=frozenset(backend.value for backend in PANEL_BACKENDS if backend.value in here),
        hash=hash_,
        reference=next((one.value for one in (Backend.FP32_ONNX, Backend.FP32_TORCH) if one.value in here), ""),
        words=manifest.get("roles", {}),
        int8_can_be_made=Backend.FP32_TORCH.value in here and can_make_int8(manifest),
        caution=manifest.get("caution", ""),
    )


def _manifest_of(folder: Path) -> dict[str, Any]:
    try:
        if not (folder / MANIFEST_NAME).is_file():
            message = _("The folder {folder} has no {file}: choose the folder of a model.")
            raise AutoMedSAMError(message.format(folder=folder, file=MANIFEST_NAME))
        return read_manifest(folder)
    except OSError as error:
        raise _unreadable(folder, error) from error
    except ValueError as error:
        # A path with a null character, for one.
        message = _("{path} is not a folder: choose the folder of a model.")
        raise AutoMedSAMError(message.format(path=repr(str(folder)))) from error


def _unreadable(folder: Path, error: OSError) -> AutoMedSAMError:
    message = _("The model in {folder} cannot be read ({error}): choose a folder that you may read.")
    return AutoMedSAMError(message.format(folder=folder, error=error.strerror), repr(error))


def _segment(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "value": int(entry["value"]),
        "name": str(entry["name"]),
        "color": tuple(float(part) for part in entry["color"]),
        "terminology": str(entry["terminology"]),
        "inside": entry.get("inside"),
    }


def _is_bundle(folder: Path) -> bool:
    try:
        return (folder / MANIFEST_NAME).is_file()
    except (OSError, ValueError):
        return False


def _runs_on(backend: Backend, manifest: dict[str, Any], folder: Path) -> bool:
    required = required_for(manifest, backend)
    try:
        return required is not None and all((folder / name).is_file() for name in required.values())
    except (OSError, ValueError):
        return False  # a name that this computer cannot have
