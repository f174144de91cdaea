"""Streamed training on a generated archive of SA-Med2D-20M's layout: loss by process, memory by images, throughput.

python Testing/lab/measure_streaming.py FOLDER --images 200 2000 --processes 1 2 4

For each number of images it generates the archive, writes shards, and trains one epoch with each number of processes.
It prints a table and compares the loss curves. A folder of real shards is measured with --shards.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from generate_archive import generate_sa_med2d

import automedsam_lab
from automedsam_lab.common.system_info import describe_machine
from automedsam_lab.common.table import Table
from automedsam_lab.data.shards.index import ShardIndex
from automedsam_lab.data.shards.write import ShardSettings, write_shards

# The largest difference of losses that comes of adding 32-bit floats in another order.
TOLERANCE = 1e-4


def train(shards: Path, out: Path, processes: int, options: list[str]) -> list[dict[str, float]]:
    """Trains in so many processes with one thread each; the rows of the log."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = ["-m", "automedsam_lab.cli", "train", "streamed", "--shards", str(shards), "-o", str(out), *options]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(automedsam_lab.__file__).parents[1]),
    }
    subprocess.run([sys.executable, *launcher, *command], env=environment, check=True, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def reading_rate(shards: Path, side: int, images: int = 200) -> float:
    """Images that one core reads, decodes and scales in a second, without training."""
    from automedsam_lab.data.shards.order import EpochOrder
    from automedsam_lab.data.shards.stream import LaneStream
    from automedsam_lab.training.streaming.box_tasks import BoxExample

    read, began = 0, time.process_time()
    while read < images:
        order = EpochOrder(ShardIndex.open(shards).parts["train"], 1, 4, 0, 0)
        for batch in LaneStream(shards, order, [0], BoxExample(side)):
            read += batch.images
            if read >= images:
                break
    return read / (time.process_time() - began)


def throughput(rows: list[dict[str, float]]) -> float:
    """Images per second of the second half of an epoch, as a median over the rows: other programs may run."""
    rates = sorted(row["images_per_s"] for row in rows[len(rows) // 2 : -1] or rows)
    return rates[len(rates) // 2]


def measure(shards: Path, out: Path, processes: list[int], options: list[str], table: Table) -> float:
    """Adds a row for each number of processes; the largest difference between their loss curves."""
    images = ShardIndex.open(shards).images("train")
    curves = []
    for count in processes:
        rows = train(shards, out / f"run-{images}-{count}", count, options)
        steps = [row for row in rows if "images" in row]
        curves.append([row["loss"] for row in rows if "loss" in row])
        difference = max(abs(one - other) for one, other in zip(curves[0], curves[-1], strict=True))
        table.add(
            f"{images:,}",
            str(count),
            str(steps[-1]["step"]),
            f"{throughput(steps):.1f}",
            f"{max(row['peak_mb'] for row in steps):.0f}",
            f"{steps[-1]['loss']:.4f}",
            f"{difference:.1e}",
        )
        print(table.to_markdown().splitlines()[-1], flush=True)
    return max((abs(one - other) for curve in curves for one, other in zip(curves[0], curve, strict=True)), default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--images", type=int, nargs="+", default=[200, 2000], help="of the generated archives")
    parser.add_argument("--side", type=int, default=64, help="of the generated images in pixels")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--shards", type=Path, help="measure these instead of generated ones")
    parser.add_argument("--shard-mb", type=float, default=4.0)
    parser.add_argument("--read-only", action="store_true", help="do not train; measure reading at 128 pixels alone")
    parser.add_argument("--workers", type=int, default=2, help="processes that write shards")
    arguments, options = parser.parse_known_args()
    options = options or ["--size", "64", "--lanes", "8", "--batch", "4", "--log-every", "5"]
    arguments.folder.mkdir(parents=True)
    folders = [arguments.shards] if arguments.shards else []
    for images in [] if arguments.shards else arguments.images:
        began = time.monotonic()
        archive, shards = arguments.folder / f"archive-{images}", arguments.folder / f"shards-{images}"
        generate_sa_med2d(archive, images, arguments.side)
        generated = time.monotonic()
        settings = ShardSettings(archive, shards, shard_mb=arguments.shard_mb, workers=arguments.workers)
        summary = write_shards(settings)
        size = sum(path.stat().st_size for path in shards.glob("*.tar"))
        print(
            f"{images:,} images of {arguments.side} pixels generated in {generated - began:.0f} s; shards: "
            f"{size / 1e6:.1f} MB, {summary.seconds:.1f} s, {images / summary.seconds:.0f} images/s, "
            f"{summary.peak_mb:.0f} MB of memory in {arguments.workers} + 1 processes",
            flush=True,
        )
        folders.append(shards)
    if arguments.read_only:
        for shards in folders:
            print(f"{shards}: {reading_rate(shards, 128):.0f} images/s of one core's time at 128 pixels")
        return
    table = Table(("Training images", "Processes", "Steps", "Images/s", "Peak MB a process", "Last loss", "Difference"))
    worst = max(measure(shards, arguments.folder, arguments.processes, options, table) for shards in folders)
    print(", ".join(f"{name}: {value}" for name, value in describe_machine().items()))
    print(f"\n{table.to_markdown()}\n")
    if worst > TOLERANCE:
        sys.exit(f"The loss curves differ by {worst:.1e}, more than {TOLERANCE:.0e}.")
    print(f"Loss curves are equal within {worst:.1e} (allowed: {TOLERANCE:.0e}).")


if __name__ == "__main__":
    main()
