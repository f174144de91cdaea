"""Segments on their way to the engine: exact, in short turns, and what is edited meanwhile does not count."""

import time

import numpy as np
import pytest
import slicer

from segment_writing import OBLIQUE, SHAPE, draw_by_hand

SECONDS = 10
LOW, MIDDLE, HIGH = np.s_[2:5, 3:9, 4:11], np.s_[4:7, 10:15, 4:20], np.s_[8:12, 0:20, 0:3]


@pytest.fixture
def volume(add_volume):
    return add_volume(np.zeros(SHAPE, np.int16), OBLIQUE, "FLAIR")


@pytest.fixture
def drawn(scene, volume):
    """A function that makes a segmentation with a segment for each place."""

    def make(*places, on=volume):
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
        node.SetReferenceImageGeometryParameterFromVolumeNode(on)
        for number, place in enumerate(places, 1):
            draw_by_hand(node, on, f"part {number}", place)
        return node

    return make


def export_of(node, volume, tmp_path, **settings):
    from AutoMedSAMLib.engine.label_export import LabelExport

    return LabelExport(node, volume, tmp_path / "labels.npy", **settings)


def written(export):
    assert export.write_chunk(SECONDS)
    return np.load(export.path, allow_pickle=False)


def expected(*places):
    labels = np.zeros(SHAPE, np.uint8)
    for value, place in enumerate(places, 1):
        labels[place] = value
    return labels


@pytest.mark.parametrize("shared", [False, True])
def test_labels_are_those_of_the_segments_shared_or_not(drawn, volume, tmp_path, shared):
    node = drawn(LOW, MIDDLE, HIGH)
    if shared:
        node.GetSegmentation().CollapseBinaryLabelmaps()
    export = export_of(node, volume, tmp_path)
    turns = 1
    while not export.write_chunk(0):
        turns += 1
    assert turns == SHAPE[0]
    np.testing.assert_array_equal(np.load(export.path), expected(LOW, MIDDLE, HIGH))
    assert [(one["value"], one["name"]) for one in export.segments] == [(1, "part 1"), (2, "part 2"), (3, "part 3")]


def test_only_the_segments_wanted_are_in_it(drawn, volume, tmp_path):
    node = drawn(LOW, MIDDLE)
    wanted = [node.GetSegmentation().GetNthSegmentID(1)]
    np.testing.assert_array_equal(written(export_of(node, volume, tmp_path, segments=wanted)), expected(MIDDLE))


def test_what_is_edited_meanwhile_does_not_count(drawn, volume, tmp_path):
    node = drawn(LOW, HIGH)
    export = export_of(node, volume, tmp_path)
    assert not export.write_chunk(0)
    nothing = np.zeros(SHAPE, np.uint8)
    for number in range(2):
        segment_id = node.GetSegmentation().GetNthSegmentID(number)
        slicer.util.updateSegmentBinaryLabelmapFromArray(nothing, node, segment_id, volume)
    slicer.mrmlScene.RemoveNode(node)
    np.testing.assert_array_equal(written(export), expected(LOW, HIGH))


def test_voxels_beyond_the_grid_are_not_lost_silently(drawn, volume, tmp_path, add_volume):
    from AutoMedSAMLib.errors import AutoMedSAMError

    matrix = OBLIQUE.copy()
    matrix[:3, 3] += OBLIQUE[:3, 2] * 4
    upper = add_volume(np.zeros((SHAPE[0] - 4, *SHAPE[1:]), np.int16), matrix, "upper")
    assert (written(export_of(drawn(HIGH), upper, tmp_path)) == expected(HIGH)[4:]).all()
    with pytest.raises(AutoMedSAMError, match="different grids"):
        export_of(drawn(LOW), upper, tmp_path)


def test_an_image_that_reaches_beyond_the_grid_is_fine_where_it_is_empty(drawn, volume, tmp_path, add_volume):
    node = drawn(LOW, HIGH)
    node.GetSegmentation().CollapseBinaryLabelmaps()
    matrix = OBLIQUE.copy()
    matrix[:3, 3] += OBLIQUE[:3, 2] * 6
    upper = add_volume(np.zeros((SHAPE[0] - 6, *SHAPE[1:]), np.int16), matrix, "upper")
    high = [node.GetSegmentation().GetNthSegmentID(1)]
    labels = written(export_of(node, upper, tmp_path, segments=high))
    np.testing.assert_array_equal(labels, expected(HIGH)[6:])


def test_no_segments_are_refused(drawn, volume, tmp_path):
    from AutoMedSAMLib.errors import AutoMedSAMError

    with pytest.raises(AutoMedSAMError, match="by hand has 0 segments"):
        export_of(drawn(), volume, tmp_path)


def test_segments_with_the_values_of_a_model_are_painted_inner_ones_last(drawn, volume, tmp_path):
    from AutoMedSAMLib.scene.label_map import outer_first

    inner = np.s_[3:5, 5:8, 5:9]
    node = drawn(inner, LOW, HIGH)
    core, whole, other = ids_of(node)
    values = outer_first({2: core, 5: whole, 1: other}, {2: 5})
    assert list(values) == [other, whole, core]
    labels = np.zeros(SHAPE, np.uint8)
    labels[HIGH], labels[LOW], labels[inner] = 1, 5, 2
    np.testing.assert_array_equal(written(export_of(node, volume, tmp_path, segments=values)), labels)


def test_a_result_whose_segments_are_all_gone_is_empty(drawn, volume, tmp_path):
    export = export_of(drawn(LOW), volume, tmp_path, segments={})
    assert not written(export).any() and export.segments == []


class Engine:
    """Notes what is asked; a test answers."""

    def __init__(self):
        self.asked = []

    def ask(self, message, done, failed):
        self.asked.append((message, done, failed))


@pytest.fixture
def requests(scene):
    from AutoMedSAMLib.engine.result_requests import ResultRequests
    from AutoMedSAMLib.engine.shared_files import SharedFiles

    files = SharedFiles()
    made = ResultRequests(Engine(), files)
    yield made
    made.stop()
    files.close()


def ids_of(node):
    segments = node.GetSegmentation()
    return [segments.GetNthSegmentID(number) for number in range(segments.GetNumberOfSegments())]


def test_requests_are_sent_in_their_order_with_whole_files_that_go_afterwards(requests, drawn, volume, wait_until):
    one, other, answers = drawn(LOW), drawn(MIDDLE), []
    for reference in (other, one):
        requests.compare(volume, (one, ids_of(one)), reference, answers.append, pytest.fail)
    engine = requests._queue._engine
    assert not engine.asked, "the window has not been live yet"
    wait_until(lambda: len(engine.asked) == 2)
    for (message, done, _failed), place in zip(engine.asked, (MIDDLE, LOW), strict=True):
        np.testing.assert_array_equal(np.load(message["labels"]["path"]), expected(LOW))
        np.testing.assert_array_equal(np.load(message["reference"]["path"]), expected(place))
        done({"event": "evaluated"})
    assert answers == [{"event": "evaluated"}] * 2
    assert not list(requests._queue._files.folder.iterdir())


def test_segments_that_overlap_are_named_and_the_next_request_goes_on(requests, drawn, volume, wait_until, tmp_path):
    both, one, failures = drawn(LOW, np.s_[3:6, 5:12, 5:9]), drawn(LOW), []
    files = ["a.dcm"], tmp_path / "seg.dcm"
    requests.export(volume, (both, ids_of(both)), files, pytest.fail, failures.append)
    requests.export(volume, (one, ids_of(one)), files, pytest.fail, failures.append)
    wait_until(lambda: requests._queue._engine.asked)
    assert failures == ["Segments of by hand overlap (part 2): choose one without overlaps."]
    assert len(list(requests._queue._files.folder.iterdir())) == 1
    requests._queue._engine.asked[0][2]("The engine stopped.")
    assert failures[1] == "The engine stopped." and not list(requests._queue._files.folder.iterdir())


def test_requests_that_were_not_sent_are_dropped_with_their_files(requests, drawn, volume, slicer_app):
    node = drawn(LOW)
    requests.compare(volume, (node, ids_of(node)), node, pytest.fail, pytest.fail)
    requests.stop()
    slicer_app.processEvents()
    assert not requests._queue._engine.asked and not list(requests._queue._files.folder.iterdir())


def test_a_case_is_saved_in_turns_of_the_event_loop(drawn, volume, wait_until, tmp_path, monkeypatch):
    from AutoMedSAMLib.engine import installation
    from AutoMedSAMLib.engine.cohort_requests import CohortRequests
    from AutoMedSAMLib.engine.shared_files import SharedFiles

    monkeypatch.setattr(installation, "ensure", lambda _backend: None)
    node, engine, files, lines = drawn(LOW), Engine(), SharedFiles(), []
    requests = CohortRequests(engine, files)
    result = node, {ids_of(node)[0]: 3}
    requests.save(tmp_path, "anna", result, volume, lines.append, pytest.fail)
    assert not engine.asked, "the window has not been live yet"
    slicer.mrmlScene.RemoveNode(node)
    wait_until(lambda: engine.asked)
    ((message, done, _failed),) = engine.asked
    assert (message["op"], message["case"], message["labels"]["name"]) == ("save_case", "anna", "anna")
    assert [one["value"] for one in message["segments"]] == [3]
    np.testing.assert_array_equal(np.load(message["labels"]["path"]), 3 * expected(LOW))
    done({"case": {"name": "anna"}})
    assert lines == [{"name": "anna"}] and not list(files.folder.iterdir())
    requests.save(tmp_path, "anna", (drawn(HIGH), {}), volume, pytest.fail, pytest.fail)
    requests.stop()
    slicer.app.processEvents()
    assert len(engine.asked) == 1 and not list(files.folder.iterdir())
    files.close()


@pytest.mark.alone
def test_a_large_segmentation_is_exported_in_short_turns(add_volume, scene, tmp_path):
    shape = (200, 512, 512)
    volume = add_volume(np.zeros(shape, np.int16))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "large")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for number in range(3):
        segment_id = node.GetSegmentation().AddEmptySegment(f"part {number}")
        mask = np.zeros(shape, np.uint8)
        mask[:, number * 100 : number * 100 + 90] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment_id, volume)
    export = export_of(node, volume, tmp_path)
    turns, done = [], False
    while not done:
        began = time.perf_counter()
        done = export.write_chunk(0.02)
        turns.append(time.perf_counter() - began)
    assert np.median(turns) < 0.05
    assert len(turns) > 3
