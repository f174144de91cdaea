"""FastSAM (Zhao et al. 2023, arXiv:2306.12156): a YOLOv8 that segments everything, of which a box takes the best."""

from __future__ import annotations

from automedsam.errors import AutoMedSAMError
from automedsam_lab.rivals.child import WORKERS, Worker
from automedsam_lab.rivals.frames import FramesRival
from automedsam_lab.rivals.sampling import Sight

AGPL = (
    "It runs with ultralytics, whose licence is AGPL-3.0: not part of AutoMedSAM, installed and used at your choice, "
    "in a process of its own."
)
NETWORKS = {"s": "yolov8s-seg.yaml", "x": "yolov8x-seg.yaml"}


def fastsam(size: str = "x") -> FramesRival:
    """FastSAM of one of its two sizes.

    Args:
        size: "s" or "x"; matters for random weights alone, for a checkpoint knows its network.

    Raises:
        AutoMedSAMError: if there is no such size.
    """
    if size not in NETWORKS:
        message = f"There is no FastSAM of size {size!r}; choose one of {', '.join(NETWORKS)}."
        raise AutoMedSAMError(message)
    return FramesRival(
        name=f"FastSAM-{size}",
        worker=Worker("FastSAM", WORKERS / "ultralytics_worker.py", "pip install 'automedsam[rival-fastsam]'", AGPL),
        licence="AGPL-3.0 (ultralytics and the weights)",
        prompted="box",
        sight=Sight.BOXED,
        note=(
            "Each slice that shows a label, at 1024 px: everything is segmented, and the segment that overlaps best "
            "with the true box of the label on that slice is taken (its own box prompt)."
        ),
        settings={"model": "fastsam", "network": NETWORKS[size]},
    )
