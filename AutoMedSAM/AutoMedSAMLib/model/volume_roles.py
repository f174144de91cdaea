"""Which volume of the scene is which of a model's inputs; the command line assigns files in the same way."""

from __future__ import annotations

from collections.abc import Sequence

from automedsam.contract import roles
from automedsam.contract.roles import Names, Role

__all__ = ["Names", "Role", "match"]


def match(modalities: Sequence[str | Role], chosen: Sequence[int | None], volumes: Sequence[Names]) -> list[int | None]:
    """Assigns volumes to a model's inputs, each at most once.

    Args:
        modalities: what the model takes, such as "FLAIR" or "T1ce".
        chosen: for each modality the index of the volume that stays there; None where one is to be found.
        volumes: what each volume is called.

    Returns:
        For each modality the index of its volume; None where no volume names it.
    """
    wanted = [Role(one) if isinstance(one, str) else one for one in modalities]
    return roles.match(wanted, chosen, volumes)
