"""What the starter bundles find, and under which terms: everything in a manifest that is not measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from automedsam.core.segmentation import Segment
from automedsam.core.terminology import MASTER_LIST, REGION_LIST
from automedsam.core.volume import Plane
from automedsam.detection.detector import FlipAugmentation
from automedsam_lab.data import builtin_tasks

SEGMENTER_LICENSE = (
    "The segmenter was trained on images of 14 published sets, among them BraTS (CC BY-NC-SA 3.0), MSD (CC BY-SA 4.0), "
    "Kvasir-SEG (research and education only) and BUSI: research only, no commercial use, share alike."
)

SEGMENTER_HISTORY = (
    "The segmenter of version 0.3.0 was trained on two CPU cores shared with other work. Its image encoder and mask "
    "decoder were distilled from LiteMedSAM (recipe `train efficient`, preset M, 995 steps). The memory attention and "
    "the memory encoder begin with what version 0.2.0's INT8 files hold of its weights. All parts were then trained on "
    "all sets (recipe `universal`, 7,000 steps) and on longer clips (`universal-tracking`, 5,000 steps and once more "
    "1,640, then with hippocampus and contrast-enhanced T1 more often), on training patients only. The detectors were "
    "trained from scratch: polyp and chest-xray by the recipe `yolo-nas`, the others by `starter`."
)


class Recipe(str, Enum):
    """How the detector of a starter was trained."""

    SLICES = "slices"
    """By the recipe `starter`, on a built-in task."""
    IMAGES = "images"
    """By the recipe `yolo-nas`, on a prepared dataset."""


@dataclass(frozen=True)
class StarterTask:
    """One starter bundle.

    Attributes:
        name: of the bundle and of the lab's task.
        task: what it finds.
        modalities: what the volume's channels must be.
        segments: the labels, in the order of the detector's classes.
        segmented_on: the modality on which a label is segmented, by its value; that of the segmenter for all others.
        linking: what differs from the defaults of `automedsam.detection.linking.LinkSettings`.
        mirror: see `automedsam.detection.detector.FlipAugmentation`.
        tracking: see `automedsam.bundle.TrackingSettings`.
        license: the terms of the weights.
        data: where the training cases come from.
        recipe: how its detector was trained; None for a model that only follows prompts.
        plane: the plane of the slices, where they have one.
        skull: "stripped" or "any"; see `automedsam.core.expected_input.ExpectedInput`.
        single_image: the same, for images that are no volumes.
        caution: why no result is to be trusted, as a clause; empty if that is not so.
        most_false_boxes: an image, on validation patients, where the references are boxes; None if they are masks.
    """

    name: str
    task: str
    modalities: tuple[str, ...]
    segments: tuple[Segment, ...]
    mirror: FlipAugmentation | None
    linking: dict[str, Any]
    tracking: dict[str, float]
    license: str
    data: str
    recipe: Recipe | None = Recipe.SLICES
    plane: Plane = Plane.AXIAL
    skull: str = "any"
    single_image: bool = False
    caution: str = ""
    most_false_boxes: float | None = None
    segmented_on: Mapping[int, str] = field(default_factory=dict)


POLYP, ANYTHING, CHEST_XRAY = "polyp", "anything", "chest-xray"

LESION_TRACKING = {"fill": 0.6, "prompt_score": 0.7, "reach_mm": 2.0, "margin": 0.15}
"""Tracking of objects whose extent the boxes leave open; the hippocampus has settings of its own."""


def _in_brain(kind: str) -> str:
    """Slicer's serialized codes of a lesion of the brain."""
    return f"{MASTER_LIST}~SCT^49755003^Morphologically Altered Structure~{kind}~^^~{REGION_LIST}~SCT^12738006^Brain~^^"


NEOPLASM = _in_brain("SCT^108369006^Neoplasm")
ENHANCING_LESION = _in_brain("NCIt^C113842^Enhancing Lesion")


def _hippocampus(modifier: str) -> str:
    """Slicer's serialized codes; the hippocampus is 5366008 in DICOM's CID 7140."""
    return (
        f"{MASTER_LIST}~SCT^123037004^Anatomical Structure~SCT^5366008^Hippocampus~SCT^{modifier}~{REGION_LIST}~^^~^^"
    )


def _in_chest(finding: str, region: str) -> str:
    """Slicer's serialized codes of a finding on a chest X-ray."""
    return (
        f"{MASTER_LIST}~SCT^49755003^Morphologically Altered Structure~SCT^{finding}~^^~{REGION_LIST}~SCT^{region}~^^"
    )


LUNG, HEART, PLEURA = "39607008^Lung", "80891009^Heart", "3120008^Pleura"

STARTER_TASKS = {
    builtin_tasks.HIPPOCAMPUS: StarterTask(
        name=builtin_tasks.HIPPOCAMPUS,
        task="Anterior and posterior hippocampus in a T1 MR crop around it",
        modalities=("T1",),
        segments=(
            Segment(1, "Hippocampus, anterior", (0.90, 0.47, 0.33), _hippocampus("255549009^Anterior")),
            Segment(2, "Hippocampus, posterior", (0.33, 0.67, 0.90), _hippocampus("255551008^Posterior")),
        ),
        mirror=FlipAugmentation.SLICES,
        linking={"member_share": 0.4, "max_objects": 1},
        tracking={"fill": 0.4, "prompt_score": 0.7, "reach_mm": 0.0, "margin": 0.1},
        license=f"CC BY-SA 4.0 (MSD Task04) for the detector. {SEGMENTER_LICENSE}",
        data="Medical Segmentation Decathlon, Task04 Hippocampus",
        plane=Plane.SAGITTAL,
    ),
    builtin_tasks.GLIOMA: StarterTask(
        name=builtin_tasks.GLIOMA,
        task="Whole tumour of a glioma in FLAIR MR, with or without skull",
        modalities=("FLAIR",),
        segments=(Segment(1, "Glioma, whole tumour", (0.95, 0.77, 0.06), NEOPLASM),),
        mirror=FlipAugmentation.COLUMNS,
        linking={"max_gap_mm": 5.0, "min_extent_mm": 8.0},
        tracking=LESION_TRACKING,
        license=f"Research only (CC BY-NC-SA 3.0, as BraTS). {SEGMENTER_LICENSE}",
        data="BraTS 2013, 2015, 2018 and 2021 patients, also placed into heads with skull, and healthy heads",
    ),
    builtin_tasks.BRATS: StarterTask(
        name=builtin_tasks.BRATS,
        task="Whole tumour, core and enhancing part of a glioma in skull-stripped FLAIR and contrast-enhanced T1 MR",
        modalities=("FLAIR", "T1c"),
        segments=(
            Segment(1, "Glioma, whole tumour", (0.95, 0.77, 0.06), NEOPLASM),
            Segment(2, "Glioma, tumour core", (0.90, 0.45, 0.10), NEOPLASM, inside=1),
            Segment(3, "Glioma, enhancing tumour", (0.85, 0.10, 0.15), ENHANCING_LESION, inside=2),
        ),
        segmented_on={2: "T1c", 3: "T1c"},
        mirror=FlipAugmentation.COLUMNS,
        linking={"max_gap_mm": 5.0, "min_extent_mm": 8.0},
        tracking=LESION_TRACKING,
        license=f"Research only (CC BY-NC-SA 3.0, as BraTS). {SEGMENTER_LICENSE}",
        data="BraTS 2013, 2018 and 2021 patients of whom FLAIR and contrast-enhanced T1 are there",
        skull="stripped",
    ),
    POLYP: StarterTask(
        name=POLYP,
        task="Polyp in an endoscopy image or video of the colon",
        modalities=("endoscopy",),
        segments=(
            Segment(
                1,
                "Polyp",
                (0.85, 0.45, 0.60),
                f"{MASTER_LIST}~SCT^49755003^Morphologically Altered Structure~SCT^41329004^Polyp~^^"
                f"~{REGION_LIST}~SCT^71854001^Colon~^^",
            ),
        ),
        mirror=FlipAugmentation.COLUMNS,
        linking={},
        tracking=LESION_TRACKING,
        license=f"Research and education only (Kvasir-SEG). {SEGMENTER_LICENSE}",
        data="Kvasir-SEG, 720 of the 800 training images of EffiSegNet's split",
        recipe=Recipe.IMAGES,
    ),
    ANYTHING: StarterTask(
        name=ANYTHING,
        task="Any structure, by a box or points",
        modalities=("any",),
        segments=(
            Segment(
                1,
                "Structure",
                (0.30, 0.70, 0.90),
                f"{MASTER_LIST}~SCT^123037004^Anatomical Structure~SCT^123037004^Anatomical Structure~^^"
                f"~{REGION_LIST}~^^~^^",
            ),
        ),
        mirror=None,
        linking={},
        tracking=LESION_TRACKING,
        license=SEGMENTER_LICENSE,
        data="14 published sets of MR, CT, X-ray, ultrasound and endoscopy",
        recipe=None,
    ),
    CHEST_XRAY: StarterTask(
        name=CHEST_XRAY,
        task="Eight findings on a frontal chest X-ray: an unreliable demonstration that learnt boxes only, so each "
        "mask is the segmenter's guess inside a box",
        modalities=("X-ray",),
        segments=(
            Segment(1, "Atelectasis", (0.90, 0.62, 0.16), _in_chest("46621007^Atelectasis", LUNG)),
            Segment(2, "Cardiomegaly", (0.84, 0.15, 0.24), _in_chest("8186001^Cardiomegaly", HEART)),
            Segment(3, "Effusion", (0.20, 0.53, 0.90), _in_chest("60046008^Pleural effusion", PLEURA)),
            Segment(4, "Infiltration", (0.95, 0.90, 0.25), _in_chest("409609008^Pulmonary infiltrate", LUNG)),
            Segment(5, "Mass", (0.60, 0.31, 0.64), _in_chest("4147007^Mass", LUNG)),
            Segment(6, "Nodule", (0.97, 0.51, 0.75), _in_chest("27925004^Nodule", LUNG)),
            Segment(7, "Pneumonia", (0.30, 0.69, 0.29), _in_chest("233604007^Pneumonia", LUNG)),
            Segment(8, "Pneumothorax", (0.30, 0.85, 0.85), _in_chest("36118008^Pneumothorax", PLEURA)),
        ),
        mirror=FlipAugmentation.COLUMNS,
        linking={},
        tracking=LESION_TRACKING,
        license="Free with attribution to the NIH Clinical Center (ChestX-ray14, X. Wang et al., CVPR 2017) for the "
        f"detector. {SEGMENTER_LICENSE}",
        data="NIH ChestX-ray14: 478 of the 880 images with boxes, as copies of 512 x 512 pixels. No masks were "
        "learnt or measured, for there are none. The detector's weights are those after 27 epochs, the best of 30. The "
        "segmenter's image encoder was distilled on images of training patients.",
        recipe=Recipe.IMAGES,
        single_image=True,
        caution="this model's findings are often wrong, and its masks are guesses inside boxes",
        most_false_boxes=0.5,
    ),
}
