"""UniverSeg in a process of its own."""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from worker_io import Tell, choose_device, load_weights, refuse_network, run_job, size_mb

_BATCH = 4


def work(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Segments every slice of each case from the examples of each label.

    Args:
        job: `support` (an .npz of `images_<label>` and `labels_<label>`, `(S, size, size)`), `size`, `weights`,
            `device`, `threads`, `cases` (see `automedsam_lab.baselines.slice_baseline`).
        tell: sends a line.
    """
    refuse_network()
    import numpy as np
    import torch
    from universeg import universeg

    device = choose_device(job)
    network = universeg(pretrained=False)  # True would download.
    if job["weights"] is not None:
        load_weights(job["weights"], network, "UniverSeg")
    network.to(device).eval()
    stored = np.load(job["support"], allow_pickle=False)
    support = {
        int(key.removeprefix("images_")): (
            torch.from_numpy(stored[key])[None, :, None].to(device),
            torch.from_numpy(stored[key.replace("images", "labels")])[None, :, None].to(device),
        )
        for key in stored
        if key.startswith("images_")
    }
    with torch.inference_mode():
        for name, case in job["cases"].items():
            slices = np.load(case["frames"])
            began = time.monotonic()
            found = _segment(network, torch.from_numpy(slices).to(device), support, job["size"])
            tell({"done": name, "seconds": time.monotonic() - began, "images": len(slices)})
            np.save(case["output"], found)
    try:
        package = version("universeg")
    except PackageNotFoundError:  # A checkout on the path tells no version.
        package = ""
    return {"version": package, "size_mb": size_mb(job["weights"], network)}


def _segment(network: Any, slices: Any, support: dict[int, tuple[Any, Any]], size: int) -> Any:
    """The label map `(N, H, W)` uint8; where two labels meet, the surer one stays."""
    import numpy as np
    import torch
    from torch.nn.functional import interpolate

    found = np.zeros(tuple(slices.shape), np.uint8)
    for first in range(0, len(slices), _BATCH):
        part = slices[first : first + _BATCH]
        # Shrunk as the examples are, with antialiasing.
        small = interpolate(part.float()[:, None] / 255, (size, size), mode="bilinear", antialias=True)
        logits = []
        for images, labels in support.values():
            every = (len(part), *images.shape[1:])
            logits.append(network(small, images.expand(every), labels.expand(every)))
        large = interpolate(torch.cat(logits, dim=1), tuple(part.shape[1:]), mode="bilinear")
        best, which = large.max(dim=1)
        values = torch.tensor(list(support), dtype=torch.uint8, device=which.device)
        found[first : first + _BATCH] = torch.where(best > 0, values[which], 0).to(torch.uint8).cpu().numpy()
    return found


if __name__ == "__main__":
    run_job(work)
