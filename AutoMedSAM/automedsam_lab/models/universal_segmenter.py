"""The segmenter that all bundles share: a distilled encoder and decoder in the shell of SAM 2's video model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import Sam2Architecture
from automedsam_lab.checkpoints.matching import read_state_dict
from automedsam_lab.checkpoints.saving import save_checkpoint
from automedsam_lab.models.starter_segmenter import STARTER, build_trainable
from automedsam_lab.models.student.architecture import PRESETS, StudentArchitecture
from automedsam_lab.models.student.network import load_student

IMAGE_SIZE = 192


def universal_architecture(student: StudentArchitecture = PRESETS["m"]) -> Sam2Architecture:
    """A student's numbers as a SAM 2 video model's; the rest as the starter segmenter's."""
    return replace(
        STARTER,
        image_size=IMAGE_SIZE,
        trunk="efficient",
        widths=student.widths,
        operations=student.stages,
        d_model=student.d_model,
        decoder_feedforward=student.decoder_feedforward,
        memory_layers=student.memory_layers,
        # SAM 2 counts the prompted slice's memory, too.
        num_maskmem=1 + student.memories,
    )


def write_initial_weights(
    student: Path | None, memory: Path | None, out: Path, wanted: StudentArchitecture | None = None
) -> Sam2Architecture:
    """Puts weights together from which the segmenter's training starts.

    Args:
        student: `student.pt` of `train efficient`, for the image encoder, the prompt encoder and the mask decoder;
            random weights of size M if None.
        memory: `segmenter.pt` of an earlier segmenter; what is left and fits is taken from it. Random if None.
        out: the file to write, in the layout of `segmenter.pt`.
        wanted: the numbers, such as those of a search; the student's own if None. What has another shape than the
            student's starts from the earlier segmenter or random.

    Returns:
        The architecture.

    Raises:
        AutoMedSAMError: if a file is not what it should be, or the student has another encoder than is wanted.
    """
    loaded = None if student is None else load_student(student)
    built = PRESETS["m"] if loaded is None else loaded.architecture
    if wanted is not None and loaded is not None and (wanted.widths, wanted.stages) != (built.widths, built.stages):
        message = f"{student} has another encoder than the architecture: give the student that the search was run with."
        raise AutoMedSAMError(message)
    architecture = universal_architecture(wanted or built)
    weights = build_trainable(architecture).state_dict()
    distilled = {} if loaded is None else loaded.state_dict()
    earlier = {} if memory is None else read_state_dict(memory)
    for name, weight in weights.items():
        for source in (distilled, earlier):
            if name in source and source[name].shape == weight.shape:
                weights[name] = source[name]
                break
    out.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint({"model": weights, "architecture": architecture.to_manifest()}, out)
    return architecture
