"""The report is one file that anyone can read anywhere, and says what a reader has to know."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the extra 'lab' is not installed")

from bright_engine import draw_head, draw_truth, use_bright_engine

from automedsam.bundle import Bundle
from automedsam.contract.backends import Backend
from automedsam_lab.data.dataset import DatasetCase, LoadedCase
from automedsam_lab.evaluation.cases import CaseSelection
from automedsam_lab.evaluation.run import ComparedMethods, evaluate
from automedsam_lab.evaluation.settings import EvaluationSettings

VOID = {"meta", "img", "br", "path", "use", "rect", "circle"}


class Reader(HTMLParser):
    """Sees that every tag is closed where it should be, and keeps what a reader gets."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


@pytest.fixture
def a_report(a_manifest: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    use_bright_engine(monkeypatch)
    reference = draw_truth()
    head = draw_head(reference)
    cases = [DatasetCase(name, name, "FLAIR", lambda: LoadedCase(head, reference)) for name in ("one", "two")]
    settings = EvaluationSettings(resamples=20, timed_images=2, tolerance_mm=1.5, jitter=0.05, seed=11)
    bundle = Bundle(a_manifest.folder, {**a_manifest.manifest, "task": "a <script>alert(1)</script> thing"})
    methods = ComparedMethods([Backend.INT8, Backend.FP32_ONNX])
    evaluate(bundle, CaseSelection(cases, "drawn blocks"), tmp_path / "out", methods, settings)
    return (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_report_needs_no_network_and_no_scripts(a_report: str) -> None:
    assert not re.findall(r"https?://|//[a-z]+\.", re.sub(r'src="data:[^"]*"', "", a_report))
    assert "<script" not in a_report and "&lt;script&gt;" in a_report
    reader = Reader()
    reader.feed(a_report)
    assert reader.open == []
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in reader.all("img"))
    assert not reader.all("link")
    [policy] = [meta["content"] for meta in reader.all("meta") if meta.get("http-equiv")]
    assert policy is not None and policy.startswith("default-src 'none'")


def test_pictures_and_tables_can_be_read_by_a_screen_reader(a_report: str) -> None:
    reader = Reader()
    reader.feed(a_report)
    assert reader.all("html")[0]["lang"] == "en"
    assert reader.all("img") and all(image["alt"] for image in reader.all("img"))
    assert len(reader.all("svg")) == 3
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in reader.all("svg"))
    assert all(head.get("scope") in ("col", "row") for head in reader.all("th"))
    marks = [attributes["id"] for _, attributes in reader.seen if attributes.get("id")]
    assert len(marks) == len(set(marks))
    used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', a_report)
    assert used and {one or other for one, other in used} <= set(marks)


def test_plots_take_the_ink_of_the_page_so_that_dark_and_light_both_show_them(a_report: str) -> None:
    plots = re.findall(r"<svg.*?</svg>", a_report, flags=re.DOTALL)
    assert plots and all("currentColor" in plot and "#000000" not in plot for plot in plots)
    assert "prefers-color-scheme: dark" in a_report


def test_the_report_states_what_was_measured_on_what_and_how(a_report: str) -> None:
    for expected in (
        "not for clinical use",
        "drawn blocks",
        "2 cases of 2 patients",
        "within 1.5 mm",
        "up to 5 % of the side",
        "seed 11",
        "20 resamples of the patients",
        "AP50:95",
        "AutoMedSAM FP32 (ONNX), true box",
        "Machine",
        "UTC",
    ):
        assert expected in a_report, expected


def test_the_data_s_pictures_can_be_kept_out(
    a_manifest: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_bright_engine(monkeypatch)
    reference = draw_truth()
    case = DatasetCase("one", "one", "FLAIR", lambda: LoadedCase(draw_head(reference), reference))
    settings = EvaluationSettings(resamples=5, timed_images=0, pictures=False)
    evaluate(a_manifest, CaseSelection([case]), tmp_path / "out", ComparedMethods([Backend.INT8]), settings)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<img" not in page and "<svg" in page
    [method, *_] = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["methods"]
    assert method["figures"]["tumour"]["dice"]["interval"] is None
