"""SAM 2 in a process of its own, with the package sam2 as it is."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from worker_io import Tell, choose_device, load_weights, refuse_network, run_job, size_mb

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # Of ImageNet, as the package's own loader has them.


def work(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Follows each label of each case from a box on one slice, forwards and backwards.

    Args:
        job: `yaml` and `image_size` of the network, `weights`, `device`, `threads`, `cases` (see
            `automedsam_lab.baselines.slice_baseline`).
        tell: sends a line.
    """
    refuse_network()
    import numpy as np
    import torch
    from sam2.build_sam import build_sam2_video_predictor

    device = choose_device(job)
    size = job["image_size"]
    # The package's post-processing needs a compiled extension, which it does without where there is none.
    predictor = build_sam2_video_predictor(
        job["yaml"],
        device=device,
        apply_postprocessing=False,
        hydra_overrides_extra=[f"++model.image_size={size}"],
    )
    if job["weights"] is not None:
        load_weights(job["weights"], predictor, f"{job['yaml']} at {size} px")
    with torch.inference_mode():
        for name, case in job["cases"].items():
            slices = np.load(case["frames"])
            began = time.monotonic()
            found = _track(predictor, slices, case["boxes"], size)
            tell({"done": name, "seconds": time.monotonic() - began, "images": len(slices)})
            np.save(case["output"], found)
    return {"version": version("sam2"), "size_mb": size_mb(job["weights"], predictor)}


def _track(predictor: Any, slices: Any, boxes: dict[str, dict[str, list[float]]], size: int) -> Any:
    """The label map `(N, H, W)` uint8 of slices `(N, H, W)` uint8; where two labels meet, the surer one stays."""
    import numpy as np
    import torch

    gray = torch.from_numpy(slices).float()[:, None] / 255
    gray = torch.nn.functional.interpolate(gray, (size, size), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(values)[:, None, None] for values in (_MEAN, _STD))
    frames = (gray - mean) / std
    surest = np.zeros(slices.shape, np.float32)
    found = np.zeros(slices.shape, np.uint8)
    state = _state(predictor, frames, slices.shape[1:])
    for label, by_slice in boxes.items():
        (seed, box), *_ = by_slice.items()
        for reverse in (False, True):
            predictor.reset_state(state)
            predictor.add_new_points_or_box(state, int(seed), 1, box=np.array(box, np.float32))
            following = predictor.propagate_in_video(state, start_frame_idx=int(seed), reverse=reverse)
            for index, _, logits in following:
                sure = logits[0, 0].float().cpu().numpy()
                better = sure > surest[index]
                found[index][better] = int(label)
                surest[index][better] = sure[better]
    return found


def _state(predictor: Any, frames: Any, native: tuple[int, int]) -> Any:
    """The predictor's state for slices in memory: its own loader reads a video or a folder of JPEG files alone."""
    import sam2.sam2_video_predictor as stock

    kept = stock.load_video_frames
    stock.load_video_frames = lambda **_: (frames.to(predictor.device), *native)
    try:
        return predictor.init_state(video_path=None)
    finally:
        stock.load_video_frames = kept


if __name__ == "__main__":
    run_job(work)
