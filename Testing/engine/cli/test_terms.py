"""Whoever runs a model whose weights are not free sees their terms, once."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from automedsam.bundle import Bundle, load_bundle
from automedsam.cli import terms
from automedsam.cli.terminal import STOPPED
from automedsam.cli.terms import terms_file as real_terms_file
from automedsam.core.events import Event, SliceSegmented
from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam.pipeline.run import SegmentationRun


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(terms.ACCEPT_VARIABLE, raising=False)
    monkeypatch.setattr(terms, "_accepted", set())
    monkeypatch.setattr(terms, "terms_file", lambda: tmp_path / "settings" / "accepted_terms.json")
    return tmp_path / "settings" / "accepted_terms.json"


@pytest.fixture
def bundle() -> Bundle:
    return load_bundle("glioma")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> Terminal:
    shown = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr", shown)
    return shown


@pytest.mark.parametrize(
    "text",
    [
        "Apache-2.0",
        "Apache License, Version 2.0",
        "BSD-3-Clause",
        "CC BY 4.0",
        "CC-BY-SA-3.0",
        "CC0",
        "CC0-1.0",
        "MIT license",
        "public domain",
        "CC BY-SA 4.0 (MSD Task04)",
    ],
)
def test_free_terms_need_no_question(text: str) -> None:
    assert terms.are_free(text)


@pytest.mark.parametrize(
    "text",
    [
        "Research only",
        "CC BY-NC-SA 3.0",
        "not stated: ask its authors",
        "",
        "CC BY 4.0, no commercial use",
        "CC BY-ND",
        "MIT, personal use only",
        "CC-BY-NC4.0",
        "CC BY-NoDerivs",
        "CC BY",
        "CC BY 4.0 for academic use only",
        "BSD; not for clinical use",
        "Not MIT licensed",
        "Code MIT, weights: ask the authors",
        "MIT (not for sale)",
        "MIT (Academic Use Only)",
        "Apache-2.0\nnot for clinical use",
        "Apache-2.0 (see the NOTICE)",
    ],
)
def test_restricted_and_unknown_terms_are_shown(text: str) -> None:
    assert not terms.are_free(text)


def test_the_terms_are_asked_for_once_on_a_terminal(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_a_terminal(monkeypatch, "y\n")
    terms.ask(bundle)
    assert bundle.license in shown.getvalue()
    again = on_a_terminal(monkeypatch, "")
    terms.ask(bundle)
    assert again.getvalue() == "" and terms.notice(bundle) == ""


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "perhaps\n"])
def test_declining_runs_nothing(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    on_a_terminal(monkeypatch, answer)
    with pytest.raises(AutoMedSAMError, match="were not accepted"):
        terms.ask(bundle)
    assert terms.must_be_shown(bundle)


def test_a_script_is_not_asked_and_gets_one_line(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    terms.ask(bundle)
    line = terms.notice(bundle)
    assert bundle.license in line and "\n" not in line
    assert terms.notice(bundle) == ""


def test_other_terms_or_another_version_ask_again(bundle: Bundle) -> None:
    terms.accept(bundle)
    assert not terms.must_be_shown(bundle)
    for change in ({"license": "Research only, and other terms"}, {"version": "9.9"}):
        assert terms.must_be_shown(replace(bundle, manifest={**bundle.manifest, **change}))


def test_the_environment_accepts(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(terms.ACCEPT_VARIABLE, "1")
    assert not terms.must_be_shown(bundle)
    monkeypatch.setenv(terms.ACCEPT_VARIABLE, "0")
    assert terms.must_be_shown(bundle)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00", "[" * 100_000], ids=range(6))
def test_damaged_settings_ask_again(bundle: Bundle, settings: Path, content: str) -> None:
    settings.parent.mkdir()
    settings.write_text(content, encoding="utf-8")
    assert terms.must_be_shown(bundle)
    terms.accept(bundle)
    terms._accepted.clear()
    assert not terms.must_be_shown(bundle)


def test_acceptance_holds_for_the_process_where_settings_cannot_be_written(bundle: Bundle, settings: Path) -> None:
    settings.parent.write_text("a file in the way", encoding="utf-8")
    terms.accept(bundle)
    assert not terms.must_be_shown(bundle)
    terms._accepted.clear()
    assert terms.must_be_shown(bundle)


def no_home(_: str) -> Path:
    message = "could not determine the home directory"
    raise RuntimeError(message)


@pytest.mark.parametrize("config_path", [no_home, lambda name: Path("~/.config") / name], ids=["none", "unexpanded"])
def test_without_a_home_terms_are_shown_and_no_folder_is_made(
    bundle: Bundle, config_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terms, "terms_file", real_terms_file)
    monkeypatch.setattr("platformdirs.user_config_path", config_path)
    monkeypatch.chdir(tmp_path)
    assert bundle.license in terms.notice(bundle)
    assert terms.notice(bundle) == ""
    assert list(tmp_path.iterdir()) == []


def test_terms_of_several_lines_give_a_notice_of_one(bundle: Bundle) -> None:
    several = replace(bundle, manifest={**bundle.manifest, "license": "Research only.\r\n\nNo sale.\n"})
    assert terms.notice(several).endswith("Research only. No sale.")


def test_a_stopped_run_shows_the_terms(
    command: Callable[..., tuple[int, str, str]],
    a_head: Volume,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import SimpleITK as sitk

    whole = SegmentationRun.events

    def stopped_after_a_slice(run: SegmentationRun) -> Iterator[Event]:
        for event in whole(run):
            yield event
            if isinstance(event, SliceSegmented):
                raise KeyboardInterrupt

    monkeypatch.setattr(SegmentationRun, "events", stopped_after_a_slice)
    sitk.WriteImage(a_head.to_image(a_head.array), str(tmp_path / "head.nii.gz"))
    code, _, err = command("segment", tmp_path / "head.nii.gz", "-o", tmp_path / "lesions.nii.gz")
    assert code == STOPPED and err.count(bundle.license) == 1 and "Stopped:" in err


def test_the_command_shows_the_terms_once_after_the_result(
    command: Callable[..., tuple[int, str, str]], a_head: Volume, bundle: Bundle, tmp_path: Path
) -> None:
    import SimpleITK as sitk

    sitk.WriteImage(a_head.to_image(a_head.array), str(tmp_path / "head.nii.gz"))
    for shown in (1, 0):
        code, _, err = command("segment", tmp_path / "head.nii.gz", "-o", tmp_path / "lesions.nii.gz")
        assert code == 0 and err.count(bundle.license) == shown
