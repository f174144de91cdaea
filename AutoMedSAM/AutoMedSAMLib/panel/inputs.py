"""The upper part of the panel: which model, which image, where to, and how."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AutoMedSAMLib.engine.input_check import names_of
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.bundle_info import PANEL_BACKENDS, Model, read_model
from AutoMedSAMLib.model.run import RunRequest
from AutoMedSAMLib.model.volume_roles import Role, match
from AutoMedSAMLib.panel.models_dialog import ModelsDialog
from AutoMedSAMLib.panel.resample_button import ResampleButton, grid_problem
from AutoMedSAMLib.panel.whole_text import WholeText
from AutoMedSAMLib.scene.geometry import ijk_to_ras, shape_of
from AutoMedSAMLib.scene.output_segmentation import name_of_result
from AutoMedSAMLib.scene.parameters import Parameters
from AutoMedSAMLib.scene.planes import PLANES, default_plane, display_name, slice_axis

_BACKENDS = tuple(backend.value for backend in PANEL_BACKENDS)
# The row of the form below which the volume selectors go, after the model and what it finds.
_FIRST_VOLUME_ROW = 2


class InputsPanel:
    """Shows the settings of the parameter node and writes the user's choices to it.

    Args:
        ui: the panel's widgets by name.
        parameters: where the settings are kept.
        logic: knows the models and the device; an `AutoMedSAMLogic`.
        show_status: shows a sentence in the status line.
        clear_status: clears the status line, if it still shows this sentence.
    """

    def __init__(
        self,
        ui: Any,
        parameters: Parameters,
        logic: Any,
        show_status: Callable[[str], None],
        clear_status: Callable[[str], None],
    ) -> None:
        self._ui, self._parameters, self._logic = ui, parameters, logic
        self._show_status, self._clear_status = show_status, clear_status
        self._complaint = ""
        self._whole_text = WholeText([ui.modelTaskLabel])
        self._models: list[Model] = logic.models()
        self._model: Model | None = None
        self._unreadable = ""
        self._model_problem = _("No model was found: install the extension again, or choose a model's folder.")
        self._updating = False
        self._asked_device: tuple[str, int] | None = None
        self._questions = 0
        self.volume_selectors: list[Any] = []
        self.models_dialog: ModelsDialog | None = None
        self.resample = ResampleButton(self._on_resampled, show_status)
        # The selectors are inserted above it.
        ui.inputsForm.insertRow(_FIRST_VOLUME_ROW, self.resample.widget)
        ui.modelSelector.connect("activated(int)", self._on_model)
        ui.modelFolderButton.connect("clicked(bool)", lambda *_: self._on_model_folder())
        ui.modelsButton.connect("clicked(bool)", lambda *_: self.open_models())
        ui.segmentationSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_segmentation)
        ui.backendSelector.connect("currentIndexChanged(int)", self._on_backend)
        ui.planeSelector.connect("currentIndexChanged(int)", self._on_plane)
        ui.slicesRange.connect("valuesChanged(double,double)", self._on_slices)

    @property
    def model(self) -> Model | None:
        """The chosen model; None if there is none at all."""
        return self._model

    def request(self) -> RunRequest | None:
        """What a run is asked for; None while something is missing."""
        model, parameters = self._model, self._parameters
        if model is None or self.missing_input():
            return None
        return RunRequest(
            tuple(self._chosen_volumes()),
            parameters.segmentation,
            model,
            parameters.backend,
            parameters.threshold,
            parameters.plane,
            parameters.slices,
        )

    def missing_input(self) -> str:
        """What is missing for a run and what to do, as a sentence; empty if nothing is."""
        if self._model is None:
            return self._model_problem
        seen: dict[str, str] = {}
        for index, modality in enumerate(self._model.modalities):
            volume = self._parameters.volume(index)
            if volume is None:
                if not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
                    return _("Load a {modality} image first: drop it on the window.").format(modality=modality)
                return _("Choose the {modality} volume.").format(modality=modality)
            if volume.GetID() in seen:
                message = _("{volume} is chosen as {one} and as {other}: choose two volumes.")
                return message.format(volume=volume.GetName(), one=seen[volume.GetID()], other=modality)
            seen[volume.GetID()] = modality
        problem = grid_problem(self._chosen_volumes())
        if problem:
            return problem
        if self._parameters.backend not in self._model.backends:
            message = _("The model {model} has no {backend} files here. Choose the other backend.")
            return message.format(model=self._model.name, backend=self._parameters.backend.upper())
        return ""

    def choose_defaults(self) -> None:
        """Chooses the first model and a likely volume where none is chosen yet."""
        parameters = self._parameters
        if not parameters.model and self._models:
            parameters.model = self._models[0].name
        self.update()
        roles = self._model.roles if self._model else ()
        chosen = [parameters.volume(index) for index in range(len(roles))]
        for index, volume in enumerate(_likely_volumes(roles, chosen)):
            parameters.set_volume(index, volume)

    def update(self) -> None:
        """Shows the settings of the parameter node."""
        self._updating = True
        try:
            self._show_model()
            for index, selector in enumerate(self.volume_selectors):
                selector.setCurrentNode(self._parameters.volume(index))
            self.resample.update(self._chosen_volumes())
            self._show_output()
            self._ui.backendSelector.currentIndex = _BACKENDS.index(self._parameters.backend)
            plane = self._parameters.plane
            self._ui.planeSelector.currentIndex = 0 if plane is None else 1 + PLANES.index(plane)
            self._show_slices()
        finally:
            self._updating = False
        self._ask_device()

    def choose_model(self, name_or_folder: str) -> Model | None:
        """Chooses a model; gives it, or None with the reason in the status line."""
        self._parameters.model = name_or_folder
        self.update()
        if self._model is None:
            self._show_status(self._model_problem)
        return self._model

    def set_running(self, running: bool) -> None:
        """While a run is in progress, its settings cannot be changed."""
        self._ui.inputsButton.enabled = self._ui.advancedButton.enabled = not running

    def _show_model(self) -> None:
        model = self._chosen_model()
        selector = self._ui.modelSelector
        entries = [f"{one.name.capitalize()} {one.version}" for one in self._models]
        if [selector.itemText(index) for index in range(selector.count)] != entries:
            selector.clear()
            for entry in entries:
                selector.addItem(entry)
        selector.currentIndex = -1 if model is None else self._models.index(model)
        if model != self._model:
            self._model = model
            self._whole_text.set(self._ui.modelTaskLabel, model.task if model else "")
            self._make_volume_selectors(model.modalities if model else ())
            self._grey_out_backends()

    def _chosen_model(self) -> Model | None:
        """The model that the parameter node names; never another in its place, which would go unnoticed."""
        wanted = self._parameters.model
        if not wanted:
            return next(iter(self._models), None)
        known = next((one for one in self._models if wanted in (one.name, str(one.folder))), None)
        if known is None and wanted != self._unreadable:
            try:
                known = self._add_model(Path(wanted))
            except AutoMedSAMError as error:
                self._unreadable, self._model_problem = wanted, str(error)
        if known is not None and known.int8_can_be_made:
            # A run may have made its INT8 files since.
            with suppress(AutoMedSAMError):
                if not read_model(known.folder).int8_can_be_made:
                    known = self._add_model(known.folder)
        return known

    def _add_model(self, folder: Path) -> Model:
        """Reads a model's folder, again if it is known: it may have been trained again."""
        model = read_model(folder)
        places = [index for index, one in enumerate(self._models) if _is_same_folder(one.folder, folder)]
        if places:
            model = replace(model, folder=self._models[places[0]].folder)
            self._models[places[0]] = model
        else:
            self._models.append(model)
        return model

    def _grey_out_backends(self) -> None:
        """An entry whose files the model lacks cannot be chosen, and its tool tip gives the reason."""
        model, selector = self._model, self._ui.backendSelector
        for index, backend in enumerate(_BACKENDS):
            item = selector.model().item(index)
            tip = ""
            if model is not None and backend not in model.backends:
                tip = _("The model {model} has no {backend} files here.")
                tip = tip.format(model=model.name, backend=backend.upper())
            item.setEnabled(not tip)
            if model is not None and not tip and backend not in model.precisions:
                tip = model.making_note
            item.setToolTip(tip)

    def _make_volume_selectors(self, modalities: tuple[str, ...]) -> None:
        for selector in self.volume_selectors:
            self._ui.inputsForm.removeRow(selector)
        self.volume_selectors = []
        for index, modality in enumerate(modalities):
            selector = slicer.qMRMLNodeComboBox()
            selector.objectName = f"volumeSelector{index}"
            selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
            # A label map is a scalar volume too, but no image.
            selector.showChildNodeTypes = False
            selector.noneEnabled = True
            selector.noneDisplay = _("Choose a volume")
            selector.addEnabled = selector.removeEnabled = selector.renameEnabled = False
            selector.selectNodeUponCreation = False
            selector.toolTip = _("The {modality} image to segment. It is never changed.").format(modality=modality)
            selector.setMRMLScene(slicer.mrmlScene)
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._volume_chooser(index))
            self._ui.inputsForm.insertRow(_FIRST_VOLUME_ROW + index, f"{modality}:", selector)
            self.volume_selectors.append(selector)

    def _show_output(self) -> None:
        """Names the segmentation that a run would make, as the selector's entry for a new one."""
        volume, model = self._parameters.volume(0), self._model
        name = _("segmentation") if volume is None or model is None else name_of_result(volume, model)
        self._ui.segmentationSelector.noneDisplay = _("New: {name}").format(name=name)
        self._ui.segmentationSelector.setCurrentNode(self._parameters.segmentation)

    def _show_slices(self) -> None:
        slices, volume, model = self._ui.slicesRange, self._parameters.volume(0), self._model
        known, last, as_acquired = False, 0, _("As acquired")
        if volume is not None and volume.GetImageData() is not None and model is not None:
            matrix, shape = ijk_to_ras(volume), shape_of(volume)
            acquired = default_plane(shape, matrix, model.plane)
            known, last = True, shape[slice_axis(self._parameters.plane or acquired, matrix)] - 1
            as_acquired = _("As acquired ({plane})").format(plane=display_name(acquired))
        chosen = self._parameters.slices or (0, last)
        slices.enabled = known
        slices.maximum = last
        slices.setValues(min(chosen[0], last), min(chosen[1], last))
        self._ui.planeSelector.setItemText(0, as_acquired)

    def _ask_device(self) -> None:
        question = (self._parameters.backend, id(self._model))
        if self._model is None or question == self._asked_device:
            return
        self._asked_device = question
        self._questions += 1
        number = self._questions

        def answer(text: str) -> None:
            if number == self._questions:
                self._ui.deviceLabel.text = text

        if self._parameters.backend not in self._model.precisions:
            made = self._parameters.backend in self._model.backends
            answer(_("The first run makes the INT8 files, once") if made else _("Files not installed"))
            return
        answer(_("Looking for a GPU ..."))
        self._logic.describe_device(self._parameters.backend, answer)

    # From the user

    def _can_write(self) -> bool:
        # While a scene is closed or loaded, selectors lose their nodes: that is not the user's choice.
        return not self._updating and not slicer.mrmlScene.IsBatchProcessing()

    def _on_model(self, index: int) -> None:
        if self._can_write() and 0 <= index < len(self._models):
            model = self._models[index]
            built_in = model.name if sum(one.name == model.name for one in self._models[: index + 1]) == 1 else ""
            self._choose(built_in or str(model.folder), model)

    def _on_model_folder(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(self._ui.modelFolderButton, _("Choose a model's folder"))
        if folder:
            self.use_model_folder(Path(folder))

    def open_models(self) -> None:
        """Opens the window in which models are downloaded, imported and removed."""
        detectors = [model.name for model in self._models if model.has_detector]
        window = self._ui.modelsButton.window()
        self.models_dialog = ModelsDialog(
            self._logic.model_requests, detectors, self.use_model_folder, self.forget_model_folder, window
        )
        self.models_dialog.open()

    def forget_model_folder(self, folder: Path) -> None:
        """Takes a model that was removed from the list, and chooses the first one if it was chosen."""
        gone = [model for model in self._models if _is_same_folder(model.folder, folder) or model.folder == folder]
        self._models = [model for model in self._models if model not in gone]
        if self._model in gone and self._models:
            self._choose(self._models[0].name, self._models[0])
        else:
            self.update()

    def use_model_folder(self, folder: Path) -> None:
        """Adds a model of the user's own and chooses it; shows what is wrong if it cannot be read."""
        try:
            model = self._add_model(folder)
        except AutoMedSAMError as error:
            self._complaint = str(error)
            self._show_status(self._complaint)
            return
        self._unreadable = ""
        self._choose(str(model.folder), model)

    def _choose(self, name_or_folder: str, model: Model) -> None:
        """Chooses a model. Volumes stay with their modality, not with their place among the selectors."""
        self._clear_status(self._complaint)
        parameters, before = self._parameters, self._model.modalities if self._model else ()
        volumes = {modality: parameters.volume(index) for index, modality in enumerate(before)}
        # If both models take a single image, it stays, whatever its name.
        if len(before) == len(model.modalities) == 1:
            volumes = {model.modalities[0]: volumes[before[0]]}
        with slicer.util.NodeModify(parameters.node):
            for index in range(max(len(before), len(model.modalities))):
                modality = model.modalities[index] if index < len(model.modalities) else ""
                parameters.set_volume(index, volumes.get(modality))
            if self._model is None or model.hash != self._model.hash:
                # A segmentation is named for its model, too.
                parameters.segmentation = None
            parameters.model = name_or_folder
            parameters.threshold = None
        self.choose_defaults()

    def _chosen_volumes(self) -> list[Any]:
        count = len(self._model.modalities) if self._model is not None else 0
        return [self._parameters.volume(index) for index in range(count)]

    def _on_resampled(self, index: int, volume: Any) -> None:
        self._parameters.set_volume(index, volume)
        self._show_status(_("{volume} was made and chosen.").format(volume=volume.GetName()))

    def _volume_chooser(self, index: int) -> Callable[[Any], None]:
        def choose(node: Any) -> None:
            if self._can_write() and node is not self._parameters.volume(index):
                self._parameters.slices = None
                self._parameters.set_volume(index, node)

        return choose

    def _on_segmentation(self, node: Any) -> None:
        if self._can_write():
            self._parameters.segmentation = node

    def _on_backend(self, index: int) -> None:
        if self._can_write():
            self._parameters.backend = _BACKENDS[index]

    def _on_plane(self, index: int) -> None:
        if self._can_write():
            self._parameters.slices = None
            self._parameters.plane = None if index == 0 else PLANES[index - 1]

    def _on_slices(self, first: float, last: float) -> None:
        if self._can_write():
            whole = first <= 0 and last >= self._ui.slicesRange.maximum
            self._parameters.slices = None if whole else (round(first), round(last))


def _likely_volumes(roles: tuple[Role, ...], chosen: list[Any]) -> list[Any]:
    """Volumes named like the modalities; the one that is shown, or the first, where there is but one to choose."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    images = [node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
    if None not in chosen or not images:
        return chosen
    places = [images.index(node) if node in images else None for node in chosen]
    found = match(roles, places, [names_of(node) for node in images])
    volumes = [node if place is None else images[place] for node, place in zip(chosen, found, strict=True)]
    if len(roles) > 1 or volumes[0] is not None:
        return volumes
    shown = [node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]
    return [next((node for node in images if node.GetID() in shown), images[0])]


def _is_same_folder(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve()
    except OSError:
        return one == other
