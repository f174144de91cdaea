"""Corrects a mask by clicks without a network: for networks that have never seen a point.

The method is the information fusion of MIDeepSeg (Luo et al., 2021, arXiv:2104.12166, section 3.3): close to a click,
measured along the image by a geodesic distance, the click decides; far from all clicks the network does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from automedsam.core.memory import check_room_for_scipy
from automedsam.core.resize import resize_linear
from automedsam.sam2.networks import Floats

# Grey levels, of 255, that count as a distance of 1, at which a click's say has fallen to 1 / e.
_GREY_SCALE = 32.0
# On an even surface, a distance of 1 is this share of the crop's longer side.
_SIDE_SHARE = 1 / 3
# Farther than this a click decides nothing; it bounds the time of the search.
_FARTHEST = 4.0
# The distances are computed on a grid of at most this many pixels a side.
_MOST_PIXELS = 192
_MOST_LOGIT = 20.0


def correct_by_clicks(logits: Floats, image: NDArray[np.uint8], points: NDArray[np.float32]) -> Floats:
    """Changes a mask close to clicks, so that each click is on its own side of the outline.

    Args:
        logits: `(h, w)` of the network, in the pixels of a crop.
        image: `(h, w)` grey levels of the crop.
        points: `(P, 3)` rows of x, y in pixels of the crop and 1 (on the object) or 0 (off it). Points outside the crop
            have no effect.

    Returns:
        `(h, w)` logits; the object is where they are above 0.
    """
    inside = (points[:, :2] >= 0).all(1) & (points[:, 0] < image.shape[1]) & (points[:, 1] < image.shape[0])
    points = points[inside]
    if not len(points):
        return logits
    shrink = min(1.0, _MOST_PIXELS / max(image.shape))
    size = (max(1, round(image.shape[0] * shrink)), max(1, round(image.shape[1] * shrink)))
    small = resize_linear(image, size)
    off, on = (_distances(small, points[points[:, 2] == side], shrink) for side in (0, 1))
    weight = resize_linear(np.exp(-np.minimum(off, on)), image.shape)
    wanted = resize_linear((on < off).astype(np.float32), image.shape)
    clipped = np.clip(logits, -_MOST_LOGIT, _MOST_LOGIT)
    share = (1 - weight) / (1 + np.exp(-clipped)) + weight * wanted
    # The pixel of a click itself is what the click makes it, whatever the grid of the distances.
    rows, columns = points[:, 1].astype(int), points[:, 0].astype(int)
    share[rows, columns] = points[:, 2]
    share = np.clip(share, 1e-6, 1 - 1e-6)
    corrected = np.log(share / (1 - share))
    result: Floats = np.where(weight < np.exp(-_FARTHEST), logits, corrected).astype(np.float32)
    return result


def _distances(image: Floats, points: NDArray[np.float32], shrink: float) -> Floats:
    """Geodesic distances `(h, w)` from points, infinite beyond `_FARTHEST`."""
    height, width = image.shape
    if not len(points):
        return np.full(image.shape, np.inf, np.float32)
    check_room_for_scipy()
    from scipy.ndimage import gaussian_filter
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    smooth = gaussian_filter(image, 1.0) / _GREY_SCALE
    step = 1 / (_SIDE_SHARE * max(image.shape))
    index = np.arange(height * width).reshape(height, width)
    starts, ends, lengths = [], [], []
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
        left, right = max(0, -across), width - max(0, across)
        one = (slice(0, height - down), slice(left, right))
        other = (slice(down, height), slice(left + across, right + across))
        starts.append(index[one].ravel())
        ends.append(index[other].ravel())
        lengths.append((np.hypot(down, across) * step + np.abs(smooth[one] - smooth[other])).ravel())
    edges = (np.concatenate(lengths), (np.concatenate(starts), np.concatenate(ends)))
    graph = coo_matrix(edges, shape=(index.size, index.size)).tocsr()
    columns, rows = (points[:, :2] * shrink).astype(int).T
    seeds = np.unique(index[rows.clip(0, height - 1), columns.clip(0, width - 1)])
    found = dijkstra(graph, directed=False, indices=seeds, min_only=True, limit=_FARTHEST)
    distances: Floats = found.reshape(image.shape).astype(np.float32)
    return distances
