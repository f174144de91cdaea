"""Results that leave the panel, over the real engine: DICOM SEG in a file and in Slicer's DICOM database."""

from pathlib import Path

import dicom_files as dicom
import numpy as np
import pydicom
import pytest

from runs import labels_in

SECONDS = 60


@pytest.fixture
def series(tmp_path):
    """The phantom head as a DICOM series: its folder, and the volume."""
    from phantoms import two_lesions

    volume, _ = two_lesions()
    axes = np.reshape(volume.direction, (3, 3))
    places = np.array([volume.world((k, 0, 0)) for k in range(len(volume.array))])
    spacing = [volume.spacing[1], volume.spacing[0]]
    attributes = {"PixelSpacing": spacing, "StudyInstanceUID": "2.25.77", "SliceThickness": volume.spacing[2]}
    pixels = volume.array.astype(np.int16)
    return dicom.slices(tmp_path / "series", pixels, places, (*axes[:, 0], *axes[:, 1]), **attributes), volume


@pytest.fixture
def database(series, tmp_path, scene, monkeypatch):
    """Slicer's DICOM database with that series."""
    import slicer

    from harness.dicom_database import ctkDICOMDatabase

    opened = ctkDICOMDatabase()
    (tmp_path / "database").mkdir()
    opened.openDatabase(str(tmp_path / "database" / "ctkDICOM.sql"))
    for path in sorted(series[0].iterdir()):
        opened.prepareInsert()
        opened.insert(str(path), True, False)
    monkeypatch.setattr(slicer, "dicomDatabase", opened, raising=False)
    return opened


@pytest.fixture
def done(database, series, module_widget, add_volume, slicer_app, wait_until):
    """The panel after Apply on the series."""
    folder, volume = series
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([-1, -1, 1]) @ np.reshape(volume.direction, (3, 3)) * volume.spacing
    matrix[:3, 3] = np.array([-1, -1, 1]) * volume.origin
    node = add_volume(volume.array, matrix, "FLAIR")
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in sorted(folder.iterdir())]
    node.SetAttribute("DICOM.instanceUIDs", " ".join(uids))
    slicer_app.processEvents()
    widget = module_widget.widget
    wait_until(lambda: widget.warnings.are_known, SECONDS)
    widget.ui.applyButton.click()
    if not widget.logic.is_running:
        # It asks once where the image looks unlike what the model knows.
        widget.ui.applyButton.click()
    wait_until(lambda: widget.logic.is_running, SECONDS)
    wait_until(lambda: not widget.logic.is_running, SECONDS)
    assert widget.boxes.table.objects(), widget.ui.statusLabel.text
    return widget


def test_dicom_seg_of_the_panel_is_in_the_study_of_its_volume(done, database, tmp_path, monkeypatch, wait_until):
    hd = pytest.importorskip("highdicom", reason="highdicom is not installed")
    from AutoMedSAMLib.panel.object_table import ObjectTable

    path = tmp_path / "lesions.dcm"
    monkeypatch.setattr(ObjectTable, "_ask_path", lambda *_: path)
    added = []
    database.connect("instanceAdded(QString)", added.append)
    done.ui.exportSegButton.click()
    wait_until(lambda: done.ui.statusLabel.text not in ("", "Exporting ..."), SECONDS)
    assert done.ui.statusLabel.text == f"Written, and added to the DICOM database: {path}"
    (uid,) = added
    copy = hd.seg.segread(Path(database.fileForInstance(uid)))
    assert copy.StudyInstanceUID == "2.25.77" and database.instanceValue(uid, "0008,0060") == "SEG"
    segmentation = done.parameters.segmentation
    ids = {value + 1: one for value, one in enumerate(segmentation.GetSegmentation().GetSegmentIDs())}
    count = np.count_nonzero(labels_in(segmentation, done.boxes.volume, ids))
    assert np.count_nonzero(copy.get_volume(combine_segments=True).array) == count > 0
