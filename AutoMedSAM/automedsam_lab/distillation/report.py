"""The results of a student as JSON, Markdown and HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from automedsam.io.atomic import atomic_write
from automedsam_lab.common.json_files import write_json
from automedsam_lab.common.system_info import describe_machine
from automedsam_lab.common.table import MISSING, Cell, Column, Table
from automedsam_lab.distillation.automatic import Automatic
from automedsam_lab.distillation.cost import Cost
from automedsam_lab.distillation.evaluate import AP_SET, EXACT, JITTERED, PROMPTS, Evaluation
from automedsam_lab.evaluation.report.page import Section, write_page

_COST_CAPTION = (
    "One image and one box at 256 x 256 in ONNX Runtime. Encoder: CPU time; encoder and prompt: least of many runs; "
    "images/s: median"
)
RESULTS, MARKDOWN, HTML = "results.json", "results.md", "results.html"


def results(
    evaluations: Sequence[Evaluation],
    costs: Sequence[Cost],
    about: Mapping[str, Any],
    part: str = "test",
    automatic: Sequence[Automatic] = (),
) -> dict[str, Any]:
    """Everything that the tables show, as plain JSON values.

    Args:
        evaluations: of the segmenters, on the same images.
        costs: of those whose cost was measured.
        about: how the student came about.
        part: of the split that was measured on.
        automatic: of the segmenters with a detector, if there is one.
    """
    first = evaluations[0]
    sets = list(dict.fromkeys(score.set for score in first.scores))
    return {
        "part": part,
        "machine": describe_machine(),
        "about": dict(about),
        "sets": {
            name: {
                "patients": len({score.patient for score in first.scores if score.set == name}),
                "masks": sum(score.set == name and score.prompt == EXACT for score in first.scores),
            }
            for name in sets
        },
        "dice": {
            one.name: {prompt: {name: round(one.dice(name, prompt), 4) for name in sets} for prompt in PROMPTS}
            for one in evaluations
        },
        "average_precision": {
            one.name: {prompt: _numbers(one.average_precision(AP_SET, prompt)) for prompt in PROMPTS}
            for one in evaluations
            if AP_SET in sets
        },
        "automatic": {
            one.name: {"dice": round(one.dice, 4), "ap50": _number(one.ap50), "ap": _number(one.ap)}
            for one in automatic
        },
        "costs": [asdict(cost) for cost in costs],
    }


def dice_table(found: Mapping[str, Any]) -> Table:
    """Mean Dice by set: exact box / jittered box of each segmenter; the best exact one is marked."""
    names = list(found["dice"])
    table = Table(
        [Column("Set", is_text=True), "Patients", "Masks", *names],
        caption=f"Mean Dice on {found['part']} patients: exact box / box with each side moved by up to 10 %",
    )
    for name, counts in found["sets"].items():
        table.add(name, str(counts["patients"]), str(counts["masks"]), *_marked(found, names, name))
    table.add("mean of the sets", "", "", *_marked(found, names, None))
    return table


def precision_table(found: Mapping[str, Any]) -> Table:
    """Average precision of Kvasir's masks."""
    table = Table(
        [Column("Segmenter", is_text=True), "AP50, exact box", "AP50:95, exact", "AP50, jittered", "AP50:95, jittered"],
        caption="Kvasir: average precision of the masks, each from the box of its polyp",
    )
    for name, by_prompt in found["average_precision"].items():
        cells = [_text(value) for prompt in (EXACT, JITTERED) for value in by_prompt[prompt]]
        table.add(name, *cells)
    return table


def automatic_table(found: Mapping[str, Any]) -> Table:
    """What the segmenters reach with a detector's boxes."""
    table = Table(
        [Column("Segmenter", is_text=True), "Dice", "AP50", "AP50:95"],
        caption="Automatic: from the boxes of a detector; average precision of the masks over all boxes",
    )
    for name, one in found["automatic"].items():
        table.add(name, *(_text(one[key]) for key in ("dice", "ap50", "ap")))
    return table


def cost_table(found: Mapping[str, Any]) -> Table:
    """What the segmenters cost."""
    table = Table(
        [
            Column("Segmenter", is_text=True), "Precision", "Parameters (M)", "Encoder (GMAC)", "Decoder (GMAC)",
            "Encoder, 1 thread (ms)", "Prompt, 2 threads (ms)", "Images/s, 2 threads", "Size (MB)",
        ],
        caption=_COST_CAPTION,
    )  # fmt: skip
    for cost in found["costs"]:
        for precision in cost["encoder_ms"]:
            table.add(
                cost["name"],
                precision.upper(),
                f"{cost['parameters'] / 1e6:.2f}",
                f"{cost['encoder_macs'] / 1e9:.3f}",
                f"{cost['decoder_macs'] / 1e9:.3f}",
                f"{cost['encoder_ms'][precision]:.1f}",
                f"{cost['prompt_ms'][precision]:.1f}",
                f"{cost['images_per_second'][precision]:.1f}",
                f"{cost['megabytes'][precision]:.1f}",
            )
    return table


def write_report(found: Mapping[str, Any], out: Path) -> None:
    """Writes `results.json`, `results.md` and `results.html`.

    Raises:
        AutoMedSAMError: if a file cannot be written.
    """
    write_json(dict(found), out / RESULTS)
    parts = [("Accuracy", dice_table(found))]
    if found["average_precision"]:
        parts.append(("Kvasir", precision_table(found)))
    if found["automatic"]:
        parts.append(("Automatic", automatic_table(found)))
    if found["costs"]:
        parts.append(("Cost", cost_table(found)))
    facts = {
        "Data": f"{found['part']} patients of {len(found['sets'])} image sets",
        "Machine": ", ".join(
            f"{value}" if key == "cpu" else f"{key} {value}" for key, value in found["machine"].items()
        ),
        **{name: str(value) for name, value in found["about"].items()},
    }
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    text = "\n\n".join(["\n".join(lines), *(f"{one.caption}\n\n{one.to_markdown()}" for _, one in parts)])
    with atomic_write(out / MARKDOWN) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")
    sections = [Section(title, tables=(table,)) for title, table in parts]
    write_page("A student of the MedSAM family", facts, sections, out / HTML)


def _marked(found: Mapping[str, Any], names: Sequence[str], name: str | None) -> list[Cell]:
    """A cell for each segmenter of one set, or of the mean of the sets."""

    def value(segmenter: str, prompt: str) -> float:
        by_set = found["dice"][segmenter][prompt]
        return float(by_set[name]) if name else sum(by_set.values()) / len(by_set)

    exact = [value(one, EXACT) for one in names]
    return [
        Cell(f"{score:.3f} / {value(one, JITTERED):.3f}", is_best=score == max(exact))
        for one, score in zip(names, exact, strict=True)
    ]


def _numbers(values: Sequence[float]) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else round(value, 4)


def _text(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"
