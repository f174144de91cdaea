"""A bundle as large as MedSAM2 with YOLO-NAS-S, with random weights: as fast as the real one, and as useless."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from automedsam.bundle import Bundle
from automedsam.demo.phantom import phantom_head
from automedsam.sam2.build import build_sam2
from automedsam_lab.benchmark.run import RANDOM_TASK
from automedsam_lab.bundling.convert import Request, convert
from automedsam_lab.bundling.metadata import BundleMetadata
from automedsam_lab.checkpoints.model_zoo import Config

MEDSAM2 = "sam2.1_hiera_t512"
RANDOM = BundleMetadata(task=RANDOM_TASK, modality="any", license="Random weights: use them as you like.")
_NOISE = 0.01


def random_bundle(config: Config, out: Path, detector: str | None = None) -> Bundle:
    """Writes random weights as a published checkpoint has them, and converts them as any other.

    Args:
        config: the network.
        out: the bundle's folder, a new one.
        detector: what `convert` takes; a YOLO-NAS-S of random weights at 640 px if None.

    Raises:
        AutoMedSAMError: if the bundle cannot be written, or super-gradients is missing for a random detector.
    """
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        torch.save({"model": _random_segmenter(config)}, folder / "random.pt")
        if detector is None:
            detector = str(folder / "random.pth")
            torch.save(_random_detector(), detector)
        volume, _ = phantom_head()
        (folder / "slices").mkdir()
        sitk.WriteImage(volume.to_image(volume.array), str(folder / "slices" / "head.nii.gz"))
        # Measuring what random weights lose would take long and mean nothing.
        request = Request(
            folder / "random.pt", config, folder / "slices", detector=detector, description=RANDOM, quick=True
        )
        return convert(request, out)


def _random_segmenter(config: Config) -> dict[str, torch.Tensor]:
    """Weights of which no two layers are alike, else the files would share them; the object is on every slice."""
    torch.manual_seed(0)
    model = build_sam2(config.architecture)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(_NOISE * torch.randn_like(weights))
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(2.0)
    return {key: value for key, value in model.state_dict().items() if key not in config.zeros}


def _random_detector() -> dict[str, torch.Tensor]:
    from automedsam_lab.models.yolo_nas import build_yolo_nas

    torch.manual_seed(0)
    return build_yolo_nas("s", 1).state_dict()
