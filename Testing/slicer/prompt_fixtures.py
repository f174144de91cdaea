"""The panel with its volume in the views, and the steps of a user who prompts."""

import pytest

from prompts import click, drag, show


@pytest.fixture
def shown(ready):
    """The panel before any run, with its volume in the views."""
    show(ready.parameters.volume(0))
    return ready


@pytest.fixture
def found(done):
    """The panel after a run, with its volume in the views, on slice 10 of the first object."""
    show(done.boxes.volume)
    done.boxes.tree.select(1)
    go_to(done, 10)
    return done


def go_to(panel, at):
    from AutoMedSAMLib.scene.slice_views import jump_to_slice

    jump_to_slice(panel.parameters.volume(0), panel.boxes.table.axis, at)


def draw(panel, at, low, high, name="Red"):
    """Draws a box on an axial slice, from and to these voxels (i, j)."""
    go_to(panel, at)
    panel.ui.drawBoxButton.checked = True
    drag(panel.parameters.volume(0), (*low, at), (*high, at), name)


def point(panel, voxel, name="Red", **keys):
    panel.ui.pointButton.checked = True
    click(panel.parameters.volume(0), voxel, name, **keys)


def tracklets(panel):
    return panel.boxes.table.propagation()[1]
