"""Average precision as COCO counts it, and the boxes that it is counted on."""

import contextlib
import io
import math

import numpy as np
import pytest

from automedsam.core.boxes import Box, Tracklet
from automedsam_lab.metrics.average_precision import average_precision
from automedsam_lab.metrics.bootstrap import Resamples
from automedsam_lab.metrics.box_agreement import BoxRule, SliceBoxes, jittered, mean_box_iou, slice_boxes, true_boxes

WHOLE, PIECES = BoxRule(None, 6), BoxRule(5, 20)


def slices(*pairs: tuple[list[list[float]], list[list[float]]], patient: str = "a") -> SliceBoxes:
    """Found boxes (label, score, x0, y0, x1, y1) and true ones (label, x0, y0, x1, y1) of some slices."""
    found = [np.array(boxes, float).reshape(-1, 6) for boxes, _ in pairs]
    return SliceBoxes(patient, found, [np.array(boxes, float).reshape(-1, 5) for _, boxes in pairs])


def random_slices(rng: np.random.Generator, patient: str, count: int) -> SliceBoxes:
    """True boxes of two labels; found ones near them, twice, beside them and of the wrong label."""
    pairs = []
    for _ in range(count):
        corner, side = rng.uniform(0, 60, (rng.integers(0, 5), 2)), rng.uniform(8, 30, 2)
        reference = [[rng.integers(1, 3), *xy, *(xy + side)] for xy in corner]
        near = [t for t in reference for _ in range(2) if rng.random() < 0.8]
        found = [[t[0], rng.random(), *(np.array(t[1:]) + rng.normal(0, 2.5, 4))] for t in near]
        stray = rng.uniform(0, 60, (rng.integers(0, 3), 2))
        found += [[rng.integers(1, 3), rng.random(), *xy, *(xy + 15)] for xy in stray]
        pairs.append((found, reference))
    return slices(*pairs, patient=patient)


def test_precision_is_read_at_101_recalls() -> None:
    # By falling score: right, wrong, right; of two true boxes. Precision 1 up to recall 0.5, then 2/3.
    case = slices(
        ([[1, 0.9, 0, 0, 10, 10], [1, 0.8, 50, 50, 60, 60]], [[1, 0, 0, 10, 10]]),
        ([[1, 0.7, 0, 0, 10, 10]], [[1, 0, 0, 10, 10]]),
    )
    assert average_precision([case], [1]).ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_strict_overlaps_count_less_for_a_box_that_is_a_little_off() -> None:
    # IoU 10 * 8 / 100 = 0.8: right up to the threshold 0.8, which is seven of the ten.
    scores = average_precision([slices(([[1, 0.9, 0, 0, 10, 8]], [[1, 0, 0, 10, 10]]))], [1])
    assert (scores.ap50, scores.ap) == pytest.approx((1, 0.7))
    assert (scores.slices, scores.boxes) == (1, 1)


def test_a_second_box_on_the_same_object_is_wrong() -> None:
    case = slices(
        ([[1, 0.9, 0, 0, 10, 10], [1, 0.8, 0, 0, 10, 10]], [[1, 0, 0, 10, 10]]),
        ([[1, 0.7, 0, 0, 10, 10]], [[1, 0, 0, 10, 10]]),
    )
    assert average_precision([case], [1]).ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_label_without_true_boxes_is_left_out_of_the_mean() -> None:
    case = slices(([[1, 0.9, 0, 0, 10, 10], [2, 0.9, 0, 0, 10, 10]], [[1, 0, 0, 10, 10]]))
    assert average_precision([case], [1, 2]).ap50 == pytest.approx(1)
    assert math.isnan(average_precision([slices(([], []))], [1, 2]).ap50)


def test_average_precision_is_that_of_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed").COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(3)
    case = random_slices(rng, "a", 40)
    annotations, detections = [], []
    for image, (found, reference) in enumerate(zip(case.prediction, case.reference, strict=True), start=1):
        for label, x0, y0, x1, y1 in reference:
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": image, "category_id": int(label), **box})
        for label, score, x0, y0, x1, y1 in found:
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
            detections.append({"image_id": image, "category_id": int(label), **box})
    with contextlib.redirect_stdout(io.StringIO()):
        reference = coco()
        reference.dataset = {
            "images": [{"id": image + 1} for image in range(len(case.reference))],
            "annotations": annotations,
            "categories": [{"id": 1}, {"id": 2}],
        }
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ours = average_precision([case], [1, 2])
    assert 0.2 < ours.ap < ours.ap50 < 0.95
    assert (ours.ap, ours.ap50) == pytest.approx(evaluation.stats[:2], abs=1e-6)


def test_a_patient_drawn_twice_counts_twice() -> None:
    rng = np.random.default_rng(5)
    one, other = random_slices(rng, "a", 12), random_slices(rng, "b", 12)
    drawn = Resamples(("a", "b"), np.array([[2, 0]] * 3))
    scores = average_precision([one, other], [1, 2], drawn)
    alone = average_precision([one, one], [1, 2])
    assert scores.ap_interval is not None and scores.ap50_interval is not None
    assert scores.ap_interval.low == scores.ap_interval.high == pytest.approx(alone.ap)
    assert scores.ap50_interval.low == pytest.approx(alone.ap50)


def test_one_object_a_label_has_one_box_and_others_one_for_each_piece() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:10, 5:10] = mask[5:10, 12:17] = mask[25:35, 25:35] = mask[38, 2] = True
    assert [box.corners for box in WHOLE.boxes(mask, 1) or ()] == [(2, 5, 35, 39)]
    # The first two lie two pixels apart and share a box; the crumb has none.
    assert sorted(box.corners for box in PIECES.boxes(mask, 2) or ()) == [(5, 5, 17, 10), (25, 25, 35, 35)]


def test_slices_with_too_little_of_a_label_judge_nobody() -> None:
    reference = np.zeros((3, 20, 20), np.uint8)
    reference[1, 3, 3:5] = 1
    reference[2, 5:12, 5:12] = 1
    asked = true_boxes(reference, [1], WHOLE)
    assert {index: len(boxes) for index, boxes in asked.items()} == {0: 0, 2: 1}
    case = slice_boxes("a", [[Box(0, 0, 5, 5, 0.9)], [Box(3, 3, 2, 1, 0.9)], []], asked)
    assert [len(found) for found in case.prediction] == [1, 0] and [len(true) for true in case.reference] == [0, 1]


def test_a_label_that_encloses_another_asks_for_a_box_around_both() -> None:
    reference = np.zeros((1, 20, 20), np.uint8)
    reference[0, 2:18, 2:18] = 1
    reference[0, 2:10, 2:10] = 2
    around = {box.label: box.corners for box in true_boxes(reference, [1, 2], WHOLE, inside={2: 1})[0]}
    assert around == {1: (2, 2, 18, 18), 2: (2, 2, 10, 10)}
    reference[reference == 1] = 2
    assert [box.label for box in true_boxes(reference, [1, 2], WHOLE, inside={2: 1})[0]] == [1, 2]


def test_the_lab_s_detectors_were_taught_these_boxes() -> None:
    pytest.importorskip("cv2", reason="the extra 'train' is not installed")
    from automedsam_lab.data.detector_slices import DETECTOR_TASKS, boxes_of

    labels = np.zeros((60, 60), np.uint8)
    labels[5:20, 5:20] = labels[30:50, 30:40] = labels[33:36, 42:52] = 1
    taught = boxes_of(DETECTOR_TASKS["glioma"], labels)
    assert taught is not None
    assert sorted(map(tuple, taught[:, 1:].tolist())) == sorted(b.corners for b in PIECES.boxes(labels > 0, 1) or ())
    labels[3:9, 40:50] = 2
    taught = boxes_of(DETECTOR_TASKS["hippocampus"], labels)
    ours = [box.corners for label in (1, 2) for box in WHOLE.boxes(labels == label, label) or ()]
    assert taught is not None and list(map(tuple, taught[:, 1:].tolist())) == ours


def test_a_missing_box_and_one_of_another_label_overlap_with_nothing() -> None:
    asked = {3: [Box(0, 0, 10, 10)], 4: [Box(0, 0, 10, 10)], 5: [Box(0, 0, 10, 10)]}
    tracklets = [Tracklet(1, {3: Box(0, 0, 10, 5)}, 3), Tracklet(2, {4: Box(0, 0, 10, 10, label=2)}, 4)]
    assert mean_box_iou(tracklets, asked, 1) == pytest.approx(0.5 / 3)
    assert math.isnan(mean_box_iou(tracklets, asked, 2))


def test_a_jittered_box_is_within_its_bound_and_reproducible() -> None:
    box, size = Box(2, 30, 100, 40, label=2), (90, 110)
    drawn = [jittered(box, size, np.random.default_rng(seed), 0.1, 6) for seed in range(200)]
    off = np.abs(np.array([b.corners for b in drawn]) - box.corners)
    # A tenth of 100 columns is more than the 6 pixels that are allowed, a tenth of 40 rows is 4.
    assert (off.max(0) <= [6, 4, 6, 4]).all() and (off.max(0) >= [1.9, 3.5, 5, 3.5]).all()
    assert min(b.x for b in drawn) == 0 and {b.label for b in drawn} == {2}
    assert jittered(box, size, np.random.default_rng(7), 0.1, 6) == drawn[7]
    assert jittered(box, size, np.random.default_rng(7), 0, 6) == box
    tiny = [jittered(Box(0, 0, 1, 1), (5, 5), np.random.default_rng(s), 0.4, 20) for s in range(50)]
    assert min(min(b.width, b.height) for b in tiny) > 0.999
