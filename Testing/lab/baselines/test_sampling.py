"""Which slices a baseline is run on where a sample is asked for."""

import pytest

from automedsam_lab.baselines.sampling import SliceSelection, sample


@pytest.mark.parametrize("selection", [SliceSelection.BOXED, SliceSelection.ALL])
def test_sampled_slices_are_spread_over_all_cases(selection: SliceSelection) -> None:
    shown = [list(range(30)), list(range(5, 15)), list(range(20))]
    picked = sample(selection, shown, [0, 5, 0], 12)
    assert list(map(len, picked)) == [6, 2, 4]
    assert all(set(chosen) <= set(could) for chosen, could in zip(picked, shown, strict=True))


def test_a_sampled_video_is_a_run_of_slices_around_the_seed() -> None:
    picked = sample(SliceSelection.VIDEO, [list(range(30)), list(range(30)), list(range(30))], [29, 3, 15], 20)
    assert picked == [list(range(20, 30)), list(range(10)), []]


def test_everything_is_shown_where_no_sample_is_asked_for() -> None:
    assert sample(SliceSelection.ALL, [[0, 1], [2]], [0, 2], None) == [[0, 1], [2]]
