"""Costs against sampled items, on a table of scores: what is drawn, and what they agree with."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F

from hpgr.core.config import from_tree, to_tree
from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.core.seeds import torch_generator
from hpgr.objectives import negatives
from hpgr.objectives.bucketed_cost import BucketedSoftmax
from hpgr.objectives.costs import FullSoftmax, SampledBinary
from hpgr.objectives.gathered import gathered_scores
from hpgr.objectives.held import Drawn, Held
from hpgr.objectives.losses.ranking import bpr_max_costs
from hpgr.objectives.losses.sampled_softmax import sampled_softmax_costs
from hpgr.objectives.negatives import Sampling, mean_cost, other_items
from hpgr.objectives.ranking_costs import Bpr, BprMax, Top1, Top1Max
from hpgr.objectives.sampled_costs import GeneralisedBinary, SampledSoftmax

COSTS = [
    SampledBinary(num_negatives=4),
    SampledSoftmax(num_negatives=4),
    SampledSoftmax(num_negatives=4, shared="prediction", temperature=0.1),
    SampledSoftmax(num_negatives=4, alpha=0.5, in_batch=True, log_q=True),
    GeneralisedBinary(num_negatives=4),
    BucketedSoftmax(bucket_items=4),
    Bpr(num_negatives=4),
    BprMax(num_negatives=4),
    Top1(num_negatives=4),
    Top1Max(num_negatives=4),
]
IN_BATCH = [SampledSoftmax(num_negatives=0, in_batch=True), *(replace(cost, num_negatives=0) for cost in COSTS[6:])]


@dataclass
class Table:
    """Vectors, a bias and shares that are given."""

    vectors: torch.Tensor
    shift: torch.Tensor | None = None
    log_share_V: torch.Tensor | None = None
    sparse: bool = False

    @property
    def num_items(self):
        return len(self.vectors)

    def table(self):
        return self.vectors

    def bias(self):
        return self.shift

    def rows(self, item_idx):
        vectors = F.embedding(item_idx, self.vectors, sparse=True)
        return vectors, None if self.shift is None else self.shift.gather(0, item_idx, sparse_grad=True)


def table(num_items: int = 12, dim: int = 5) -> Table:
    torch.manual_seed(0)
    vectors = torch.randn(num_items, dim, dtype=torch.float64, requires_grad=True)
    shift = torch.randn(num_items, dtype=torch.float64, requires_grad=True)
    return Table(vectors, shift, torch.arange(1.0, num_items + 1).log())


def predictions(items: Table, count: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    states = torch.randn(count, items.vectors.shape[1], dtype=torch.float64, requires_grad=True)
    return states, torch.randint(items.num_items, (count,))


def test_gathered_scores_and_gradients_are_those_of_the_dot_products(monkeypatch):
    monkeypatch.setattr("hpgr.objectives.gathered._ON_CPU", 3 * 5 * 2)
    items = table()
    states, _ = predictions(items)
    rows = torch.randint(12, (7, 3))
    up = torch.randn(7, 3, dtype=torch.float64)
    got, want = gathered_scores(states, items.vectors, rows), (states @ items.vectors.T).gather(1, rows)
    torch.testing.assert_close(got, want)
    for a, b in zip(*(torch.autograd.grad(x, (states, items.vectors), up) for x in (got, want))):
        torch.testing.assert_close(a, b)
    half = gathered_scores(states.bfloat16(), items.vectors.float(), rows)
    assert half.dtype == torch.float32
    assert torch.autograd.grad(half.sum(), states)[0].dtype == torch.float64


@pytest.mark.parametrize("cost", COSTS, ids=repr)
def test_bias_counts_in_loss_and_logits(cost):
    items = table()
    states, target = predictions(items)
    plain = Table(items.vectors, None, items.log_share_V)
    torch.testing.assert_close(cost.logits(states, items), cost.logits(states, plain) + items.shift)
    with_bias, without = (cost.loss(states, target, given, torch_generator(1)) for given in (items, plain))
    assert with_bias.item() != pytest.approx(without.item(), rel=1e-3)
    even = replace(items, shift=torch.full((12,), 0.0, dtype=torch.float64))
    assert cost.loss(states, target, even, torch_generator(1)).item() == pytest.approx(without.item())
    with_bias.backward()
    assert items.shift.grad.count_nonzero() > 1
    assert items.vectors.grad.isfinite().all()
    assert states.grad.isfinite().all()


def test_a_table_too_long_to_be_normalised_whole_scores_the_same(monkeypatch):
    items = table()
    states, _ = predictions(items)
    cost = SampledSoftmax(temperature=0.3)
    want = cost.logits(states, items)
    monkeypatch.setattr("hpgr.objectives.scores._NORMALISED", 5 * 5)
    torch.testing.assert_close(cost.logits(states, items), want)


def test_full_softmax_takes_the_bias():
    items = table()
    states, target = predictions(items)
    want = F.cross_entropy(states @ items.vectors.T + items.shift, target)
    torch.testing.assert_close(FullSoftmax(chunk=3).loss(states, target, items, torch_generator(0)), want)


@pytest.mark.parametrize("temperature", [None, 0.5])
@pytest.mark.parametrize("own", [False, True])
def test_every_item_as_a_negative_is_the_full_softmax(own, temperature):
    items = table()
    states, target = predictions(items)
    everything, nothing = torch.arange(12), torch.arange(0)
    drawn = Drawn(
        shared_C=nothing if own else everything,
        own_NM=everything.expand(7, 12) if own else nothing.expand(7, 0),
    )
    want = FullSoftmax(temperature=temperature).loss(states, target, items, torch_generator(0))
    vectors = items.vectors if temperature is None else F.normalize(items.vectors, dim=-1)
    held = states if temperature is None else F.normalize(states, dim=-1) / temperature
    against = Held(target_N=target, drawn=drawn, table_UD=vectors, bias_U=items.shift)
    got = mean_cost(held, against, sampled_softmax_costs)
    torch.testing.assert_close(got, want)
    parts = (states, items.vectors, items.shift)
    for a, b in zip(torch.autograd.grad(got, parts), torch.autograd.grad(want, parts)):
        torch.testing.assert_close(a, b)


def test_blocks_change_neither_value_nor_gradient(monkeypatch):
    items = table()
    states, target = predictions(items)
    cost = SampledSoftmax(num_negatives=6, alpha=0.5, in_batch=True, log_q=True)
    results = []
    for room in (10**6, 3 * 14):
        monkeypatch.setattr(negatives, "_TOGETHER", room)
        loss = cost.loss(states, target, items, torch_generator(3))
        results.append((loss, *torch.autograd.grad(loss, (states, items.vectors, items.shift))))
    for a, b in zip(*results):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("cost", COSTS, ids=repr)
def test_nothing_to_predict_costs_nothing(cost):
    items = table()
    states = torch.zeros(0, 5, dtype=torch.float64, requires_grad=True)
    loss = cost.loss(states, torch.zeros(0, dtype=torch.int64), items, torch_generator(1))
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("cost", IN_BATCH, ids=repr)
def test_in_batch_negatives_are_the_other_targets_and_never_the_own(cost):
    items = table()
    states, _ = predictions(items, count=3)
    alone = cost.loss(states[:1], torch.tensor([4]), items, torch_generator(1))
    assert alone.item() == 0, "nobody to be held against"
    same = cost.loss(states, torch.tensor([4, 4, 4]), items, torch_generator(1))
    assert same.item() == 0
    assert cost.loss(states, torch.tensor([4, 4, 5]), items, torch_generator(1)).item() > 0


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("cost", COSTS, ids=repr)
def test_sparse_items_cost_the_same_and_only_rows_that_are_needed_get_a_gradient(cost, biased):
    items = table(num_items=200)
    if not biased:
        items = replace(items, shift=None)
    states, target = predictions(items)
    parts = (states, items.vectors, items.shift) if biased else (states, items.vectors)
    found = []
    for given in (items, replace(items, sparse=True)):
        loss = cost.loss(states, target, given, torch_generator(3))
        found.append((loss, *torch.autograd.grad(loss, parts)))
    for dense, sparse in zip(*found):
        torch.testing.assert_close(sparse.to_dense() if sparse.is_sparse else sparse, dense)
    assert all(gradient.is_sparse for gradient in found[1][2:])
    touched = found[1][2].coalesce().indices()[0]
    assert set(target.tolist()) <= set(touched.tolist())
    assert len(touched) <= 7 + 4 * 7


def test_in_batch_by_hand():
    # Scores are the bias: 0, ln 2, ln 4. Targets 0 and 2, each against the other: 1 : 4 and 4 : 1.
    items = Table(torch.zeros(3, 1), torch.tensor([1.0, 2.0, 4.0]).log(), torch.zeros(3))
    cost = SampledSoftmax(num_negatives=0, in_batch=True)
    got = cost.loss(torch.zeros(2, 1), torch.tensor([0, 2]), items, torch_generator(0))
    assert got.item() == pytest.approx((math.log(5) + math.log(5 / 4)) / 2)
    # Corrected by the shares 1/7, 2/7, 4/7 both score alike.
    shared = replace(items, log_share_V=(torch.tensor([1.0, 2.0, 4.0]) / 7).log())
    got = replace(cost, log_q=True).loss(torch.zeros(2, 1), torch.tensor([0, 2]), shared, torch_generator(0))
    assert got.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_correction_turns_scores_of_log_expected_counts_into_a_uniform_guess(alpha, in_batch):
    counts = torch.arange(1.0, 41.0, dtype=torch.float64) ** 2
    share = (counts / counts.sum()).log()
    sampling = Sampling(num_negatives=9, alpha=alpha, in_batch=in_batch)
    target = torch.tensor([3, 17, 33])
    expected = sampling.log_expected(Table(torch.zeros(40, 1), None, share), 3)
    # 9 drawn and, in batch, the batch's 3 targets.
    assert expected.exp().sum().item() == pytest.approx(12 if in_batch else 9)
    scores = Table(torch.zeros(40, 1, dtype=torch.float64), expected + 0.7, share)
    cost = SampledSoftmax(num_negatives=9, alpha=alpha, in_batch=in_batch, log_q=True)
    drawn = sampling.draw(target, scores, torch_generator(5))
    columns = (drawn.shared_C != target[:, None]).sum(1) + 1
    got = cost.loss(torch.zeros(3, 1, dtype=torch.float64), target, scores, torch_generator(5))
    torch.testing.assert_close(got, columns.double().log().mean())
    assert drawn.shared_C.shape == (12 if in_batch else 9,)


def test_correction_by_counts_where_all_is_drawn_by_counts():
    """Scores are log counts plus a constant: corrected, all candidates are alike, and the loss is log of their number."""
    counts = torch.tensor([5.0, 1.0, 100.0, 7.0, 20.0], dtype=torch.float64)
    items = Table(torch.zeros(5, 1, dtype=torch.float64), counts.log() - 3, (counts / counts.sum()).log())
    cost = SampledSoftmax(num_negatives=64, alpha=1.0, in_batch=True, log_q=True)
    drawn = Sampling(num_negatives=64, alpha=1.0, in_batch=True).draw(torch.tensor([0, 1]), items, torch_generator(2))
    want = torch.stack([((drawn.shared_C != row).sum() + 1.0).log() for row in (0, 1)]).mean()
    got = cost.loss(torch.zeros(2, 1, dtype=torch.float64), torch.tensor([0, 1]), items, torch_generator(2))
    assert got.item() == pytest.approx(want.item(), rel=1e-6)
    assert (
        replace(cost, log_q=False)
        .loss(torch.zeros(2, 1, dtype=torch.float64), torch.tensor([0, 1]), items, torch_generator(2))
        .item()
        > 1.3 * want.item()
    )


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shared", ["batch", "prediction"])
def test_draws_follow_the_counts_to_the_power_of_alpha(alpha, shared):
    counts = torch.tensor([1.0, 4.0, 9.0, 100.0, 400.0, 16.0])
    items = Table(torch.zeros(6, 1), None, (counts / counts.sum()).log())
    target = torch.zeros(200, dtype=torch.int64)
    number = 20_000 if shared == "batch" else 100
    drawn = Sampling(num_negatives=number, alpha=alpha, shared=shared).draw(target, items, torch_generator(1))
    rows = drawn.shared_C if shared == "batch" else drawn.own_NM.flatten()
    assert len(rows) == 20_000
    want = counts**alpha / (counts**alpha).sum() * 20_000
    chi_square = ((torch.bincount(rows, minlength=6) - want) ** 2 / want).sum().item()
    assert chi_square < 20.5, "0.999 quantile with 5 degrees of freedom"
    if shared == "prediction":
        assert not torch.equal(drawn.own_NM[0], drawn.own_NM[1])


def test_other_items_are_uniform_and_never_the_target():
    target = torch.tensor([0, 2, 4]).repeat(2000)
    drawn = other_items(5, target, 5, torch_generator(1))
    assert (drawn.own_NM != target[:, None]).all()
    for row in (0, 2, 4):
        share = torch.bincount(drawn.own_NM[target == row].flatten(), minlength=5) / 10_000
        want = [0.0 if other == row else 0.25 for other in range(5)]
        assert share.tolist() == pytest.approx(want, abs=0.02)
    assert other_items(5, torch.zeros(3, dtype=torch.int64), 1, torch_generator(1)).own_NM.shape == (3, 0)


def test_beta_by_hand():
    # V = 101, 25 negatives: a = 1/4; β = 1 - t 3/4.
    beta = [GeneralisedBinary(num_negatives=25, calibration=t).beta(101) for t in (0.0, 0.75, 1.0)]
    assert beta == pytest.approx([1, 1 - 9 / 16, 1 / 4])


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_the_minimiser_of_generalised_binary_on_a_table_is_the_calibrated_share(calibration):
    shares = torch.tensor([0.6, 0.25, 0.1, 0.05])
    cost = GeneralisedBinary(num_negatives=1, calibration=calibration)
    target = torch.multinomial(shares, 60_000, replacement=True, generator=torch_generator(1))
    seen = torch.bincount(target, minlength=4) / len(target)
    scores = torch.zeros(4, requires_grad=True)
    states = torch.zeros(len(target), 1)
    optimiser = torch.optim.LBFGS([scores], max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = cost.loss(states, target, Table(torch.zeros(4, 1), scores), torch_generator(2))
        loss.backward()
        return loss

    optimiser.step(closure)
    rate = 1 / 3
    beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    want = beta * seen / (beta * seen + rate * (1 - seen))
    assert torch.sigmoid(scores).tolist() == pytest.approx(want.tolist(), abs=0.02)


def test_uncalibrated_gbce_is_sampled_binary_but_for_the_divisor():
    # One negative: the mean over two terms is half of their sum.
    items = table()
    states, target = predictions(items, count=2)
    drawn = other_items(1, target, 12, torch_generator(1)).own_NM
    scores = gathered_scores(states, items.vectors, torch.cat([target[:, None], drawn], 1))
    scores = scores + items.shift[torch.cat([target[:, None], drawn], 1)]
    want = (F.softplus(-scores[:, 0]) + F.softplus(scores[:, 1])).mean() / 2
    got = GeneralisedBinary(num_negatives=1, calibration=0.0).loss(states, target, items, torch_generator(1))
    torch.testing.assert_close(got, want)


def test_ranking_costs_are_their_losses_over_the_same_sample():
    items = table()
    states, target = predictions(items)
    cost = BprMax(num_negatives=5, alpha=0.75, penalty=0.5, elu=0.3)
    drawn = Sampling(num_negatives=5, alpha=0.75, in_batch=True).draw(target, items, torch_generator(4)).shared_C
    assert drawn[:7].tolist() == target.tolist()
    assert len(drawn) == 12
    logits = states @ items.vectors.T + items.shift
    want = bpr_max_costs(
        logits[range(7), target], logits[:, drawn], drawn != target[:, None], penalty=0.5, elu=0.3
    ).mean()
    torch.testing.assert_close(cost.loss(states, target, items, torch_generator(4)), want)


@pytest.mark.parametrize("cost", COSTS, ids=repr)
def test_a_tree_brings_each_cost_back(cost):
    assert from_tree(to_tree(cost)) == cost


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SampledSoftmax(num_negatives=0), ConfigError, r"num_negatives \(0\) must be at least 1"),
        (lambda: SampledSoftmax(num_negatives=-1, in_batch=True), ConfigError, r"\(-1\) must be at least 0"),
        (lambda: SampledSoftmax(temperature=0.0), ConfigError, r"temperature \(0.0\) must be greater than 0"),
        (lambda: SampledSoftmax(shared="user"), UnknownNameError, "no sharing is named 'user'"),
        (lambda: Bpr(alpha=-1.0), ConfigError, r"alpha \(-1.0\) must not be negative"),
        (lambda: Top1(num_negatives=0, in_batch=False), ConfigError, r"num_negatives \(0\) must be at least 1"),
        (lambda: BprMax(penalty=-1.0), ConfigError, r"penalty \(-1.0\) must not be negative"),
        (lambda: BprMax(elu=float("nan")), ConfigError, r"elu \(nan\) must not be negative"),
        (lambda: GeneralisedBinary(calibration=1.5), ConfigError, r"calibration \(1.5\) must lie in \[0, 1\]"),
        (lambda: BucketedSoftmax(bucket_items=0), ConfigError, r"bucket_items \(0\) must be at least 1"),
        (lambda: BucketedSoftmax(spread=0.0), ConfigError, r"spread \(0.0\) must be positive and finite"),
        (lambda: BucketedSoftmax(temperature=-1.0), ConfigError, r"temperature \(-1.0\) must be greater than 0"),
        (lambda: GeneralisedBinary(num_negatives=0), ConfigError, r"num_negatives \(0\) must be at least 1"),
    ],
)
def test_wrong_options_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("shared", ["batch", "prediction"])
def test_autocast_rounds_no_score(shared):
    """At a temperature of 0.05 a score reaches 20, where bfloat16 steps by an eighth."""
    torch.manual_seed(0)
    items = Table(torch.randn(40, 8), None, torch.zeros(40))
    states, target = torch.randn(30, 8), torch.randint(40, (30,))
    cost = SampledSoftmax(num_negatives=16, shared=shared, temperature=0.05)
    plain = cost.loss(states, target, items, torch_generator(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(cost.loss(states, target, items, torch_generator(1)), plain)
