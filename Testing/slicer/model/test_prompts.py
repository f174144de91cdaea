"""The prompts of objects in the box table: what is sent to the engine, what is saved, and whose prompts they are."""

import json
from dataclasses import replace

import numpy as np
import pytest

from AutoMedSAMLib.model.box_table import BoxTable
from AutoMedSAMLib.model.prompt_record import MaskPrompt, PointPrompt
from recorded_logic import a_box, a_tracklet


@pytest.fixture
def table():
    """Two objects: boxes 1 to 3 on slices 10 to 12, box 4 on slice 30."""
    found = BoxTable(axis=0, slices=(0, 39), model="m")
    found.receive_boxes([a_box(n, 9 + n, 0.9) for n in (1, 2, 3)] + [a_box(4, 30, 0.8, at=40.0)])
    found.receive_tracklets([a_tracklet([1, 2, 3], 11), a_tracklet([4], 30)])
    return found


def disc(row=30, column=25, radius=9):
    rows, columns = np.mgrid[:60, :50]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def point(table, key, position, positive=True):
    found = PointPrompt(position, positive)
    table.prompts.add_point(table.group(key), 1, found, found.slice(table.axis))


def sent(table):
    return table.propagation()[1]


@pytest.mark.parametrize(("axis", "expected"), [(0, 8), (1, 6), (2, 4)])
def test_a_point_lies_on_the_slice_whose_voxel_centre_is_nearest(axis, expected):
    assert PointPrompt((3.5, 5.6, 8.4), True).slice(axis) == expected


def test_a_mask_is_kept_bit_by_bit_and_small():
    mask = np.zeros((217, 181), bool)
    mask[60:120, 50:100] = disc()
    prompt = MaskPrompt.of(7, mask)
    assert (prompt.mask() == mask).all() and prompt.area == mask.sum() and len(prompt.data) < 500


def test_a_damaged_mask_is_an_error_and_not_another_mask():
    whole = MaskPrompt.of(7, disc())
    for data in ("AAAA", MaskPrompt.of(7, disc()[:30]).data):
        with pytest.raises(ValueError, match="mask"):
            replace(whole, data=data).mask()


def test_an_object_without_other_prompts_is_sent_as_before(table):
    assert sent(table)[0] == {"label": 1, "seed": 11, "boxes": [1, 2, 3]}


def test_prompts_change_what_is_to_be_propagated_and_back(table):
    table.mark_segmented()
    point(table, 1, (20.0, 20.0, 11.0))
    assert table.needs_propagation
    table.remove_prompts([(1, 11)])
    assert not table.needs_propagation and len(table.prompts) == 0


def test_points_of_an_object_stay_its_own_when_objects_change_their_order(table):
    point(table, 4, (45.0, 45.0, 31.0))
    table.receive_tracklets([a_tracklet([4], 30), a_tracklet([2, 1, 3], 10)])
    assert [len(one.get("points", [])) for one in sent(table)] == [1, 0]


def test_two_prompted_objects_that_the_engine_links_stay_two(table):
    point(table, 1, (20.0, 20.0, 11.0))
    point(table, 4, (45.0, 45.0, 31.0))
    table.receive_tracklets([a_tracklet([1, 2, 3, 4], 11)])
    assert len(sent(table)) == 2 and all(one["points"] for one in sent(table))


def test_an_object_that_the_user_has_shown_is_there_whatever_the_min_score(table):
    point(table, 4, (45.0, 45.0, 31.0))
    table.threshold = 0.95
    assert [one["boxes"] for one in sent(table)] == [[4]]


def test_tracking_starts_from_the_largest_mask(table):
    small, large = MaskPrompt.of(12, disc(radius=4)), MaskPrompt.of(10, disc(radius=9))
    table.prompts.set_masks(table.group(1), 1, [small, large])
    assert sent(table)[0]["seed"] == 10
    table.choose_seed(2)
    assert sent(table)[0]["seed"] == 11, "the user's choice comes first"


def test_nothing_is_prompted_where_the_object_is_not(table):
    group = table.group(1)
    table.prompts.set_empty(group, 11, 0, empty=True)
    table.prompts.set_limits(table.group(1), (10, 11))
    (box,), first = [box["id"] for box in table.propagation()[0] if box["slice"] < 20], sent(table)[0]
    assert box == 1 and first == {"label": 1, "seed": 10, "boxes": [1], "empty": [11], "limits": [10, 11]}


def test_a_prompt_on_an_emptied_slice_or_beyond_the_limits_takes_that_back(table):
    table.prompts.set_empty(table.group(1), 11, 0, empty=True)
    table.prompts.set_limits(table.group(1), (10, 12))
    point(table, 1, (20.0, 20.0, 11.0))
    point(table, 1, (20.0, 20.0, 15.0))
    assert "empty" not in sent(table)[0] and sent(table)[0]["limits"] == [10, 15]


def test_a_copy_is_not_changed_with_the_table(table):
    point(table, 1, (20.0, 20.0, 11.0))
    twin, text = table.copy(), table.to_text()
    point(table, 1, (20.0, 20.0, 12.0))
    assert twin.to_text() == text != table.to_text()


def test_all_of_it_is_saved(table):
    point(table, 1, (20.25, 20.0, 11.0), positive=False)
    table.prompts.set_masks(table.group(4), 1, [MaskPrompt.of(30, disc())])
    table.prompts.set_empty(table.group(1), 12, 0, empty=True)
    table.prompts.set_limits(table.group(4), (25, 33))
    table.draw(20, [1, 9, 1, 9, 20, 21], 1, None)
    table.check(11)
    again = BoxTable.from_text(table.to_text())
    assert again.to_text() == table.to_text() and again.propagation() == table.propagation()


def test_a_table_saved_before_there_were_prompts_is_read(table):
    content = json.loads(table.to_text())
    for name in ("prompts", "new", "checked"):
        del content[name]
    assert BoxTable.from_text(json.dumps(content)).propagation() == table.propagation()


def test_a_table_with_damaged_prompts_is_refused(table):
    point(table, 1, (20.0, 20.0, 11.0))
    content = json.loads(table.to_text())
    del content["prompts"][0]["points"]
    with pytest.raises(ValueError, match="not a box table"):
        BoxTable.from_text(json.dumps(content))
