"""What is particular to ComiRec: planted interests that several vectors find and one cannot, and the list that mixes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.seeds import torch_generator
from hpgr.models.comirec import comirec, comirec_dr
from hpgr.retrieval.diverse import DiverseGreedy

TOPICS, SIZE = 40, 5


def users(seed: int, count: int, kinds: tuple[int, int]) -> tuple[History, list[torch.Tensor]]:
    """Histories of 16 items from so many topics each, and the topics."""
    generator, rows, topics = torch_generator(seed, "topics"), [], []
    for _ in range(count):
        num = int(torch.randint(kinds[0], kinds[1] + 1, (1,), generator=generator))
        mine = torch.randperm(TOPICS, generator=generator)[:num]
        topic = mine[torch.randint(num, (16,), generator=generator)]
        rows.append((topic * SIZE + torch.randint(SIZE, (16,), generator=generator)).tolist())
        topics.append(mine)
    return History.from_lists(rows), topics


def trained(config, kinds: tuple[int, int], *, steps: int, lr: float):
    torch.manual_seed(0)
    frame = config.build(num_items=TOPICS * SIZE)
    frame.observe(torch.ones(TOPICS * SIZE, dtype=torch.int64))
    batches = [users(seed, 64, kinds)[0] for seed in range(20)]
    optimiser = torch.optim.Adam(frame.train().parameters(), lr=lr)
    for step in range(steps):
        optimiser.zero_grad()
        frame.loss(batches[step % 20], torch_generator(0, step))["loss"].backward()
        optimiser.step()
    return frame.eval()


def recall(frame, kinds: tuple[int, int]) -> float:
    """Of the items of a user's topics, the share among as many of the best scores."""
    history, topics = users(999, 200, kinds)
    with torch.no_grad():
        scores = frame.scores(history)
    shares = []
    for row, mine in zip(scores, topics):
        best = row.topk(len(mine) * SIZE).indices // SIZE
        shares.append(torch.isin(best, mine).float().mean())
    return float(torch.stack(shares).mean())


def attended(num_interests: int):
    return comirec(dim=8, num_interests=num_interests, num_positions=16, num_negatives=64)


def routed(num_interests: int):
    config = comirec_dr(dim=8, num_interests=num_interests, num_positions=1, num_negatives=64)
    return replace(config, items=replace(config.items, std=0.3), interests=replace(config.interests, std=8**-0.5))


@pytest.mark.parametrize(("make", "steps", "lr"), [(attended, 200, 1e-2), (routed, 300, 2e-2)], ids=["sa", "dr"])
def test_several_topics_a_user_need_several_vectors(make, steps, lr):
    one, four = (recall(trained(make(count), (2, 4), steps=steps, lr=lr), (2, 4)) for count in (1, 4))
    assert four > one + 0.25


def test_one_topic_a_user_needs_one_vector():
    one, four = (recall(trained(attended(count), (1, 1), steps=150, lr=1e-2), (1, 1)) for count in (1, 4))
    assert one > 0.9
    assert abs(four - one) < 0.03


def test_each_topic_has_a_vector_and_diversity_costs_little():
    frame = trained(attended(4), (2, 4), steps=200, lr=1e-2)
    history, topics = users(999, 100, (3, 3))
    with torch.no_grad():
        vectors, scores = frame.query(history), frame.scores(history)
        centres = frame.items.table().unflatten(0, (TOPICS, SIZE)).mean(1)
    near = torch.nn.functional.cosine_similarity(vectors[:, :, None], centres[torch.stack(topics)][:, None], dim=-1)
    assert near.amax(1).mean() > 0.85, "how close the nearest vector of each topic is"
    assert torch.tensor([len(set(row.tolist())) for row in near.argmax(1)]).float().mean() > 2.3
    category = (torch.arange(TOPICS * SIZE) // SIZE).numpy()
    kinds, hits = [], []
    for weight in (0.0, 0.2, 1.0, 1000.0):
        lists = [
            DiverseGreedy(weight=weight).order(row.numpy(), category[:, None] == np.arange(TOPICS), 6) for row in scores
        ]
        kinds.append(sum(len(set(category[row])) for row in lists) / 100)
        hits.append(
            sum(float(torch.isin(torch.from_numpy(category[r]), t).float().mean()) for r, t in zip(lists, topics))
        )
    assert kinds == sorted(kinds)
    assert kinds[0] < 2.9
    assert kinds[1] > kinds[0]
    assert hits[1] > hits[0] - 3, "three in a hundred places at most"
    assert kinds[-1] == 6, "one of a category after the other"
