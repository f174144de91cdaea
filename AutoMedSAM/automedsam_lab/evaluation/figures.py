"""An evaluation in pictures: where prediction and reference agree, case by case, and how Dice spreads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.segmentation import Segment, Segmentation
from automedsam.io.atomic import atomic_write
from automedsam.visualization.montage import montage, write_png
from automedsam_lab.evaluation.summary import dice_by_case

if TYPE_CHECKING:
    from automedsam_lab.evaluation.case import CaseScores

AGREEMENT = (
    Segment(1, "right", (0.25, 0.8, 0.35), ""),
    Segment(2, "missed", (0.25, 0.55, 1.0), ""),
    Segment(3, "wrong", (1.0, 0.3, 0.2), ""),
)
_SHOWN = (("dice", "no prompt"), ("prompted_dice", "one true box"))


def agreement(segmentation: Segmentation, reference: NDArray[np.uint8], path: Path) -> None:
    """Draws a case: green is right, blue was missed, red is wrong (another label, or none, is true).

    Args:
        segmentation: the automatic result.
        reference: `(K, J, I)`.
        path: a PNG.

    Raises:
        AutoMedSAMError: if the file cannot be written.
    """
    prediction = segmentation.labels
    labels = np.select(
        [(prediction == reference) & (reference > 0), prediction > 0, reference > 0], [1, 3, 2], default=0
    ).astype(np.uint8)
    write_png(montage(replace(segmentation, labels=labels, segments=list(AGREEMENT), boxes={})), path)


def dice_plot(rows: Sequence[CaseScores], title: str, path: Path) -> None:
    """Draws Dice as a point a case and a box a group, for each label, backend and kind of prompt.

    Raises:
        AutoMedSAMError: if the file cannot be written.
    """
    groups: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        for figure, called in _SHOWN:
            value = getattr(row, figure)
            if not np.isnan(value):
                groups.setdefault((row.label, called, row.backend), []).append(value)
    names, values = sorted(groups), [groups[name] for name in sorted(groups)]

    figure_, axes = _figure(1.5 + 1.15 * len(names), 4.5)
    axes.boxplot(values, widths=0.5, showfliers=False, medianprops={"color": "black"})
    spread = np.random.default_rng(0)
    for place, (name, dices) in enumerate(zip(names, values, strict=True), start=1):
        across = place + spread.uniform(-0.12, 0.12, len(dices))
        axes.plot(across, dices, "o", ms=4, alpha=0.6, color="tab:blue" if name[1] == "no prompt" else "tab:orange")
    axes.set_xticks(range(1, len(names) + 1), ["\n".join(name).replace(", ", ",\n") for name in names], fontsize=8)
    axes.set_ylim(min(0.5, *map(min, values)) - 0.02, 1.0)
    axes.set_ylabel("Dice, one point a case")
    axes.set_title(title)
    axes.grid(axis="y", alpha=0.3)
    _save(figure_, path)


def overview(rows: Sequence[CaseScores], pictures: Path, path: Path) -> None:
    """Puts the pictures of the best, the median and the worst case of the first backend below each other.

    Args:
        rows: of the evaluation.
        pictures: the folder with `agreement`'s picture of each case.
        path: a PNG.

    Raises:
        AutoMedSAMError: if the file cannot be written.
    """
    import matplotlib.image
    from matplotlib.patches import Patch

    dices = dice_by_case(rows, rows[0].backend)
    order = sorted(dices, key=lambda case: -dices[case])
    ranks = {"best": 0, "median": len(order) // 2, "worst": len(order) - 1}
    picked = {rank: order[at] for rank, at in ranks.items()}
    shown = [matplotlib.image.imread(pictures / f"{case}.png") for case in picked.values()]
    heights = [10 * picture.shape[0] / picture.shape[1] + 0.35 for picture in shown]
    figure, axes = _figure(10, 0.4 + sum(heights), heights)
    for place, (rank, case), picture in zip(axes, picked.items(), shown, strict=True):
        place.imshow(picture)
        place.set_axis_off()
        place.set_title(f"{rank}: {case}, Dice {dices[case]:.3f}", fontsize=9)
    patches = [Patch(color=segment.color, label=segment.name) for segment in AGREEMENT]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    _save(figure, path)


def _figure(width: float, height: float, rows: Sequence[float] = (1.0,)) -> tuple[Any, Any]:
    """A figure of so many inches, with axes of these relative heights below each other; it needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(len(rows), 1, height_ratios=rows)


def _save(figure: Any, path: Path) -> None:
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
