"""Parts of a box table as they are saved and compared."""

from __future__ import annotations

import json
from typing import Any


def checked_measures(measures: Any) -> list[dict[str, Any]]:
    """Measures of a saved scene, whose fields may be of any kind."""
    found = []
    for one in measures:
        slices = one["slices"]
        found.append(
            {
                "label": int(one["label"]),
                "segment": str(one["segment"]),
                "number": None if one["number"] is None else int(one["number"]),
                "ml": float(one["ml"]),
                "slices": None if slices is None else [int(slices[0]), int(slices[1])],
                "slice_count": int(one["slice_count"]),
                "diameter_slice": None if one["diameter_slice"] is None else int(one["diameter_slice"]),
                "long_mm": float(one["long_mm"]),
                "short_mm": float(one["short_mm"]),
                "agreement": None if one["agreement"] is None else float(one["agreement"]),
                "doubtful": [int(at) for at in one["doubtful"]],
                "boxes": [int(number) for number in one.get("boxes", [])],
            }
        )
    return found


def prompts_in(tracklet: dict[str, Any]) -> list[str]:
    """The prompts of an object beside its boxes, as text that is equal for equal prompts."""
    prompts = {name: tracklet[name] for name in ("points", "masks", "empty", "limits") if name in tracklet}
    return [json.dumps(prompts, default=lambda mask: mask.data)] if prompts else []
