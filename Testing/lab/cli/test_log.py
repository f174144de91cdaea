"""What the lab logs stands on the terminal as plain lines, once, and on the stream that a command chose."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO

import pytest
import typer

from automedsam_lab.cli.app import app, main
from automedsam_lab.cli.log import LAB, log_to_terminal

LONG = "[bold]/data/[1]/" + "x" * 300 + " 3.5 MB :smile:"


@pytest.fixture
def a_module() -> logging.Logger:
    return logging.getLogger(f"{LAB}.some.module")


def test_lines_are_printed_as_they_are(a_module: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_terminal():
        a_module.info("%s", LONG)
        a_module.warning("  doubtful: %.1f MB", 3.25)
        a_module.debug("for developers")
    assert capsys.readouterr() == (f"{LONG}\n  doubtful: 3.2 MB\n", "")


def test_an_inner_block_decides_the_stream(a_module: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_terminal():
        with log_to_terminal(stderr=True):
            a_module.info("inside")
        a_module.info("outside")
    assert capsys.readouterr() == ("outside\n", "inside\n")


def test_a_root_logger_of_another_package_does_not_repeat_lines(
    a_module: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    repeated = StringIO()
    handler = logging.StreamHandler(repeated)
    logging.getLogger().addHandler(handler)
    try:
        with log_to_terminal():
            a_module.warning("once")
    finally:
        logging.getLogger().removeHandler(handler)
    assert capsys.readouterr().out == "once\n" and repeated.getvalue() == ""


def test_nothing_of_it_is_left_afterwards(a_module: logging.Logger) -> None:
    lab = logging.getLogger(LAB)
    before = (lab.level, lab.propagate, list(lab.handlers))
    with pytest.raises(KeyboardInterrupt), log_to_terminal():
        raise KeyboardInterrupt
    assert (lab.level, lab.propagate, list(lab.handlers)) == before


@pytest.fixture
def a_logging_command(a_module: logging.Logger) -> Iterator[str]:
    def speak() -> None:
        a_module.info("halfway")
        typer.echo("done")

    app.command("speak", hidden=True)(speak)
    yield "speak"
    app.registered_commands.pop()


def test_every_command_shows_what_is_logged(a_logging_command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with pytest.raises(SystemExit):
            main([a_logging_command])
        assert capsys.readouterr() == ("halfway\ndone\n", "")


def test_modules_used_without_the_command_print_nothing() -> None:
    program = f"import logging; logging.getLogger('{LAB}.some.module').info('halfway')"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, encoding="utf-8")
    assert (done.stdout, done.stderr) == ("", "")
