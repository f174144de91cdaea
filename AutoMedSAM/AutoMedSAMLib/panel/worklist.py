"""The worklist: the cases of a cohort, opened one after the other, corrected and saved where they came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from automedsam.contract.backends import Backend
from AutoMedSAMLib.engine.cohort_requests import CohortRequests
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.model.run import Message
from AutoMedSAMLib.panel import questions
from AutoMedSAMLib.scene.label_map import outer_first
from AutoMedSAMLib.scene.segment_ownership import managed_segments

CASE, STATE, UNCERTAINTY, VOLUME = range(4)
_NAME = qt.Qt.UserRole
_ROWS = 6
OPEN, FIX, ALL = range(3)


@dataclass(frozen=True)
class WorklistCalls:
    """What the worklist asks of the panel.

    Attributes:
        show_model: chooses a model by name or folder; gives it, or None if it cannot be read.
        show_case: shows the stored result of a case: its folder, its name, and its volumes in the model's order.
        run_on_scene: segments the images of the scene one after the other.
        is_busy: whether a run is in progress.
        settings: the model, the backend, the threshold and the plane that are chosen, as a request has them.
        show_status: shows a sentence in the status line.
        show_progress: shows how much is done, 0 to 1, and a sentence.
        set_running: called when a cohort begins, and when it has ended, with the reason if it failed.
    """

    show_model: Callable[[str], Model | None]
    show_case: Callable[[Path, str, list[Any]], None]
    run_on_scene: Callable[[], None]
    is_busy: Callable[[], bool]
    settings: Callable[[], Message | None]
    show_status: Callable[[str], None]
    show_progress: Callable[[float, str], None]
    set_running: Callable[[bool, str], None]


@dataclass
class _Shown:
    """The case that is open."""

    name: str
    volumes: list[Any]
    model: Model
    segmentation: Any = None


class Worklist:
    """Lists the cases of an output folder of `automedsam cohort`, uncertain ones first.

    Args:
        ui: the panel's widgets by name.
        requests: asks the engine.
        calls: asks the panel.
    """

    def __init__(self, ui: Any, requests: CohortRequests, calls: WorklistCalls) -> None:
        self._ui, self._requests, self._calls = ui, requests, calls
        self.folder: Path | None = None
        self.cases: list[Message] = []
        self._model = ""
        self._shown: _Shown | None = None
        self._loading = False
        tree = ui.worklistTree
        tree.setHeaderLabels([_("Case"), _("State"), _("Uncertainty"), _("ml")])
        header = tree.header()
        header.setStretchLastSection(False)
        for column in (CASE, STATE, UNCERTAINTY, VOLUME):
            mode = qt.QHeaderView.Stretch if column == CASE else qt.QHeaderView.ResizeToContents
            header.setSectionResizeMode(column, mode)
        tree.minimumHeight = (_ROWS + 1) * (tree.fontMetrics().lineSpacing() + 5)
        for text in (_("Not reviewed"), _("To fix"), _("All cases")):
            ui.worklistFilter.addItem(text)
        menu = qt.QMenu(ui.runOnButton)
        self.scene_action = menu.addAction(_("All images of the scene"))
        self.scene_action.connect("triggered(bool)", lambda *_: calls.run_on_scene())
        self.folder_action = menu.addAction(_("All images of a folder or a DICOM study ..."))
        self.folder_action.connect("triggered(bool)", lambda *_: self._on_run())
        ui.runOnButton.setMenu(menu)
        ui.openWorklistButton.connect("clicked(bool)", lambda *_: self._on_open())
        ui.worklistFilter.connect("currentIndexChanged(int)", lambda *_: self._fill())
        tree.connect("itemDoubleClicked(QTreeWidgetItem*,int)", lambda item, *_: self.open_case(item.data(CASE, _NAME)))
        tree.connect("itemSelectionChanged()", self.update)
        ui.nextCaseButton.connect("clicked(bool)", lambda *_: self.open_next())
        ui.saveCaseButton.connect("clicked(bool)", lambda *_: self.save())
        ui.fixCaseButton.connect("clicked(bool)", lambda *_: self.decide("fix"))
        ui.rejectCaseButton.connect("clicked(bool)", lambda *_: self.decide("reject"))
        self.update()

    @property
    def shown(self) -> str:
        """The name of the case that is open; empty if there is none."""
        return self._shown.name if self._shown is not None and self._is_there(self._shown) else ""

    def open_folder(self, folder: Path) -> None:
        """Lists the cases of an output folder."""

        def done(event: Message) -> None:
            self.folder, self.cases, self._model = folder, event["cases"], event["model"]
            self._fill()
            text = _("{title}: {count} cases, {left} not reviewed.")
            left = sum(not one["decision"] for one in self.cases)
            self._calls.show_status(text.format(title=event["title"], count=len(self.cases), left=left))

        self._try(lambda: self._requests.cases(folder, done, self._calls.show_status))

    def open_case(self, name: str) -> None:
        """Loads the image of a case and shows its result with its boxes; the case before goes, unless it was edited."""
        folder = self.folder
        if folder is None or self._calls.is_busy() or self._loading or name == self.shown:
            return
        model = self._calls.show_model(self._model)
        if model is None or not self._may_leave():
            return
        self._loading = True
        self.update()
        self._calls.show_status(_("Opening {case} ...").format(case=name))

        def done(_event: Message, volumes: list[Any]) -> None:
            self._loading = False
            self._shown = _Shown(name, volumes, model)
            self._calls.show_case(folder, name, volumes)
            self._fill()

        def failed(sentence: str) -> None:
            self._loading = False
            self._calls.show_status(sentence)
            self.update()

        self._try(lambda: self._requests.load(folder, name, done, failed))

    def note_result(self, segmentation: Any) -> None:
        """The result of the open case is in this segmentation now."""
        if self._shown is not None:
            self._shown.segmentation = segmentation
        self.update()

    def open_next(self) -> None:
        """Opens the case that follows in the list as it is filtered, or the first."""
        names = self._listed()
        here = names.index(self.shown) + 1 if self.shown in names else 0
        if here < len(names):
            self.open_case(names[here])
        else:
            self._calls.show_status(_("No case is left in this list."))

    def save(self) -> None:
        """Writes the segments of the open case, as they are now, in the place of its stored result, and accepts it."""
        shown, folder = self._shown, self.folder
        if shown is None or folder is None or not self.shown:
            return
        name, segmentation = shown.name, shown.segmentation

        def attempt() -> None:
            owned = managed_segments(segmentation, shown.model.name, shown.volumes[0], by_name=True)
            segments = {one["value"]: one for one in shown.model.segments}
            inside = {value: one["inside"] for value, one in segments.items() if one.get("inside") is not None}
            values = outer_first({value: own.id for value, own in owned.items()}, inside)
            result = segmentation, values
            self._requests.save(folder, name, result, shown.volumes[0], self._on_decided, self._calls.show_status)

        self._try(attempt)

    def decide(self, decision: str) -> None:
        """Saves a decision on the selected case, or the one that is open; its segmentation stays as it is."""
        name, folder = self._selected() or self.shown, self.folder
        if folder is not None and name:
            note = self._line(name).get("note", "")
            self._try(
                lambda: self._requests.decide(folder, name, decision, note, self._on_decided, self._calls.show_status)
            )

    def update(self) -> None:
        """Enables the buttons."""
        ui, busy = self._ui, self._calls.is_busy() or self._loading
        chosen = bool(self._selected() or self.shown)
        ui.openWorklistButton.enabled = ui.runOnButton.enabled = not busy
        ui.nextCaseButton.enabled = bool(self._listed()) and not busy
        shown = self._shown
        ui.saveCaseButton.enabled = (
            bool(self.shown) and shown is not None and shown.segmentation is not None and not busy
        )
        ui.fixCaseButton.enabled = ui.rejectCaseButton.enabled = chosen and not busy

    # A cohort from Slicer; see `CohortListener`

    def on_case(self, event: Message) -> None:
        text = _("{case} is done: {done} of {total}.") if not event["message"] else "{case}: {message}"
        self._calls.show_progress(
            event["done"] / event["total"],
            text.format(case=event["case"], done=event["done"], total=event["total"], message=event["message"]),
        )

    def on_cohort(self, event: Message) -> None:
        self._calls.set_running(False, "")
        self.open_folder(Path(event["folder"]))

    def on_cohort_failed(self, message: str) -> None:
        self._calls.set_running(False, message)

    def run_on(self, source: Path, folder: Path) -> None:
        """Segments all cases of a folder with the chosen model; the result is opened as a worklist."""
        settings = self._calls.settings()
        if settings is None:
            return

        def attempt() -> None:
            self._requests.run({"input": str(source), "folder": str(folder), **settings}, self)
            self._calls.set_running(True, "")

        self._try(attempt)

    # Within

    def _on_open(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(self._ui.openWorklistButton, _("Open the results of a cohort"))
        if folder:
            self.open_folder(Path(folder))

    def _on_run(self) -> None:
        ask = qt.QFileDialog.getExistingDirectory
        source = ask(self._ui.runOnButton, _("Choose the folder with the images"))
        folder = ask(self._ui.runOnButton, _("Choose an empty folder for the results")) if source else ""
        if folder:
            self.run_on(Path(source), Path(folder))

    def _on_decided(self, line: Message) -> None:
        self.cases = [line if one["name"] == line["name"] else one for one in self.cases]
        self._fill()
        self._calls.show_status(_("Saved: {case}, {state}.").format(case=line["name"], state=_state(line)))

    def _may_leave(self) -> bool:
        """Takes the case that is open out of the scene; one that was not saved stays, if the user wants so."""
        shown, self._shown = self._shown, None
        if shown is None or not self._is_there(shown):
            return True
        if self._line(shown.name).get("decision") not in ("accept", "reject"):
            text = _("{case} was neither saved nor rejected. Keep it in the scene?").format(case=shown.name)
            choice = questions.ask(text, {"keep": _("Keep it"), "remove": _("Remove it")}, "keep")
            if choice is None:
                self._shown = shown
                return False
            if choice == "keep":
                return True
        for node in (*shown.volumes, shown.segmentation):
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)
        return True

    def _is_there(self, shown: _Shown) -> bool:
        return all(slicer.mrmlScene.IsNodePresent(node) for node in shown.volumes)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except AutoMedSAMError as error:
            self._loading = False
            self._calls.show_status(str(error))
            self.update()

    def _listed(self) -> list[str]:
        chosen = self._ui.worklistFilter.currentIndex
        return [
            one["name"]
            for one in self.cases
            if one["state"] == "done"
            and (chosen == ALL or (one["decision"] == "fix" if chosen == FIX else not one["decision"]))
        ]

    def _line(self, name: str) -> Message:
        return next((one for one in self.cases if one["name"] == name), {})

    def _selected(self) -> str:
        items = self._ui.worklistTree.selectedItems()
        return str(items[0].data(CASE, _NAME)) if items else ""

    def _fill(self) -> None:
        tree, listed, chosen = self._ui.worklistTree, set(self._listed()), self._selected()
        blocked = tree.blockSignals(True)
        tree.clear()
        for one in self.cases:
            if one["name"] in listed or (one["state"] != "done" and self._ui.worklistFilter.currentIndex == ALL):
                tree.addTopLevelItem(_item(one, is_open=one["name"] == self.shown))
        for index in range(tree.topLevelItemCount):
            if tree.topLevelItem(index).data(CASE, _NAME) == chosen:
                tree.topLevelItem(index).setSelected(True)
        tree.blockSignals(blocked)
        self.update()


def _item(line: Message, *, is_open: bool) -> Any:
    item = qt.QTreeWidgetItem()
    font = item.font(CASE)
    font.setBold(is_open)
    item.setFont(CASE, font)
    millilitres = sum(line["volume_ml"].values())
    done = line["state"] == "done"
    texts = (line["name"], _state(line), f"{line['doubt']:.2f}" if done else "", f"{millilitres:.1f}" if done else "")
    for column, text in enumerate(texts):
        item.setText(column, text)
    item.setData(CASE, _NAME, line["name"])
    item.setToolTip(CASE, "\n".join(text for text in (line["name"], line["message"], line["note"]) if text))
    return item


def _state(line: Message) -> str:
    if line["state"] != "done":
        return _("failed")
    if line["outdated"]:
        return _("segmented again")
    return {"accept": _("accepted"), "fix": _("to fix"), "reject": _("rejected")}.get(
        line["decision"], _("not reviewed")
    )


def settings_of(model: Model | None, backend: str, threshold: float | None, plane: str | None) -> Message | None:
    """What a cohort is run with; None if no model is chosen."""
    if model is None:
        return None
    backend = backend if backend in model.precisions else Backend.INT8.value
    return {"model": str(model.folder), "backend": backend, "threshold": threshold, "plane": plane}
