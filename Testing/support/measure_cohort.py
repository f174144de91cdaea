"""Measures a cohort: what Ray costs, what two workers bring, and what the driver takes for many cases.

    python Testing/support/measure_cohort.py workers FOLDER --cases 24   # real volumes, the model hippocampus
    python Testing/support/measure_cohort.py many --cases 1000           # generated ones

Times are from the start of the first case to the end of the last one: starting Ray and loading the model are not in
them. Each setting writes into a folder of its own, which is removed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, median

from tiny_cohort import write_tiny_cohort

from automedsam import __version__
from automedsam.bundle import load_bundle
from automedsam.cohort.case import Case
from automedsam.cohort.lock import holder_of, locked
from automedsam.cohort.manifest import Manifest
from automedsam.cohort.output_folder import OutputFolder
from automedsam.cohort.pool import InProcess
from automedsam.cohort.ray_pool import RayPool
from automedsam.cohort.run import run_cohort
from automedsam.cohort.settings import CohortSettings
from automedsam.cohort.worker import CaseWorker

MODEL = "hippocampus"


@dataclass
class Measured:
    """Seconds of a run, and the mean seconds of a case beside its own work."""

    seconds: float
    beside: float
    memory_mb: list[float]
    thirds: list[float]


def run(cases: Sequence[Case], workers: int, threads: int, *, ray: bool) -> Measured:
    ends: list[tuple[float, float, int]] = []
    memory: list[float] = []

    def watch(record: dict) -> None:
        if record["state"] != "done":
            raise SystemExit(record["message"])
        ends.append((time.perf_counter(), record["seconds"], record["process"]))
        if len(ends) % max(1, len(cases) // 10) == 0:
            memory.append(resident_mb())

    with tempfile.TemporaryDirectory() as output:
        folder = OutputFolder(Path(output))
        folder.prepare()
        settings = CohortSettings.of(load_bundle(MODEL), MODEL)
        with locked(folder.path):
            manifest = Manifest(folder)
            if ray:
                opened = RayPool(settings.to_json(), output, workers=workers, threads=threads)
            else:
                worker = CaseWorker(settings.to_json(), output, threads)
                assert not worker.prepare(__version__, holder_of(folder.path))
                opened = nullcontext(InProcess(worker))
            with opened as pool:
                manifest.begin(settings, "", len(cases))
                run_cohort(cases, manifest, pool, watch)
    start = min(end - seconds for end, seconds, _ in ends)
    by_process = defaultdict(list)
    for end, seconds, process in ends:
        by_process[process].append((end, seconds))
    beside = [
        end - before - seconds for found in by_process.values() for (before, _), (end, seconds) in pairwise(found)
    ]
    third = len(ends) // 3 or 1
    thirds = [
        ends[last - 1][0] - (ends[last - third - 1][0] if last > third else start)
        for last in (third, 2 * third, 3 * third)
    ]
    return Measured(ends[-1][0] - start, mean(beside), memory, thirds)


def resident_mb() -> float:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096 / 1e6


def independent(paths: Sequence[Path]) -> float:
    """Two processes without Ray, one core each, half of the cases each; seconds until the slower one has ended."""
    halves = [paths[0::2], paths[1::2]]
    program = [sys.executable, __file__, "part"]
    started = [
        subprocess.Popen([*program, *map(str, half)], stdout=subprocess.PIPE, encoding="utf-8") for half in halves
    ]
    return max(json.loads(process.communicate()[0]) for process in started)


def cases_of(paths: Sequence[Path]) -> list[Case]:
    return [Case(path.name.removesuffix(".nii.gz"), (path.absolute(),)) for path in paths]


def compare(paths: Sequence[Path], rounds: int) -> None:
    """Prints the ratios of four settings, each the median over rounds in which they follow each other."""
    found = []
    for number in range(1, rounds + 1):
        alone = run(cases_of(paths), 1, 2, ray=False)
        actor = run(cases_of(paths), 1, 2, ray=True)
        two = run(cases_of(paths), 2, 1, ray=True)
        apart = independent(paths)
        found.append((actor.seconds / two.seconds, apart / two.seconds, actor.beside - alone.beside))
        seconds = ", ".join(f"{value:.1f}" for value in (alone.seconds, actor.seconds, two.seconds, apart))
        print(f"round {number} (this process, 1 worker of 2 cores, 2 workers of 1, 2 processes of 1): {seconds} s")
    faster, efficiency, overhead = (median(values) for values in zip(*found, strict=True))
    print(f"{len(paths)} volumes, medians of {rounds} rounds")
    print(f"2 workers of 1 core are {faster:.2f} times as fast as 1 worker of 2 cores")
    print(f"2 workers reach {efficiency:.2f} of the speed of 2 independent processes")
    print(f"overhead of Ray: {overhead:.3f} s a case")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("workers", "many", "part"))
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.what == "part":
        print(json.dumps(run(cases_of(options.paths), 1, 1, ray=False).seconds))
    elif options.what == "workers":
        paths = sorted(options.paths[0].glob("*.nii.gz"))[: options.cases]
        compare(paths, options.rounds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            paths = sorted(write_tiny_cohort(Path(folder), options.cases).iterdir())
            found = run(cases_of(paths), 2, 1, ray=True)
        print(f"{len(paths)} cases: {found.seconds:.1f} s")
        print(f"seconds of each third: {', '.join(f'{seconds:.1f}' for seconds in found.thirds)}")
        print(f"memory of the driver in MB at each tenth: {', '.join(f'{mb:.0f}' for mb in found.memory_mb)}")


if __name__ == "__main__":
    main()
