"""The pictures that tests take: each in both themes, with nothing in the panel that cannot be read."""

from pathlib import Path
from typing import Any

import slicer

from . import pictures
from .legibility import faint_texts


class Album:
    """Takes pictures and writes them as PNG files.

    Args:
        folder: where the files go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, widget: Any, name: str) -> Path:
        """Takes a picture of a widget, light and dark; see `take_composition`."""
        slicer.app.processEvents()
        return self._keep(pictures.in_both_themes(widget), widget, name)

    def take_composition(self, window: Any, name: str) -> Path:
        """Takes a picture of the panel with the views beside it, light and dark.

        Args:
            window: the panel's Qt widget, shown and laid out.
            name: of the light picture's file below the folder, without its suffix.

        Returns:
            The light picture's file; the dark one is beside it.

        Raises:
            AssertionError: if a text cannot be read; the pictures are written nevertheless.
        """
        return self._keep(pictures.composition(window), window, name)

    def _keep(self, taken: dict[str, Any], widget: Any, name: str) -> Path:
        path = self.folder / f"{name}.png"
        pictures.save(taken, path)
        faint = {theme: found for theme, image in taken.items() if (found := faint_texts(widget, image))}
        assert not faint, f"{path} has texts of too little contrast: {faint}"
        return path
