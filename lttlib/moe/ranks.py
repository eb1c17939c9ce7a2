"""Processes that compute together: who is there, what they send each other, what is said when one of them dies.

A process is a *rank*, numbered from 0. torchrun starts them and tells each its number by environment variables; gloo
carries the tensors between processors, NCCL between GPUs. Every rank must make the same calls in the same order.
Gradients travel the way back: of an exchange by the reverse exchange, of a mean by a mean. Book: "Mixture of experts".
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from lttlib.arguments import require, require_choice

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
TIMEOUT = 20.0  # of one message, in seconds; torchrun takes up to 30 more to end a process that hangs
START = 50.0  # seconds until all processes have imported what they need
PATIENCE = 5.0  # seconds in which all who are alive notice that somebody is not


class RankError(RuntimeError):
    """Another process is gone or does not answer; the message says which one, if that can be known."""


class Ranks:
    """This process among all: rank, from 0 to size - 1. See joined. device: where its tensors are."""

    def __init__(self, store: dist.Store, rank: int, size: int, device: torch.device):
        self.rank, self.size, self.device = rank, size, device
        self._store = store

    def exchange(self, rows: Tensor, send: Sequence[int], receive: Sequence[int]) -> Tensor:
        """The first send[0] rows go to rank 0, the next send[1] to rank 1 ...; returns what came, rank 0's rows first.

        rows: (sum of send, ...). receive: how many come from each rank: (sum of receive, ...) is returned.
        """
        return _Exchange.apply(rows, tuple(send), tuple(receive), self)

    def mean(self, x: Tensor) -> Tensor:
        """Mean over ranks of tensors of one shape, the same on all ranks."""
        return _Mean.apply(x, self)

    def gather(self, part: Tensor) -> Tensor:
        """The parts of all ranks, of one shape, one after the other along the first axis. Without gradients."""
        parts = [torch.empty_like(part) for _ in range(self.size)]
        self.call(dist.all_gather, parts, part.detach().contiguous())
        return torch.cat(parts)

    def share(self, x: Tensor) -> None:
        """Overwrite x with what rank 0 has there."""
        self.call(dist.broadcast, x, 0)

    def call(self, operation: Callable, *arguments) -> None:
        """operation(*arguments) of torch.distributed; where it fails, a RankError says who is missing."""
        try:
            operation(*arguments)
        except RuntimeError as error:
            raise RankError(
                f"{self._missing()} ({_cause(error)}); see what it printed last, and start all again"
            ) from error

    def _missing(self) -> str:
        """Everybody who is alive notices a failure and leaves a note; who has left none is gone."""
        others = [rank for rank in range(self.size) if rank != self.rank]
        try:
            missing = self._without_note("noticed", others, few=1)
            waiting = [rank for rank in others if self.rank == 0 and rank not in missing]
            self._without_note("has read", waiting, few=0)  # without a torchrun rank 0 keeps the notes, and ends last
        except RuntimeError:
            missing = [0]
        return f"rank {self.rank} of {self.size} got no answer from rank {' or '.join(map(str, missing or others))}"

    def _without_note(self, note: str, others: Sequence[int], *, few: int) -> list[int]:
        """Leave a note and look for those of others, until `few` at most lack one or patience ends; returns who does."""
        self._store.set(f"rank {self.rank} {note}", "")
        end = time.monotonic() + PATIENCE
        while True:
            missing = [rank for rank in others if not self._store.check([f"rank {rank} {note}"])]
            if len(missing) <= few or time.monotonic() > end:
                return missing
            time.sleep(0.05)


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, send, receive, ranks):
        ctx.back = receive, send, ranks
        came = rows.new_empty(sum(receive), *rows.shape[1:])
        ranks.call(dist.all_to_all_single, came, rows.contiguous(), list(receive), list(send))
        return came

    @staticmethod
    def backward(ctx, gradient):
        return _Exchange.apply(gradient, *ctx.back), None, None, None


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, ranks):
        ctx.ranks = ranks
        total = x.clone(memory_format=torch.contiguous_format)
        ranks.call(dist.all_reduce, total)
        return total / ranks.size

    @staticmethod
    def backward(ctx, gradient):
        return _Mean.apply(gradient, ctx.ranks), None


@contextmanager
def joined(device: str = "cpu", *, timeout: float = TIMEOUT) -> Iterator[Ranks | None]:
    """Within it, this process belongs to those that torchrun started; None if it was started alone.

    device: "cpu" or "cuda", a GPU for each rank of a machine. timeout: seconds a rank waits for another at most; gloo
    makes a RankError of it, NCCL ends the process by itself.
    """
    require_choice(device, BACKENDS, "device")
    require(timeout > 0, "timeout", timeout, "seconds, more than 0", f"{TIMEOUT:g} are usual")
    if "RANK" not in os.environ:
        yield None
        return
    place, late = _place(device), timedelta(seconds=START)
    try:
        store, rank, size = next(dist.rendezvous("env://", timeout=late))
        store.set(f"rank {rank} came", "")
        store.wait([f"rank {other} came" for other in range(size)], late)
        options = {"rank": rank, "world_size": size, "timeout": timedelta(seconds=timeout)}
        dist.init_process_group(BACKENDS[device], store=dist.PrefixStore("group", store), **options)
    except RuntimeError as error:
        raise RankError(f"not all ranks came within {START:g} s ({_cause(error)}); start all of them") from error
    yield Ranks(store, rank, size, place)
    dist.destroy_process_group()  # not after an error: it may wait for those who are gone


def _place(device: str) -> torch.device:
    if device == "cpu":
        return torch.device("cpu")
    number, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    require(number < there, "device", f"'cuda' for rank {number} of this machine", f"more than {number} GPUs, found {there}",
            "start one process for each GPU, or use --device cpu")  # fmt: skip
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def _cause(error: RuntimeError) -> str:
    """The first sentence, without the line of C++ that said it."""
    return re.sub(r"^\[\S+\] *", "", str(error).strip()).splitlines()[0].split(". ")[0]
