"""SAM 2 as its package has it: a true box on one slice, followed through the volume as through a video."""

from __future__ import annotations

from automedsam.errors import AutoMedSAMError
from automedsam_lab.baselines.process import WORKERS, Worker
from automedsam_lab.baselines.sampling import SliceSelection
from automedsam_lab.baselines.slice_baseline import SliceBaseline
from automedsam_lab.checkpoints.model_zoo import Config, find_config

# Where the package keeps the settings of the networks in `automedsam_lab.checkpoints.model_zoo`.
_YAMLS = {
    "sam2.1_hiera_t512": "configs/sam2.1/sam2.1_hiera_t.yaml",
    "sam2.1_hiera_t": "configs/sam2.1/sam2.1_hiera_t.yaml",
    "sam2.1_hiera_s": "configs/sam2.1/sam2.1_hiera_s.yaml",
    "sam2.1_hiera_b+": "configs/sam2.1/sam2.1_hiera_b+.yaml",
    "sam2_hiera_t": "configs/sam2/sam2_hiera_t.yaml",
}


def sam2(config: str = "sam2.1_hiera_t512") -> SliceBaseline:
    """Stock SAM 2 of one of the published networks.

    Args:
        config: one of `automedsam_lab.checkpoints.model_zoo.CONFIGS`, which says the size of the slices, 512 or 1024
            px.

    Raises:
        AutoMedSAMError: if there is no such network.
    """
    chosen: Config = find_config(config)
    if chosen.name not in _YAMLS:
        message = f"The package sam2 has no settings for {chosen.name}; choose one of {', '.join(_YAMLS)}."
        raise AutoMedSAMError(message)
    size = chosen.architecture.image_size
    terms = sorted({file.license for file in chosen.files})
    return SliceBaseline(
        name=f"SAM 2, {chosen.name}",
        worker=Worker("SAM 2", WORKERS / "sam2_worker.py", "pip install 'automedsam[baseline-sam2]'"),
        license=f"Apache-2.0 (sam2). Published weights: {' '.join(terms)}",
        prompted="box on one slice",
        selection=SliceSelection.VIDEO,
        note=(
            f"At {size} px, with the true box of each label on the slice where it is the largest, followed forwards "
            "and backwards through the whole volume by the package's own video predictor in FP32."
        ),
        settings={"yaml": _YAMLS[chosen.name], "image_size": size},
    )
