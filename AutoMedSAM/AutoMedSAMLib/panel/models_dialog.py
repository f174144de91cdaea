"""The window in which models are downloaded, imported and removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from automedsam.contract.catalog import CHECKPOINT, CatalogModel, matches, read_catalog
from AutoMedSAMLib.engine import installation
from AutoMedSAMLib.engine.model_requests import ModelRequests
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.run import Message
from AutoMedSAMLib.panel import questions
from AutoMedSAMLib.scene import model_folder, terms

_NAME = qt.Qt.UserRole
_FILES = "(*.zip *.pt *.pth)"
_STEPS = 1000
_WIDTH, _HEIGHT = 860, 460


@dataclass(frozen=True)
class _Row:
    """A model in the list: in the catalog, installed, or both."""

    name: str
    about: str
    labels: str
    images: str
    megabytes: float
    state: str
    entry: CatalogModel | None
    installed: bool
    removable: bool


class ModelsDialog:
    """Lists the models of the catalog and those that are installed.

    Args:
        requests: what the engine is asked through.
        detectors: the names of models whose detector a published checkpoint can get.
        on_installed: called with the folder of a model that was installed.
        on_removed: called with the folder of a model that was removed.
        parent: the window above it.
    """

    def __init__(
        self,
        requests: ModelRequests,
        detectors: list[str],
        on_installed: Callable[[Path], None],
        on_removed: Callable[[Path], None],
        parent: Any = None,
    ) -> None:
        self._requests, self._on_installed, self._on_removed = requests, on_installed, on_removed
        self._catalog = read_catalog()
        self._installed: dict[str, Message] = {}
        self._unfinished: dict[str, int] = {}
        self._faulty: dict[str, str] = {}
        self._busy = self._transferring = False
        self._rows: dict[str, _Row] = {}
        self._build(parent, detectors)

    def open(self) -> None:
        """Shows the window; it returns at once."""
        self._fill()
        self.dialog.open()
        self._refresh("")

    def close(self) -> None:
        """Stops a transfer and closes the window."""
        self._requests.cancel()
        self.dialog.close()

    def _build(self, parent: Any, detectors: list[str]) -> None:
        self.dialog = qt.QDialog(parent)
        self.dialog.setWindowTitle(_("AutoMedSAM models"))
        self.dialog.resize(_WIDTH, _HEIGHT)
        layout = qt.QVBoxLayout(self.dialog)
        self.search = qt.QLineEdit()
        self.search.toolTip = _("Words that a model's row contains, such as: ct lesion")
        self.search.clearButtonEnabled = True
        # A placeholder text would be black in Slicer's dark style, too.
        searching = qt.QFormLayout()
        searching.addRow(_("Search:"), self.search)
        layout.addLayout(searching)
        self.tree = qt.QTreeWidget()
        self.tree.setHeaderLabels([_("Model"), _("Description"), _("Labels"), _("Images"), _("Size"), _("State")])
        self.tree.rootIsDecorated = False
        self.tree.alternatingRowColors = True
        layout.addWidget(self.tree)
        self.terms_label = qt.QLabel()
        self.terms_label.wordWrap = True
        self.terms_label.textFormat = qt.Qt.PlainText
        layout.addWidget(self.terms_label)
        form = qt.QFormLayout()
        self.detector = qt.QComboBox()
        self.detector.addItem(_("Nothing: only boxes that are given are segmented"))
        for name in detectors:
            self.detector.addItem(_("Detector of {model}").format(model=name))
        self.detector.toolTip = _(
            "What finds the objects for a published checkpoint, which has no detector of its own."
        )
        self._detectors: list[str | None] = [None, *detectors]
        form.addRow(_("Objects are found by:"), self.detector)
        layout.addLayout(form)
        self.progress = qt.QProgressBar()
        self.progress.visible = False
        layout.addWidget(self.progress)
        self.status = qt.QLabel()
        self.status.wordWrap = True
        self.status.textFormat = qt.Qt.PlainText
        layout.addWidget(self.status)
        layout.addLayout(self._buttons())
        self.search.connect("textChanged(QString)", lambda *_: self._fill())
        self.tree.connect("itemSelectionChanged()", self._update)
        self.dialog.connect("finished(int)", lambda *_: self._requests.cancel())

    def _buttons(self) -> Any:
        row = qt.QHBoxLayout()
        self.download_button = self._button(_("Download"), row, self._download)
        self.import_button = self._button(_("Import file..."), row, self._import)
        self.import_button.toolTip = _(
            "A bundle's zip file, or a published checkpoint (.pt): for computers without network."
        )
        self.remove_button = self._button(_("Remove"), row, self._remove)
        row.addStretch(1)
        self.cancel_button = self._button(_("Stop"), row, self._requests.cancel)
        self.close_button = self._button(_("Close"), row, self.close)
        return row

    def _button(self, text: str, row: Any, clicked: Callable[[], None]) -> Any:
        button = qt.QPushButton(text)
        button.autoDefault = False
        button.connect("clicked(bool)", lambda *_: clicked())
        row.addWidget(button)
        return button

    # What is shown

    def _refresh(self, status: str) -> None:
        """Asks the engine what is installed, and shows it with this status."""
        self._busy = True
        self._show_status(status or _("Looking for installed models ..."))
        self._update()

        def done(event: Message) -> None:
            folder = event["folder"]
            if folder:
                model_folder.remember(folder)
            self._installed = {model["name"]: model for model in event["installed"]}
            self._unfinished, self._faulty = dict(event["unfinished"]), dict(event["faulty"])
            self._busy = False
            self._show_status(status or _place(folder))
            self._fill()

        self._requests.ask(done, self._failed)

    def _failed(self, message: str) -> None:
        self._busy = self._transferring = False
        self._show_status(message)
        self._update()

    def _show_status(self, text: str) -> None:
        self.status.text = text

    def _fill(self) -> None:
        selected = self._selected()
        text = self.search.text
        self._rows = {
            row.name: row for row in self._all_rows() if matches(text, row.name, row.about, row.labels, row.images)
        }
        self.tree.clear()
        for row in self._rows.values():
            size = _("{size} MB").format(size=f"{row.megabytes:.0f}") if row.megabytes else ""
            item = qt.QTreeWidgetItem([row.name, row.about, row.labels, row.images, size, row.state])
            item.setData(0, _NAME, row.name)
            item.setToolTip(1, row.about)
            self.tree.addTopLevelItem(item)
            if selected is not None and row.name == selected.name:
                item.setSelected(True)
        for column in range(self.tree.columnCount):
            self.tree.resizeColumnToContents(column)
        self._update()

    def _all_rows(self) -> list[_Row]:
        rows = [self._catalog_row(entry) for entry in self._catalog]
        known = {entry.name for entry in self._catalog}
        for name, model in self._installed.items():
            if name not in known:
                rows.append(_Row(name, _("Imported"), "", "", model["bytes"] / 1e6, _("Installed"), None, True, True))
        rows += [_Row(name, why, "", "", 0.0, _("Faulty"), None, False, True) for name, why in self._faulty.items()]
        return rows

    def _catalog_row(self, entry: CatalogModel) -> _Row:
        installed, here = entry.name in self._installed, self._unfinished.get(entry.name, 0)
        state = _("Installed") if installed else _stored(here) if here else ""
        labels, images = ", ".join(entry.labels), " + ".join(entry.modalities)
        removable = installed or bool(here)
        return _Row(entry.name, entry.about, labels, images, entry.megabytes, state, entry, installed, removable)

    def _selected(self) -> _Row | None:
        items = self.tree.selectedItems()
        return self._rows.get(items[0].data(0, _NAME)) if items else None

    def _update(self) -> None:
        row, idle = self._selected(), not self._busy and not self._transferring
        entry = None if row is None else row.entry
        self.terms_label.text = "" if entry is None else _("Terms: {terms}").format(terms=entry.terms)
        self.download_button.enabled = idle and row is not None and entry is not None and not row.installed
        unfinished = row is not None and row.removable and not row.installed
        self.download_button.text = _("Continue") if unfinished else _("Download")
        self.remove_button.enabled = idle and row is not None and row.removable
        self.import_button.enabled = idle
        self.cancel_button.enabled = self.progress.visible = self._transferring
        self.detector.enabled = idle and (entry is None or entry.kind == CHECKPOINT)

    # What a user clicks

    def _download(self) -> None:
        row = self._selected()
        if row is None or row.entry is None or not self._may_transfer(row.entry):
            return
        detector = self._detectors[self.detector.currentIndex] if row.entry.kind == CHECKPOINT else None
        self._begin(_("Downloading {model} ...").format(model=row.name))
        self._requests.download(row.name, detector, self)

    def _may_transfer(self, entry: CatalogModel) -> bool:
        """Whether the user has accepted the terms and the installation of what a download needs."""
        if terms.must_be_shown(entry):
            if not questions.accepts_terms(entry, self.dialog):
                message = _("The terms of {model} were not accepted: nothing was downloaded.")
                self._show_status(message.format(model=entry.name))
                return False
            terms.accept(entry)
        return self._ensure_installed()

    def _ensure_installed(self) -> bool:
        try:
            installation.ensure_downloads()
        except AutoMedSAMError as error:
            self._show_status(str(error))
            return False
        return True

    def _import(self) -> None:
        path = qt.QFileDialog.getOpenFileName(self.dialog, _("Import a model"), "", f"{_('Models')} {_FILES}")
        if path and self._ensure_installed():
            checkpoint = Path(path).suffix.lower() != ".zip"
            detector = self._detectors[self.detector.currentIndex] if checkpoint else None
            self._begin(_("Importing {file} ...").format(file=Path(path).name))
            self._requests.import_file(path, detector, self)

    def _remove(self) -> None:
        row = self._selected()
        if row is None or not questions.may_remove_model(row.name, self.dialog):
            return
        folder = self._installed.get(row.name, {}).get("folder")
        self._busy = True
        self._update()

        def done(freed: int) -> None:
            if folder:
                self._on_removed(Path(folder))
            message = _("Removed {model}: {size} MB are free again.")
            self._refresh(message.format(model=row.name, size=f"{freed / 1e6:.1f}"))

        self._requests.remove(row.name, done, self._failed)

    def _begin(self, status: str) -> None:
        self._transferring = True
        # A range of nothing shows that something happens until the size is known.
        self.progress.setRange(0, 0)
        self._show_status(status)
        self._update()

    # The engine's events; see `TransferListener`

    def on_transfer(self, done: int, total: int | None) -> None:
        if total:
            self.progress.setRange(0, _STEPS)
            self.progress.setValue(round(_STEPS * done / total))
        text = _("{done} MB") if total is None else _("{done} of {total} MB")
        self.progress.format = text.format(done=f"{done / 1e6:.1f}", total=f"{(total or 0) / 1e6:.1f}")

    def on_installed(self, model: Mapping[str, Any], notes: list[str]) -> None:
        self._transferring = False
        self._on_installed(Path(model["folder"]))
        message = _("Installed {model} {version}.").format(model=model["name"], version=model["version"])
        self._refresh(" ".join([message, *notes]))

    def on_stopped(self) -> None:
        self._transferring = False
        self._refresh(_("Stopped. The downloaded part is kept; Continue resumes the download."))

    def on_failed(self, message: str) -> None:
        self._transferring = False
        self._refresh(message)


def _place(folder: str) -> str:
    return _("Models are kept in {folder}.").format(folder=folder) if folder else _("No model has been downloaded yet.")


def _stored(size: int) -> str:
    """The state of a download that was stopped."""
    return _("{size} MB here").format(size=f"{size / 1e6:.0f}")
