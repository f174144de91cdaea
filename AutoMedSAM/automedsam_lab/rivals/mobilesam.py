"""MobileSAM (Zhang et al. 2023, arXiv:2306.14289): SAM with a TinyViT encoder, prompted with a box."""

from __future__ import annotations

from automedsam_lab.rivals.child import WORKERS, Worker
from automedsam_lab.rivals.fastsam import AGPL
from automedsam_lab.rivals.frames import FramesRival
from automedsam_lab.rivals.sampling import Sight


def mobilesam() -> FramesRival:
    """MobileSAM, there being one size of it."""
    return FramesRival(
        name="MobileSAM",
        worker=Worker(
            "MobileSAM", WORKERS / "ultralytics_worker.py", "pip install 'automedsam[rival-mobilesam]'", AGPL
        ),
        licence="AGPL-3.0 (ultralytics); Apache-2.0 (the weights)",
        prompted="box",
        sight=Sight.BOXED,
        note="Each slice that shows a label, at 1024 px, with the true box of each label on that slice.",
        settings={"model": "mobilesam"},
    )
