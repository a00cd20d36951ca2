"""One process, or several that train together: ``torchrun --nproc-per-node=2 -m soradit train ...``."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from soradit.errors import SoraditError, StateSaved
from soradit.model.dit import DiT

T = TypeVar("T")
TIMEOUT = timedelta(days=1)
"""How long another process, which may be encoding, is waited for; one that has died is torchrun's to notice."""

GROUPS: "set[dist.ProcessGroup]" = set()
"""Kept to the end: where DDP is the last to let go of one, torch waits for gloo's thread, which may wait for Python."""

STOPPED = "stopped"
"""What a training that was asked to stop leaves in torchrun's store."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Which of how many processes this is, and how they agree."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """The one that writes."""
        return self.rank == 0

    def parts(self, batch_size: int, accumulate: int) -> list[slice]:
        """What this process trains on of a batch, in ``accumulate`` equal parts."""
        length = batch_size // (self.size * accumulate)
        first = self.rank * accumulate
        return [slice(i * length, (i + 1) * length) for i in range(first, first + accumulate)]

    def mean(self, number: Tensor) -> Tensor:
        """Over all processes."""
        if self.size > 1:
            dist.all_reduce(number)
            number /= self.size
        return number

    def agree(self, reason: str) -> str:
        """The first process's reason that has one; "" when none has. All processes ask at the same place."""
        if self.size == 1:
            return reason
        has_one = torch.tensor(bool(reason), dtype=torch.uint8)  # on the CPU, where gloo carries it
        dist.all_reduce(has_one, op=dist.ReduceOp.MAX)
        if not has_one:
            return ""
        reasons: list[str] = [""] * self.size
        dist.all_gather_object(reasons, reason)
        return next(filter(None, reasons))

    def led(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, or raises as SoraditError, in the first process, which alone does it."""
        outcome: list = [None, None]
        if self.is_first:
            try:
                outcome[0] = work()
            except SoraditError as error:
                if self.size == 1:
                    raise
                outcome[1] = error
        if self.size > 1:
            dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


ALONE = World()


@contextmanager
def joined() -> Iterator[World]:
    """The processes that torchrun's environment tells of; ALONE when there is none.

    Raises StateSaved where they had been asked to stop before torchrun restarted them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, size = next(dist.rendezvous("env://"))
    if store.check([STOPPED]):  # torchrun has started us again, as it does after any exit code but 0
        raise StateSaved(store.get(STOPPED).decode())
    attempt = f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"  # the one before left its addresses there
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=dist.PrefixStore(attempt, store),
        rank=rank,
        world_size=size,
        timeout=TIMEOUT,
    )
    try:
        yield World(rank=dist.get_rank(), size=dist.get_world_size())
    except StateSaved as saved:
        with suppress(RuntimeError):  # the process that keeps the store may have ended already
            store.set(STOPPED, str(saved))
        raise
    finally:
        dist.destroy_process_group()


def parallelize(model: DiT, world: World, *, shard: bool) -> nn.Module:
    """What to call in training, so that gradients are those of all processes' examples.

    With ``shard`` each process keeps a part of every tensor (FSDP2: Zhao et al. 2023, arXiv 2304.11277), in place;
    else all of them (DDP: Li et al. 2020, arXiv 2006.15704).
    """
    if world.size == 1:
        return model
    if not shard:
        network = DistributedDataParallel(model)
        GROUPS.add(network.process_group)
        return network
    from torch.distributed.fsdp import fully_shard

    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")  # nobody writes into it
    for block in model.blocks:
        fully_shard(block)
    # Resharded after each forward pass, also the last one, so that weights may be put in place between them.
    fully_shard(model, reshard_after_forward=True)
    return model


def exchange_gradients(network: nn.Module, wanted: bool) -> None:
    """Whether the next backward pass ends in an exchange; of a batch's parts, only the last one's does."""
    if isinstance(network, DistributedDataParallel):
        network.require_backward_grad_sync = wanted
    elif set_wanted := getattr(network, "set_requires_gradient_sync", None):
        set_wanted(wanted)


def is_shared(tensor: Tensor) -> bool:
    """Whether processes keep but parts of it. (By what it can: to import its class takes a second.)"""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Any) -> Tensor:
    """All of a tensor of which processes keep parts; every process must ask."""
    return tensor.full_tensor() if is_shared(tensor) else tensor


def copy_whole(target: Any, source: Tensor) -> None:
    """Copy a whole tensor, the same in every process, into one of which this process may keep a part."""
    if is_shared(target):
        from torch.distributed.tensor import distribute_tensor

        source = distribute_tensor(source, target.device_mesh, target.placements, src_data_rank=None)
    target.copy_(source)
