"""Two baselines that run with ultralytics, each prompted with a box.

FastSAM (Zhao et al. 2023, arXiv:2306.12156): a YOLOv8 that segments everything, of which a box selects
the best match. MobileSAM (Zhang et al. 2023, arXiv:2306.14289): SAM with a TinyViT encoder.
"""

from __future__ import annotations

from automedsam.errors import AutoMedSAMError
from automedsam_lab.baselines.process import WORKERS, Worker
from automedsam_lab.baselines.sampling import SliceSelection
from automedsam_lab.baselines.slice_baseline import SliceBaseline

AGPL = (
    "It runs with ultralytics, whose license is AGPL-3.0: not part of AutoMedSAM, installed and used at your choice, "
    "in a process of its own."
)
NETWORKS = {"s": "yolov8s-seg.yaml", "x": "yolov8x-seg.yaml"}


def fastsam(size: str = "x") -> SliceBaseline:
    """FastSAM of one of its two sizes.

    Args:
        size: "s" or "x"; matters for random weights alone, for a checkpoint knows its network.

    Raises:
        AutoMedSAMError: if there is no such size.
    """
    if size not in NETWORKS:
        message = f"There is no FastSAM of size {size!r}; choose one of {', '.join(NETWORKS)}."
        raise AutoMedSAMError(message)
    return SliceBaseline(
        name=f"FastSAM-{size}",
        worker=Worker("FastSAM", WORKERS / "ultralytics_worker.py", "pip install 'automedsam[baseline-fastsam]'", AGPL),
        license="AGPL-3.0 (ultralytics and the weights)",
        prompted="box",
        selection=SliceSelection.BOXED,
        note=(
            "Each slice that shows a label, at 1024 px: everything is segmented, and the segment that overlaps best "
            "with the true box of the label on that slice is taken (its own box prompt)."
        ),
        settings={"model": "fastsam", "network": NETWORKS[size]},
    )


def mobilesam() -> SliceBaseline:
    """MobileSAM, there being one size of it."""
    return SliceBaseline(
        name="MobileSAM",
        worker=Worker(
            "MobileSAM", WORKERS / "ultralytics_worker.py", "pip install 'automedsam[baseline-mobilesam]'", AGPL
        ),
        license="AGPL-3.0 (ultralytics); Apache-2.0 (the weights)",
        prompted="box",
        selection=SliceSelection.BOXED,
        note="Each slice that shows a label, at 1024 px, with the true box of each label on that slice.",
        settings={"model": "mobilesam"},
    )
