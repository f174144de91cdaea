"""`slicer.i18n`, by Slicer's rules, and a made-up language for the tests.

A context is a file's name, with the name of its folder in front where that is a package. A translation that has other
placeholders than its text is not used; Slicer logs that, and here it fails.
"""

import contextlib
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore

_PLACEHOLDER = re.compile(r"(?<!\{)\{([^{}]+)\}(?!\})")


class TranslationError(RuntimeError):
    """A text that Slicer cannot translate."""


def context_of(file: str) -> str:
    """The translation context of a Python file."""
    path = Path(file)
    return f"{path.parent.name}.{path.stem}" if (path.parent / "__init__.py").is_file() else path.stem


def translate(context: str, text: str) -> str:
    """The text in the application's language; as it is, where there is no translation.

    Raises:
        TranslationError: if it is no text.
    """
    if not isinstance(context, str) or not isinstance(text, str):
        message = f"only text is translated, not {text!r}"
        raise TranslationError(message)
    return slicer.app.translate(context, text)


def tr(text: str) -> str:
    """As `translate`, in the context of the file that calls it.

    Raises:
        TranslationError: if it is no text, or if the translation has other placeholders.
    """
    translated = translate(context_of(sys._getframe(1).f_code.co_filename), text)
    if set(_PLACEHOLDER.findall(text)) != set(_PLACEHOLDER.findall(translated)):
        message = f"{translated!r} has other placeholders than {text!r}"
        raise TranslationError(message)
    return translated


def as_module() -> types.ModuleType:
    """These functions as Slicer's module."""
    module = types.ModuleType("slicer.i18n")
    module.tr, module.translate, module.getContext = tr, translate, context_of
    return module


class _MadeUp(QtCore.QTranslator):
    """Translates the texts of some contexts with a function."""

    def __init__(self, contexts: frozenset[str], function: Callable[[str], str]) -> None:
        super().__init__()
        self._contexts, self._function = contexts, function

    # Qt's own names.
    def translate(self, context: str, text: str, _disambiguation: Any = None, _n: int = -1) -> str | None:
        return self._function(text) if context in self._contexts else None

    def isEmpty(self) -> bool:
        return False


def in_brackets(text: str) -> str:
    """The text in angle brackets."""
    return f"«{text}»"


@contextlib.contextmanager
def made_up_language(contexts: frozenset[str], function: Callable[[str], str] = in_brackets) -> Iterator[None]:
    """Within it, each text of these contexts is shown as the function gives it."""
    translator = _MadeUp(contexts, function)
    slicer.app.installTranslator(translator)
    try:
        yield
    finally:
        slicer.app.removeTranslator(translator)
