"""Measures what a busy computer may hold up once, but not every time."""

from collections.abc import Callable


def three_tries(measure: Callable[[], float], limit: float) -> list[float]:
    """What up to three tries measured; none follows one that is below the limit."""
    tries: list[float] = []
    while len(tries) < 3 and not (tries and tries[-1] < limit):
        tries.append(measure())
    return tries
