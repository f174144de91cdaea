"""A training in one process, or in one of several that `torchrun` started, each with a GPU of its own."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from automedsam.errors import AutoMedSAMError

# What torchrun sets for each process.
_RANK, _LOCAL_RANK, _SIZE = "RANK", "LOCAL_RANK", "WORLD_SIZE"
_RESTARTS, _MACHINES, _SHARED_STORE = "TORCHELASTIC_RESTART_COUNT", "GROUP_WORLD_SIZE", "TORCHELASTIC_USE_AGENT_STORE"


_MAX_WORKERS = 8


@dataclass(frozen=True)
class World:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        device: where it computes, "cpu" or "cuda" with a number.
    """

    rank: int
    size: int
    device: str

    @property
    def main(self) -> bool:
        """Whether it is the one that writes files and speaks."""
        return self.rank == 0


def is_main_process() -> bool:
    """Whether this process is the only one, or the first of torchrun's; known before any joins."""
    return int(os.environ.get(_RANK, "0")) == 0


def is_restarted() -> bool:
    """Whether torchrun has started this process again, because one of the processes had died (`--max-restarts`)."""
    return int(os.environ.get(_RESTARTS, "0")) > 0


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Meets the other processes of torchrun, if there are any, and leaves them at the end.

    Args:
        device: "auto", "cpu" or "cuda"; "auto" takes CUDA where there is one.

    What wraps a network for several processes may not be referred to when the block is left: make it in a function.

    Yields:
        What this process is among them: they exchange gradients by NCCL on GPUs, by Gloo on CPUs.

    Raises:
        AutoMedSAMError: if the device is another, or torchrun started more processes than there are GPUs.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.partition(":")[0] not in ("cpu", "cuda"):
        message = f"This recipe trains on cpu or cuda, not on {device}: choose one of these, or auto."
        raise AutoMedSAMError(message)
    if _LOCAL_RANK not in os.environ:
        yield World(0, 1, device)
        return
    rank, local, size = (int(os.environ[name]) for name in (_RANK, _LOCAL_RANK, _SIZE))
    if device.startswith("cuda"):
        if local >= torch.cuda.device_count():
            message = (
                f"torchrun started a process for GPU {local}, but there are {torch.cuda.device_count()}: "
                "give --nproc-per-node as many as there are."
            )
            raise AutoMedSAMError(message)
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    backend = "nccl" if device.startswith("cuda") else "gloo"
    torch.distributed.init_process_group(backend, **_fresh_store(rank, size))
    try:
        yield World(rank, size, device)
    finally:
        # A wrapped network that outlives the group may wait for its threads for ever, at times: off with it first.
        gc.collect()
        torch.distributed.destroy_process_group()


def _fresh_store(rank: int, size: int) -> dict[str, Any]:
    """Where restarted processes of one machine meet, so that they do not find the addresses of those that died.

    torchrun's store outlives a restart (pytorch/pytorch#135712). On several machines, where restarts are not counted
    alike, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 gives each start a store of its own.
    """
    if not is_restarted() or os.environ.get(_MACHINES) != "1" or os.environ.get(_SHARED_STORE) != "True":
        return {}
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    shared = TCPStore(host, port, size, is_master=False)
    store = PrefixStore(f"restart {os.environ[_RESTARTS]}", shared)
    return {"store": store, "rank": rank, "world_size": size}


def spare_workers(world: World) -> int:
    """Processes that read data: none on a CPU, which has its hands full, else as many as there are cores, up to 8."""
    if world.device == "cpu":
        return 0
    return min(_MAX_WORKERS, (os.cpu_count() or 1) // world.size)
