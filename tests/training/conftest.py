"""A toy stage, small enough that a whole training takes a fraction of a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.seeds import torch_generator
from hpgr.frames.stage import TrainableStage


class ToyBatches:
    """Each item is followed by its successor modulo 10; ``count`` batches of five users an epoch."""

    def __init__(self, count: int) -> None:
        self.count, self.epoch = count, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[History]:
        generator = torch_generator(7, "toy", self.epoch)
        for _ in range(self.count):
            first = torch.randint(0, 10, (5,), generator=generator)
            yield History.from_lists([[int(x), int(x + 1) % 10] for x in first])


class ToyNet(nn.Module):
    """Predicts the second event of each user; has dropout, a buffer and noise from the step's generator."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.table = nn.Embedding(10, 16)
            self.norm = nn.BatchNorm1d(16)
            self.head = nn.Linear(16, 10)
        self.dropout = nn.Dropout(0.2)

    def forward(self, item_idx: Tensor) -> Tensor:
        return self.head(self.dropout(self.norm(self.table(item_idx))))

    def loss(self, history: History, generator: torch.Generator) -> dict[str, Tensor]:
        noise = 0.01 * torch.rand(10, generator=generator)
        cost = nn.functional.cross_entropy(self(history.item_idx[::2]) + noise, history.item_idx[1::2])
        return {"loss": cost, "noise": noise.mean()}

    def accuracy(self) -> dict[str, float]:
        items = torch.arange(10)
        return {"accuracy": float((self(items).argmax(-1) == (items + 1) % 10).float().mean())}


@pytest.fixture
def toy() -> Callable[..., tuple[ToyNet, TrainableStage]]:
    """A fresh net, always of the same first weights, and its stage."""

    def make(inherited: tuple[str, ...] = ()) -> tuple[ToyNet, TrainableStage]:
        net = ToyNet()
        return net, TrainableStage(name="retrieve", module=net, loss=net.loss, batches="history", inherited=inherited)

    return make


@pytest.fixture
def toy_batches() -> type[ToyBatches]:
    return ToyBatches
