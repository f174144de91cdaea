"""Each command, option, path and name in the documents exists, and they are written in the field's terms."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import automedsam
from automedsam.cli.app import app as engine_app
from automedsam.core.expected_input import ExpectedInput
from automedsam.detection.linking import LinkSettings
from automedsam.tracking.settings import TrackingSettings
from automedsam_lab.cli.app import app as lab_app

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
PROGRAMS = {"automedsam": get_command(engine_app), "automedsam-lab": get_command(lab_app)}
PACKAGES = ("automedsam/", "automedsam_lab/", "AutoMedSAMLib/")
FOLDERS = ("AutoMedSAM/", "Resources/", "Testing/", "docs/", "requirements/", *PACKAGES)
# Words of the project's own dialect, and names that were replaced.
DIALECT = r"\b(rivals?|poster|says?|tells?|told|lies|doubts?|doubtful|made-up|whom|pictures? is|road)\b"

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def fenced(text: str) -> Iterator[tuple[str, str]]:
    """The language and the text of each fenced block."""
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield match[1], match[2]


def command_lines(text: str) -> list[list[str]]:
    """The words of each call of one of our programs in fenced blocks."""
    shell = "\n".join(block for language, block in fenced(text) if language in ("", "bash", "sh", "console"))
    lines = re.split(r"\n|&&|;", shell.replace("\\\n", " "))
    return [shlex.split(line, comments=True) for line in lines if line.split()[:1] and line.split()[0] in PROGRAMS]


def inline_commands(text: str) -> list[list[str]]:
    """The same in `inline code`, where arguments may be left out."""
    found = re.findall(r"`((?:automedsam|automedsam-lab) [^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    return [shlex.split(line) for line in found]


def check_call(words: list[str], *, complete: bool) -> None:
    """Fails if a command, an option or a value of a call does not exist, or if a required argument is missing."""
    command, rest = PROGRAMS[words[0]], words[1:]
    while rest and hasattr(command, "commands") and not rest[0].startswith("-") and rest[0].islower():
        assert rest[0] in command.commands, f"There is no command {rest[0]} in {words}."
        command, rest = command.commands[rest[0]], rest[1:]
        assert not command.hidden, f"{words} uses an old name."
    options = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts) if name[0] == "-"}
    arguments = [one for one in command.params if not any(name[0] == "-" for name in one.opts)]
    given, positional = set(), []
    while rest:
        word, rest = rest[0], rest[1:]
        if not word.startswith("-"):
            positional.append(word)
            continue
        name, joined, value = word.partition("=")
        if name in ("-h", "--help"):
            return
        assert name in options, f"There is no option {name} in {words}."
        option = options[name]
        given.add(option.name)
        count = 0 if getattr(option, "is_flag", False) or joined else option.nargs
        values, rest = [value] if joined else rest[:count], rest[count:]
        if complete:
            assert len(values) == count or joined, f"{name} lacks a value in {words}."
        check_choice(option, values)
    if complete:
        assert not hasattr(command, "commands") or words[-1] == "--version", f"{words} names no command."
        required = {one.name for one in options.values() if one.required}
        assert required <= given, f"{words} lacks {required - given}."
        assert len(positional) >= sum(one.required for one in arguments), f"{words} lacks an argument."
    assert len(positional) <= len(arguments) or any(one.nargs == -1 for one in arguments), f"{words} has too many."
    for argument, value in zip(arguments, positional, strict=False):
        check_choice(argument, [value])


def check_choice(parameter: Any, values: list[str]) -> None:
    # Typer has parameters of its own from some version on, and click's before.
    choices = getattr(getattr(parameter, "type", None), "choices", ())
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        choices = tuple(annotation)
    known = [str(getattr(choice, "value", choice)) for choice in choices]
    for value in values:
        assert not known or value in known or value.isupper(), f"{value} is not one of {known}."


@every_document
def test_commands_and_options_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for words in command_lines(text):
        check_call(words, complete=True)
    for words in inline_commands(text):
        check_call(words, complete=False)


def test_the_check_sees_the_commands_and_refuses_wrong_ones() -> None:
    assert sum(len(command_lines(path.read_text(encoding="utf-8"))) for path in DOCUMENTS) >= 20
    for wrong in (
        "automedsam segmentt a.nii.gz -o b.nii.gz",
        "automedsam segment a.nii.gz",
        "automedsam segment -o b.nii.gz",
        "automedsam segment a.nii.gz -o b.nii.gz --no-such-option",
        "automedsam segment a.nii.gz -o b.nii.gz --backend int4",
        "automedsam models glioma",
        "automedsam-lab memories glioma --cases DATA -o FOLDER",
        "automedsam-lab baseline",
    ):
        with pytest.raises(AssertionError):
            check_call(shlex.split(wrong), complete=True)


def test_code_names_lab_commands_that_exist() -> None:
    """In messages, help texts and docstrings."""
    named = {
        word
        for path in (ROOT / "AutoMedSAM").rglob("*.py")
        for word in re.findall(r"automedsam-lab ([a-z][a-z-]+)", path.read_text(encoding="utf-8"))
    }
    listed = {name for name, command in PROGRAMS["automedsam-lab"].commands.items() if not command.hidden}
    assert {"prepare", "convert"} <= named <= listed


@every_document
def test_paths_exist(document: Path) -> None:
    for path in re.findall(r"`([\w.*/-]+)`", document.read_text(encoding="utf-8")):
        if path.startswith(FOLDERS) and path != "AutoMedSAM/SlicerAutoMedSAM":  # the repository's name
            folder = ROOT / "AutoMedSAM" if path.startswith(PACKAGES) else ROOT
            assert list(folder.glob(path.rstrip("/"))), f"{path} does not exist."


def test_where_is_table_names_what_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Where is")[2]
    rows = re.findall(r"^\| [^|]+ \| `([^`|]+\.py)` \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) >= 20
    for path, names in rows:
        code = (ROOT / "AutoMedSAM" / path).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)(?:\.\w+)*`", names):
            assert re.search(rf"^\s*(def|class) {name}\b|^{name}\b.* =", code, re.MULTILINE), (
                f"{name} is not in {path}."
            )


@every_document
def test_python_examples_use_existing_names(document: Path) -> None:
    for language, block in fenced(document.read_text(encoding="utf-8")):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "automedsam":
                assert node.attr in automedsam.__all__, f"automedsam.{node.attr} does not exist."


def test_script_for_slicer_passes_existing_parameters() -> None:
    code = (ROOT / "AutoMedSAM" / "AutoMedSAMLib" / "logic.py").read_text(encoding="utf-8")
    process = next(n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.FunctionDef) and n.name == "process")
    known = {argument.arg for argument in (*process.args.args, *process.args.kwonlyargs)}
    examples = [block for language, block in fenced((ROOT / "docs" / "slicer.md").read_text("utf-8")) if language]
    calls = [
        node
        for block in examples
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "process"
    ]
    assert calls
    for call in calls:
        assert {keyword.arg for keyword in call.keywords} <= known


@every_document
def test_extras_exist(document: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for names in re.findall(r"\.\[([\w,-]+)\]", document.read_text(encoding="utf-8")):
        assert set(names.split(",")) <= set(project["optional-dependencies"])


@every_document
def test_words_are_the_fields(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    if document.name == "CHANGELOG.md":
        # Its entries on renamed commands name the old ones.
        text = re.sub(r"^- Renamed.*?(?=^- |^#|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(DIALECT, text, re.IGNORECASE)


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("package", [name.rstrip("/") for name in PACKAGES])
def test_picture_of_the_packages_shows_what_is_there(package: str) -> None:
    picture = (ROOT / "docs" / "images" / "architecture.svg").read_text(encoding="utf-8")
    group = picture.partition(f'<g id="{package}">')[2].partition("</g>")[0]
    parts = re.findall(r'class="package"[^>]*>(\w+)<', group)
    assert len(parts) >= 7
    for part in parts:
        place = ROOT / "AutoMedSAM" / package / part
        assert place.is_dir() or place.with_suffix(".py").is_file(), place


def test_each_key_of_a_manifest_is_documented() -> None:
    text = (ROOT / "docs" / "bundle-format.md").read_text(encoding="utf-8")
    for bundle in automedsam.list_bundles():
        sections = [
            bundle.manifest,
            *(bundle.manifest.get(name, {}) for name in ("detector", "segmenter", "expected_input")),
        ]
        for key in {key for section in sections for key in section}:
            assert f"`{key}`" in text, key
    for settings, section in ((LinkSettings, "linking"), (TrackingSettings, "tracking"), (ExpectedInput, "")):
        for field in fields(settings):
            name = f"{section}.{field.name}" if section else field.name
            assert f"`{name}`" in text or field.name == "threshold", name


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_outside_the_site_lead_somewhere(name: str) -> None:
    """MkDocs checks those between its pages."""
    for link in re.findall(r"\]\(([^)\s]+)\)|src(?:set)?=\"([^\"]+)\"", (ROOT / name).read_text(encoding="utf-8")):
        path, _, anchor = "".join(link).partition("#")
        if "://" in path:
            continue
        assert (ROOT / path).exists(), path
        headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        slugs = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
        assert not anchor or anchor in slugs, f"{path}#{anchor}"


def commands_of(command: Any) -> Iterator[Any]:
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from commands_of(inner)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_texts_use_the_terms_of_the_field(program: str) -> None:
    for command in commands_of(PROGRAMS[program]):
        if command.hidden:
            continue
        texts = [command.help or "", *(getattr(one, "help", None) or "" for one in command.params)]
        for text in texts:
            assert not re.findall(DIALECT, text, re.IGNORECASE), text
