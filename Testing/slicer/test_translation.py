"""Every text that the user sees can be translated, by the conventions of Slicer's manual for module developers.

Texts of the engine's process, of a model's manifest and of DICOM stay as they are.
"""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from built_in import BUILT_IN_NAMES, VERSION

pytest_plugins = ["panel_fixtures", "run_fixtures"]

MODULE = Path(__file__).resolve().parents[2] / "AutoMedSAM"
FILES = [MODULE / "AutoMedSAM.py", *sorted((MODULE / "AutoMedSAMLib").rglob("*.py"))]
FORM = MODULE / "Resources" / "UI" / "AutoMedSAM.ui"

# Two words in a row are a phrase, and a phrase is for the user unless its line ends with this.
PHRASE = re.compile(r"[A-Za-z]{2,}[,;:.!?]? [A-Za-z(]")
NOT_TRANSLATED = "# no tr"
WORD = re.compile(r"[A-Za-z]{2,}")
# Calls and attributes whose text is shown, be it a single word.
SHOWING_CALLS = {
    "AutoMedSAMError", "addAction", "addButton", "addItem", "answer", "confirmOkCancelDisplay", "delayDisplay",
    "drawText", "errorDisplay", "failed", "getExistingDirectory", "note", "setHeaderLabels", "setItemText", "setText",
    "setToolTip", "setWindowTitle", "show_status", "_show_status", "showStatusMessage",
}  # fmt: skip
SHOWING_ATTRIBUTES = {"helpText", "acknowledgementText", "noneDisplay", "text", "title", "toolTip", "windowTitle"}
# Properties of the form that are for Qt or the scene.
NAMES_IN_THE_FORM = {"objectName", "nodeTypes"}


def untranslated(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of what the user would see in English in every language."""
    tree, lines = ast.parse(source), source.splitlines()
    skipped = {id(node) for node in _not_for_the_user(tree)}
    shown = {id(node) for node in _shown(tree)}
    for node in ast.walk(tree):
        if id(node) in skipped or not isinstance(node, ast.Constant | ast.JoinedStr):
            continue
        text = _text_of(node)
        last = lines[(node.end_lineno or node.lineno) - 1]
        if text and (PHRASE if id(node) not in shown else WORD).search(text) and NOT_TRANSLATED not in last:
            yield node.lineno, text


def _text_of(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)


def _not_for_the_user(tree: ast.AST) -> Iterator[ast.AST]:
    """Docstrings, log messages, annotations, what is translated, and the parts of f-strings, which count as a whole."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield from node.values
        elif isinstance(node, ast.Call) and (_name(node) in ("_", "translate") or _is_log(node)):
            for argument in node.args:
                yield from ast.walk(argument)
        elif isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            yield from ast.walk(node.format_spec)


def _shown(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node) in SHOWING_CALLS:
            yield from _literals_in(node.args)
        elif isinstance(node, ast.Assign) and any(_shows(target) for target in node.targets):
            yield from _literals_in([node.value])


def _literals_in(nodes: list[ast.expr]) -> Iterator[ast.AST]:
    """Texts that become the value themselves, not those that are only used to find it."""
    for node in nodes:
        if isinstance(node, ast.Constant | ast.JoinedStr):
            yield node
        elif isinstance(node, ast.IfExp):
            yield from _literals_in([node.body, node.orelse])
        elif isinstance(node, ast.BoolOp):
            yield from _literals_in(node.values)
        elif isinstance(node, ast.BinOp):
            yield from _literals_in([node.left, node.right])
        elif isinstance(node, ast.List | ast.Tuple):
            yield from _literals_in(node.elts)
        elif isinstance(node, ast.Dict):
            yield from _literals_in(node.values)


def _shows(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple):
        return any(_shows(one) for one in target.elts)
    return isinstance(target, ast.Attribute) and target.attr in SHOWING_ATTRIBUTES


def _name(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _is_log(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == "logging"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(MODULE).as_posix())
def test_every_text_for_the_user_can_be_translated(file):
    assert list(untranslated(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        'button.toolTip = "Start"',
        'label.setText(f"{n} boxes")',
        'message = "Choose a volume first."\nraise AutoMedSAMError(message)',
        'message = f"{name} has no voxels."',
        'button.text = "Use" if taken else _("Ignore")',
        'button.toolTip = why or "Start"',
        'failed("Stopped")',
    ],
)
def test_text_without_a_translation_is_found(source):
    assert list(untranslated(source))


@pytest.mark.parametrize(
    "source", ['button.toolTip = _("Start now")', 'logging.info("a run failed")', '"A note of two words."', 'x["text"]']
)
def test_what_is_translated_or_for_developers_is_let_through(source):
    assert not list(untranslated(source))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(MODULE).as_posix())
def test_texts_are_written_as_lupdate_reads_them(file):
    """One literal a call, with named placeholders, and `_` means nothing else where it is called."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node) == "_"]
    for call in calls:
        assert len(call.args) == 1 and not call.keywords, f"line {call.lineno}"
        assert isinstance(call.args[0], ast.Constant), f"line {call.lineno}: no literal"
        fields = [field for _, field, _, _ in string.Formatter().parse(call.args[0].value) if field is not None]
        assert all(field.isidentifier() for field in fields), f"line {call.lineno}: {fields}"
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)):
        used = {_name(node) for node in ast.walk(function) if isinstance(node, ast.Call)}
        assert "_" not in used or "_" not in set(_variables(function)), f"line {function.lineno}: _ is a variable here"


def _variables(function: ast.FunctionDef | ast.Lambda) -> Iterator[str]:
    """The parameters and variables of a function, not those of functions within it."""
    signature = function.args
    optional = [one for one in (signature.vararg, signature.kwarg) if one is not None]
    yield from (one.arg for one in [*signature.posonlyargs, *signature.args, *signature.kwonlyargs, *optional])
    left = function.body if isinstance(function.body, list) else [function.body]
    while left:
        node = left.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if not isinstance(node, ast.FunctionDef | ast.Lambda):
            left += ast.iter_child_nodes(node)


def test_form_offers_words_and_only_words_for_translation():
    root = ElementTree.parse(FORM).getroot()
    for setting in root.iter("property"):
        for text in [*setting.findall("string"), *setting.findall("stringlist")]:
            content = "".join(text.itertext())
            is_text = bool(WORD.search(content)) and setting.get("name") not in NAMES_IN_THE_FORM
            is_name = content in ("INT8", "FP32")
            assert (text.get("notr") == "true") == (bool(content.strip()) and (is_name or not is_text)), content
    # Qt looks the form's texts up in the context of this name.
    assert root.findtext("class") == "AutoMedSAM"


@pytest.fixture
def contexts():
    from harness.translation import context_of

    return frozenset({"AutoMedSAM", *(context_of(str(file)) for file in FILES)})


@pytest.fixture
def other_language(slicer_app, contexts):
    from harness.translation import made_up_language

    with made_up_language(contexts):
        yield


def texts_in(window):
    """Every text and tool tip in a window, with the name of its widget."""
    import qt

    for widget in window.findChildren(qt.QWidget):
        for name in ("text", "toolTip", "title", "placeholderText", "noneDisplay"):
            if isinstance(getattr(widget, name, None), str):
                yield widget.objectName, getattr(widget, name)
        if isinstance(widget, qt.QComboBox):
            for index in range(widget.count):
                yield widget.objectName, widget.itemText(index)
                yield widget.objectName, widget.itemData(index, qt.Qt.ToolTipRole) or ""
        if isinstance(widget, qt.QPlainTextEdit):
            for line in widget.plainText.splitlines():
                yield widget.objectName, line
        if isinstance(widget, qt.QTreeWidget):
            yield from ((widget.objectName, text) for text in texts_in_tree(widget))


def texts_in_tree(tree):
    groups = [tree.topLevelItem(n) for n in range(tree.topLevelItemCount)]
    for item in [tree.headerItem(), *groups, *(group.child(n) for group in groups for n in range(group.childCount()))]:
        for column in range(tree.columnCount):
            yield item.text(column)
            yield item.toolTip(column)


def in_english(window, names):
    """The texts of a window that are not in brackets, but for these names and for numbers."""
    known = re.compile("|".join(map(re.escape, names)))
    for widget, text in texts_in(window):
        rest = known.sub("", re.sub("«.*»", "", text, flags=re.DOTALL))
        if WORD.search(rest):
            yield widget, text


NAMES = ("FLAIR", "Glioma", "Hippocampus", "glioma", "INT8", "FP32", "CPU", "told by a test", "Result", "int8", "fp32")


def test_translation_reaches_everything_that_the_panel_shows(other_language, request):
    from AutoMedSAMLib.model.bundle_info import built_in_models

    done = request.getfixturevalue("done")
    names = [*(model.task for model in built_in_models()), *(one["name"] for one in done.inputs.model.segments)]
    # The engine's texts stay in English; and the selector's own are Slicer's.
    names += [
        "Create new Segmentation",
        *BUILT_IN_NAMES,
        VERSION,
        "2 objects, 23.5 ml.",
        "detect 1.8 s, segment 1.2 s",
        "23.46 ml",
        *NAMES,
    ]
    window = done.ui.applyButton.window()
    done.ui.boxTree.topLevelItem(0).setSelected(True)
    assert list(in_english(window, names)) == []
    assert done.ui.applyButton.text == "«Apply»"
    assert done.ui.applyButton.toolTip.startswith("«Find and segment.")
    assert done.ui.detailsText.plainText.startswith("Glioma, whole tumour: 23.46 ml\n«Objects: 2»")
    assert done.ui.boxTree.headerItem().text(0) == "«Slice»"
    assert done.ui.boxTree.topLevelItem(0).text(0) == "«Object 1»"
    assert done.ui.thresholdLabel.text == "«Min score:»"
    assert done.ui.segmentationSelector.noneDisplay == "«New: FLAIR glioma»"
    assert done.ui.boxHintLabel.text == "«2 objects from 3 boxes; 1 not used.»"


def test_translation_reaches_errors_and_progress(other_language, scripted_logic, small_flair):
    from AutoMedSAMLib.errors import AutoMedSAMError
    from AutoMedSAMLib.model.bundle_info import find_model
    from AutoMedSAMLib.run.progress import Progress

    with pytest.raises(AutoMedSAMError, match=r"^«There is no model nonsense: .*»$"):
        find_model("nonsense")
    with pytest.raises(AutoMedSAMError, match=r"^«The threshold \(min score\) 2 is out of range: .*»$"):
        scripted_logic.process(small_flair, threshold=2)
    progress = Progress()
    progress.enter("detect", 40)
    progress.count({"done": 3})
    assert progress.text == "«Detecting slice 3 of 40»"


def test_translation_reaches_the_window_of_models(other_language, panel):
    import qt

    from automedsam.contract.catalog import read_catalog

    widget = panel.widget
    widget.ui.modelsButton.click()
    dialog = widget.inputs.models_dialog
    done, _failed = widget.logic.model_requests.asked[-1]
    done({"event": "models", "folder": "/x", "installed": [], "faulty": {}, "unfinished": {"sam2.1-tiny": 10**6}})
    buttons = (dialog.download_button, dialog.import_button, dialog.remove_button, dialog.cancel_button)
    shown = [*(button.text for button in buttons), dialog.import_button.toolTip, dialog.detector.toolTip]
    shown += [dialog.detector.itemText(index) for index in range(dialog.detector.count)]
    shown += [dialog.dialog.windowTitle, dialog.search.toolTip, dialog.status.text]
    shown += [label.text for label in dialog.dialog.findChildren(qt.QLabel) if label.text]
    # The catalog's texts stay in English.
    catalog = {text for one in read_catalog() for text in (one.name, one.about, *one.labels, *one.modalities)}
    shown += [text for text in texts_in_tree(dialog.tree) if text not in catalog and text.strip()]
    joined = {" + ".join(one.modalities) for one in read_catalog()} | {", ".join(one.labels) for one in read_catalog()}
    assert [text for text in shown if not text.startswith("«") and text not in joined] == []
    assert "«1 MB here»" in shown and "«Models are kept in /x.»" in shown
    dialog.dialog.close()


def test_translation_with_other_placeholders_is_refused(scene):
    from harness.translation import TranslationError, made_up_language, tr

    with made_up_language(frozenset({"test_translation"})):
        assert tr("{n} boxes") == "«{n} boxes»"
        with pytest.raises(TranslationError, match="only text"):
            tr(None)
    with (
        made_up_language(frozenset({"test_translation"}), lambda text: text.replace("n", "m")),
        pytest.raises(TranslationError, match="other placeholders"),
    ):
        tr("{n} boxes")
