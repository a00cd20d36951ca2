"""Every random draw of a training run, derived from (seed, step, purpose): a resumed run draws what it would have."""

import hashlib

import torch


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """A CPU generator of its own for one purpose, such as ``generator(seed, step, "noise")``."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def draw_indices(seed: int, step: int, batch_size: int, num_items: int) -> list[int]:
    """Which items step ``step`` trains on: every item once an epoch, in an order of that epoch's own."""
    positions = range(step * batch_size, (step + 1) * batch_size)
    orders = {epoch: _order(seed, epoch, num_items) for epoch in {p // num_items for p in positions}}
    return [orders[p // num_items][p % num_items] for p in positions]


def _order(seed: int, epoch: int, num_items: int) -> list[int]:
    return torch.randperm(num_items, generator=generator(seed, "epoch", epoch)).tolist()
