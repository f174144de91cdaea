"""The review server answers its own page on this computer, and gives nothing that lies outside the output folder."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from finished_cohort import SHAPE

from automedsam.cohort.journal import Journal
from automedsam.cohort.output_folder import OutputFolder
from automedsam.errors import AutoMedSAMError
from automedsam.review.results import Results
from automedsam.review.server import ReviewServer


def ask(
    server: ReviewServer, path: str, body: dict[str, Any] | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """A request as the page makes it, but for the headers that are given; an empty one is left out."""
    own = {
        "Host": f"127.0.0.1:{server.port}",
        "Cookie": f"{server.cookie}={server.token}",
        "Origin": f"http://127.0.0.1:{server.port}",
        "Content-Type": "application/json",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest("GET" if body is None else "POST", path, skip_host=True)
    content = b"" if body is None else json.dumps(body).encode()
    for name, value in {**own, "Content-Length": str(len(content))}.items():
        if value:
            connection.putheader(name, value)
    connection.endheaders(content)
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


def test_the_token_opens_the_page_and_leaves_the_address(served: ReviewServer) -> None:
    status, _, headers = ask(served, f"/?token={served.token}", Cookie="")
    assert status == 303 and headers["Location"] == "/"
    assert "HttpOnly" in headers["Set-Cookie"] and "SameSite=Strict" in headers["Set-Cookie"]
    status, page, headers = ask(served, "/")
    assert status == 200 and b"<!doctype html>" in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/api/cases", "/app.js", "/api/thumbnail?case=case000", "/?token=wrong"])
@pytest.mark.parametrize("headers", [{"Cookie": ""}, {"Cookie": "automedsam_review_1=x"}, {"Host": "evil.example"}])
def test_strangers_get_nothing(served: ReviewServer, path: str, headers: dict[str, str]) -> None:
    status, content, _ = ask(served, path, **headers)
    assert status == 403 and b"case" not in content


def test_it_listens_on_loopback_alone(served: ReviewServer) -> None:
    assert served.socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", served.port), timeout=2)


def test_other_pages_cannot_decide(served: ReviewServer) -> None:
    decision = {"case": "case000", "decision": "accept", "note": ""}
    for headers in ({"Origin": "http://evil.example"}, {"Origin": ""}, {"Content_Type": "text/plain"}, {"Cookie": ""}):
        assert ask(served, "/api/decision", decision, **headers)[0] == 403
    assert not served.results.decisions.of("case000")


def test_cases_come_by_doubt_with_failures_first(served: ReviewServer) -> None:
    cases = json.loads(ask(served, "/api/cases")[1])["cases"]
    assert [case["name"] for case in cases] == ["failed000", "case000", "case001", "case002"]


def test_a_decision_is_on_the_disk_when_it_is_answered(served: ReviewServer, tmp_path: Path) -> None:
    body = {"case": "case001", "decision": "fix", "note": "left side, ü"}
    assert ask(served, "/api/decision", body)[0] == 200
    ((_, record),) = Journal(OutputFolder(tmp_path / "out").review).read()
    assert (record["case"], record["decision"], record["note"]) == ("case001", "fix", "left side, ü")
    ask(served, "/api/decision", body | {"decision": ""})
    again = Results(tmp_path / "out").summary()["cases"]
    assert [case["note"] for case in again if case["name"] == "case001"] == ["left side, ü"]
    assert len(list(Journal(OutputFolder(tmp_path / "out").review).read())) == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"case": "case001", "decision": "maybe", "note": ""}, 422),
        ({"case": "nobody", "decision": "accept", "note": ""}, 404),
        ({"case": "case001"}, 422),
        ({"case": "case001", "decision": "fix", "note": "x" * 20_000}, 422),
        ({"case": "case001", "decision": "fix", "note": "x" * 80_000}, 413),
    ],
)
def test_what_is_no_decision_is_refused(served: ReviewServer, body: dict[str, str], status: int) -> None:
    assert ask(served, "/api/decision", body)[0] == status
    assert not served.results.decisions.of("case001")


def test_voxels_are_those_of_axial_frames(served: ReviewServer) -> None:
    labels = ask(served, "/api/labels?case=case000")[1]
    image = ask(served, "/api/image?case=case000")[1]
    details = json.loads(ask(served, "/api/case?case=case000")[1])
    assert tuple(details["shape"]) == SHAPE and details["spacing"] == [2.0, 1.0, 1.0]
    assert len(labels) == len(image) == 12 * 20 * 16
    assert labels[(5 * 20 + 8) * 16 + 7] == 1 and labels[0] == 0 and sum(labels) == 4 * 6 * 6


@pytest.mark.parametrize(
    "name", ["..", "../manifest", "%2e%2e%2fmanifest", "/etc/passwd", "case000/../../x", "nobody", "", "a\x00b"]
)
@pytest.mark.parametrize("what", ["case", "thumbnail", "image", "labels"])
def test_names_lead_nowhere(served: ReviewServer, name: str, what: str) -> None:
    from urllib.parse import quote

    assert ask(served, f"/api/{what}?case={quote(name)}")[0] == 404
    assert ask(served, "/../manifest.jsonl")[0] == 404


def test_links_out_of_the_folder_are_not_followed(served: ReviewServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    thumbnail = OutputFolder(tmp_path / "out").thumbnail("case000")
    thumbnail.unlink()
    thumbnail.symlink_to(secret)
    status, content, _ = ask(served, "/api/thumbnail?case=case000")
    assert status == 422 and b"secret" not in content.replace(b"secret.png", b"")


def test_a_case_that_is_done_again_loses_its_decision(served: ReviewServer, tmp_path: Path) -> None:
    from automedsam.cohort.manifest import Manifest

    ask(served, "/api/decision", {"case": "case001", "decision": "accept", "note": ""})
    manifest = Manifest(OutputFolder(tmp_path / "out"))
    record = manifest.record("case001")
    record["output"] = record["output"] | {"sha256": "0" * 64}
    manifest.add(record)
    cases = json.loads(ask(served, "/api/cases")[1])["cases"]
    assert [case["name"] for case in cases if case["outdated"]] == ["case001"]


def test_a_folder_that_is_no_cohort(tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="is not the output folder of a cohort"):
        Results(tmp_path)


def test_a_port_that_is_taken(served: ReviewServer) -> None:
    with pytest.raises(AutoMedSAMError, match="cannot be used"):
        ReviewServer(served.results, served.port)
