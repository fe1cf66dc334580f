"""Training of the two towers. PyTorch is imported by a fit alone: it takes seconds, and scoring needs none of it.

Workers that share a fit hold equal tables: each scores its rows of the batch against all targets of the batch, so the
negatives are those of one worker; the gradients are added up, and all take the same step. The sums differ from one
worker's by their order alone, that is by rounding.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from customer360.models.base import Progress
from customer360.models.two_tower.examples import Batch, Examples, Share, TwoTowerParams, batch_size, batches, steps
from customer360.platform.errors import ModelError

SPREAD = 0.1  # standard deviation of fresh embeddings
WARM_SHARE = 0.05  # of the learning rate, at the end of its half cosine

Dense = NDArray[np.float32]


def train(
    examples: Examples, content: sparse.csr_array, params: TwoTowerParams, progress: Progress
) -> dict[str, Dense]:
    """The learnt tables by name. One thread a worker: sums then have one order, whatever the machine.

    Raises ModelError when there are more workers than rows in a batch.
    """
    import torch

    share, threads = _share(), torch.get_num_threads()
    if share.workers > (rows := batch_size(examples, params)):
        raise ModelError(f"{share.workers} workers cannot share batches of {rows} rows; take at most {rows} workers")
    torch.set_num_threads(1)
    try:
        tables = _fresh_tables(examples, params)
        optimizer = torch.optim.Adam(list(tables.values()), lr=params.learning_rate)
        kept, done = progress.restore(), 0
        if kept is not None:
            state = torch.load(kept / "state.pt", weights_only=True)
            optimizer.load_state_dict(state["optimizer"])
            done = state["epochs"]
            with torch.no_grad():
                for name, table in tables.items():
                    table.copy_(state["tables"][name])
        tokens = tuple(
            torch.from_numpy(part.astype(kind))
            for part, kind in ((content.indices, np.int64), (content.indptr[:-1], np.int64), (content.data, np.float32))
        )
        log_rate, count = torch.from_numpy(examples.log_rate), steps(examples, params)
        for epoch in range(done, params.epochs):
            for step, batch in enumerate(batches(examples, params, epoch, share), start=epoch * count):
                left = 0.5 * (1 + math.cos(math.pi * step / (count * params.epochs)))
                optimizer.param_groups[0]["lr"] = params.learning_rate * (WARM_SHARE + (1 - WARM_SHARE) * left)
                optimizer.zero_grad()
                _loss(tables, tokens, log_rate, batch, params.temperature).backward()
                if share.workers > 1:
                    _add_up(tables)
                optimizer.step()
            if epoch + 1 < params.epochs:
                progress.keep(partial(_save_state, tables, optimizer, epoch + 1))
        return {name: table.detach().numpy().copy() for name, table in tables.items()}
    finally:
        torch.set_num_threads(threads)


def _share() -> Share:
    """The place of this process in the process group that Ray Train has made; without one it fits alone."""
    from torch import distributed

    if not distributed.is_available() or not distributed.is_initialized():
        return Share()
    return Share(distributed.get_rank(), distributed.get_world_size())


def _add_up(tables: dict[str, Any]) -> None:
    """Replace the gradients by their sums over the workers. Whole tables, which Adam goes through anyhow."""
    from torch import distributed

    for sent in [distributed.all_reduce(table.grad, async_op=True) for table in tables.values()]:
        sent.wait()


def _fresh_tables(examples: Examples, params: TwoTowerParams) -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(params.seed)
    count = len(examples.events.products)
    rows = {
        "item_ids": count,
        "hidden_ids": count,
        "item_words": params.token_buckets,
        "hidden_words": params.token_buckets,
    }
    tables = {name: torch.randn(n, params.dimension, generator=generator).mul_(SPREAD) for name, n in rows.items()}
    tables["bias"] = torch.from_numpy(examples.log_rate.copy())
    return {name: table.requires_grad_() for name, table in tables.items()}


def _loss(tables: dict[str, Any], tokens: tuple[Any, ...], log_rate: Any, batch: Batch, temperature: float) -> Any:
    """Softmax over the targets of the batch, a worker's part of the mean over its rows; the same product as another
    example's target does not count against it.
    """
    import torch
    from torch.nn import functional

    bag = partial(functional.embedding_bag, mode="sum")
    target = torch.from_numpy(batch.target)
    hidden = tables["hidden_ids"] + bag(tokens[0], tables["hidden_words"], tokens[1], per_sample_weights=tokens[2])
    words_of = bag(tokens[0], tables["item_words"], tokens[1], per_sample_weights=tokens[2])
    item = tables["item_ids"][target] * torch.from_numpy(batch.keeps_id) + words_of[target]
    offsets, weights = torch.from_numpy(batch.offsets), torch.from_numpy(batch.weights)
    person = bag(torch.from_numpy(batch.items), hidden, offsets, per_sample_weights=weights)
    near = functional.normalize(person, dim=1) @ functional.normalize(item, dim=1).T / temperature
    # Log-Q correction: a product stands in batches as often as it is drawn, so as a negative it counts too often by
    # that rate. Without it off, the towers would learn to avoid what sells; popularity itself is left to the bias.
    logits = near + (tables["bias"][target] - log_rate[target])[None, :]
    right = torch.arange(batch.own.start, batch.own.stop)
    accidental = target[batch.own][:, None] == target[None, :]
    accidental[right - batch.own.start, right] = False
    mean = functional.cross_entropy(logits.masked_fill(accidental, -torch.inf), right)
    return mean * (len(right) / len(target))


def _save_state(tables: dict[str, Any], optimizer: Any, epochs: int, directory: Path) -> None:
    import torch

    state = {"tables": {name: table.detach() for name, table in tables.items()}, "optimizer": optimizer.state_dict()}
    torch.save(state | {"epochs": epochs}, directory / "state.pt")
