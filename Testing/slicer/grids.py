"""IJK-to-RAS matrices of grids that are turned, flipped or left-handed."""

from __future__ import annotations

import numpy as np


def oblique(spacing=(0.9, 1.1, 3.0), flips=(1, 1, 1)):
    """IJK to RAS of a grid turned about two axes, some of its axes flipped."""
    a, b = np.radians(20), np.radians(-15)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_z @ about_x @ np.diag(np.array(spacing) * flips)
    matrix[:3, 3] = -20, 35, 12
    return matrix


GRIDS = {
    "plain": np.eye(4),
    "oblique": oblique(),
    "flipped": oblique(flips=(-1, -1, 1)),
    "left-handed": oblique(flips=(1, 1, -1)),
}
