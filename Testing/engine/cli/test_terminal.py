"""Whatever is printed, in whatever encoding, a finished run ends as a finished run."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from automedsam.cli.app import main
from automedsam.cli.console import report_table
from automedsam.cli.terminal import accept_any_text, printable, say
from automedsam.core.events import RunReport

NAMES = ["\u982d.seg.nrrd", os.fsdecode(b"gr\xf6\xdfe.nii"), "[red]head[/].nii", ":smile:.nii", "[/foo].nii"]
ENCODINGS = ["ascii", "cp1252", "cp437", "utf-8", "shift_jis"]


class Streams:
    """Standard output and error of one encoding."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
        self.encoding = encoding
        self.output, self.error = (io.TextIOWrapper(io.BytesIO(), encoding, errors="strict") for _ in range(2))
        monkeypatch.setattr(sys, "stdout", self.output)
        monkeypatch.setattr(sys, "stderr", self.error)

    def read(self) -> tuple[str, str]:
        found = []
        for stream in (self.output, self.error):
            stream.flush()
            found.append(stream.buffer.getvalue().decode(self.encoding))
        return found[0], found[1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_table_at_the_end_is_printed(encoding: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(monkeypatch, encoding)
    accept_any_text()
    Console(width=200).print(report_table(RunReport(volume_ml={name: 1.0}, device=name), Path(name)))
    output, _ = streams.read()
    assert "Written" in output
    assert output.count(name.encode(encoding, "backslashreplace").decode(encoding)) == 3 or not name.isprintable()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("arguments", [["--help"], ["segment", "--help"], ["models"], ["segment", "--nonsense"]])
def test_help_models_and_usage_errors_are_printed(
    encoding: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = Streams(monkeypatch, encoding)
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == (2 if "--nonsense" in arguments else 0)
    assert any(streams.read())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_refusal_is_one_line(encoding: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(monkeypatch, encoding)
    with pytest.raises(SystemExit) as left:
        main(["segment", f"new\nline{name}", "-o", "a.nii"])
    assert left.value.code == 2
    _, error = streams.read()
    assert error.count("\n") == 1 and "does not exist" in error


def test_letters_that_are_none_are_written_as_escapes() -> None:
    assert printable("größe 頭部 a b") == "größe 頭部 a b"
    assert printable("a\nb\x1b[31mc") == "a\\nb\\x1b[31mc"
    assert printable(os.fsdecode(b"gr\xf6")) == "gr\\udcf6"


def test_each_sentence_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    say()
    say("One.", "Two\nlines.")
    assert capsys.readouterr().err == "One.\nTwo\\nlines.\n"


def test_boxes_as_json_are_read_in_any_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from automedsam.cli import detect

    monkeypatch.setattr(detect, "_as_json", lambda run, files: {"files": files})
    monkeypatch.setattr(detect, "files_of", lambda images: [])
    monkeypatch.setattr(detect, "read_modalities", lambda *_, **__: type("V", (), {"notes": ()}))
    monkeypatch.setattr(
        detect,
        "SegmentationRun",
        lambda *_, **__: type("R", (), {"detect": lambda self: iter(()), "input_warnings": ()})(),
    )
    for encoding in ENCODINGS:
        streams = Streams(monkeypatch, encoding)
        with pytest.raises(SystemExit):
            main(["detect", *NAMES])
        assert json.loads(streams.read()[0])["files"] == NAMES
    with pytest.raises(SystemExit):
        main(["detect", *NAMES, "-o", str(tmp_path / "boxes.json")])
    assert json.loads((tmp_path / "boxes.json").read_text("utf-8"))["files"] == NAMES


def test_program_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    accept_any_text()


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"LC_ALL": "C.UTF-8"}]
)
def test_process_in_another_locale_refuses_in_one_line(locale: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "automedsam", "segment", "\u982d.nii", "-o", "a.nii"]
    run = subprocess.run(command, cwd=tmp_path, env=os.environ | locale, capture_output=True, check=False)
    assert run.returncode == 2 and run.stderr.count(b"\n") == 1 and b"does not exist" in run.stderr
