"""Stand-ins for baselines: workers that need no packages, and whose results are known."""

from pathlib import Path

from automedsam_lab.baselines.process import WORKERS, Worker
from automedsam_lab.baselines.sampling import SliceSelection
from automedsam_lab.baselines.slice_baseline import SliceBaseline

# Fills every box that it is given, and knows nothing else: with true boxes around boxes, it is always right.
FILLS_BOXES = """
import numpy as np
def work(job, tell):
    for name, case in job["cases"].items():
        slices = np.load(case["frames"])
        found = np.zeros(slices.shape, np.uint8)
        for label, boxes in case["boxes"].items():
            for index, (left, top, right, bottom) in boxes.items():
                found[int(index), int(top):int(bottom), int(left):int(right)] = int(label)
        np.save(case["output"], found)
        tell({"done": name, "seconds": 0.5, "images": len(slices)})
    return {"version": "1.2", "size_mb": 3.0}
"""


def a_worker(folder: Path, body: str) -> Worker:
    """A worker whose `work` is `body`."""
    script = folder / "fake_worker.py"
    head = f"import sys; sys.path.insert(0, {str(WORKERS)!r})\nfrom worker_io import *\n"
    script.write_text(f"{head}{body}\nrun_job(work)\n", encoding="utf-8")
    return Worker("Fake", script, "pip install 'automedsam[baseline-fake]'")


def a_baseline(
    folder: Path, body: str = FILLS_BOXES, selection: SliceSelection = SliceSelection.BOXED
) -> SliceBaseline:
    return SliceBaseline("Fake", a_worker(folder, body), "none", "box", selection, "A fake.")
