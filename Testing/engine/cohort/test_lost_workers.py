"""Workers that are killed at random cost time and nothing else: each case once, every file whole.

The number of kills is 4; `AUTOMEDSAM_COHORT_KILLS=50 pytest Testing/engine/cohort/test_lost_workers.py` does 50.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_cohort import write_tiny_cohort

from automedsam.bundle import file_hash
from automedsam.cohort.case import Case
from automedsam.cohort.journal import Journal
from automedsam.cohort.output_folder import OutputFolder
from automedsam.cohort.pool import Losses
from automedsam.io.volume_reader import read_volume

KILLS = int(os.environ.get("AUTOMEDSAM_COHORT_KILLS", "4"))
CASES = 40 if KILLS > 10 else 12
CAN_SEE_PROCESSES = Path("/proc/self/stat").exists()


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that they have started."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    for child, parent in parents.items():
        ancestor = parent
        while ancestor in parents and ancestor != pid:
            ancestor = parents[ancestor]
        if ancestor == pid:
            yield child


def workers_of(pid: int) -> list[int]:
    found = []
    for child in descendants(pid):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if command.startswith(b"ray::CaseWorker"):
            found.append(child)
    return found


@pytest.mark.skipif(not CAN_SEE_PROCESSES, reason="only Linux shows the processes of others in /proc")
def test_each_case_once_whatever_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    source, output = write_tiny_cohort(tmp_path / "in", CASES), tmp_path / "out"
    arguments = ["cohort", str(source), "-o", str(output), "-m", "hippocampus", "--workers", "2", "--cores", "1"]
    chance, killed = random.Random(1), 0
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen([sys.executable, "-m", "automedsam", *arguments], stdout=log, stderr=log)
        while run.poll() is None:
            workers = workers_of(run.pid)
            # One that has just started may be killed as well as one in the middle of a file.
            time.sleep(chance.uniform(0.0, 0.5 if workers else 0.2))
            if workers and killed < KILLS:
                victim = chance.choice(workers)
                if victim in workers_of(run.pid):
                    os.kill(victim, signal.SIGKILL)
                    killed += 1
    told = (tmp_path / "log").read_text("utf-8")
    assert run.returncode == 0, told
    # The last cases may be done before the last kill.
    assert killed >= min(KILLS, 2)
    folder = OutputFolder(output)
    records = [record for _, record in Journal(folder.manifest).read() if record["event"] == "case"]
    names = {f"case{index:04d}" for index in range(CASES)}
    assert Counter(record["case"] for record in records) == Counter(names)
    assert {record["state"] for record in records} == {"done"}
    for record in records:
        written = folder.path / record["output"]["path"]
        assert file_hash(written) == record["output"]["sha256"]
        assert read_volume(written, check_voxels=False).shape == (16, 16, 16)
        stem = Case(record["case"]).stem
        assert json.loads(folder.details(stem).read_text())["record"]["output"] == record["output"]
        assert folder.image(stem).is_file() and folder.thumbnail(stem).is_file()
    files = [file.name for file in output.rglob("*") if file.is_file()]
    assert not [name for name in files if name.startswith(".automedsam-")]


def test_a_case_that_ends_its_workers_is_given_up_soon() -> None:
    losses = Losses()
    for _ in range(30):
        losses.succeeded()
    assert [losses.lost("bad") for _ in range(3)] == [False, False, True]


def test_a_case_is_not_blamed_for_losses_that_meet_all_cases() -> None:
    losses = Losses()
    for index in range(20):
        losses.succeeded()
        assert not losses.lost(f"case {index}")
    assert not any(losses.lost("case 3") for _ in range(5))


def test_losses_end_in_any_case() -> None:
    losses = Losses()
    found = [losses.lost(name) for _ in range(20) for name in ("a", "b")]
    assert not any(found[:10]) and found[-2:] == [True, True]
