"""Indexes of FAISS beside exact search."""

from __future__ import annotations

import sys

import pytest
import torch

from hpgr.core.errors import ConfigError, UnsupportedError
from hpgr.core.jagged import Jagged
from hpgr.retrieval.exact import ExactIndex
from hpgr.retrieval.faiss_index import FaissIndex, Flat, Hnsw, IvfPq

KINDS = [Flat(), Hnsw(links=8, build_effort=40, effort=64), IvfPq(lists=8, probes=4, code_bytes=4)]


def catalogue(num_items: int = 600, dim: int = 6):
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(num_items, dim, generator=generator)
    return table, torch.randn(num_items, generator=generator) * 0.3, torch.randn(20, dim, generator=generator)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_what_is_found_is_scored_exactly_and_recall_is_measured(close, kind, biased):
    pytest.importorskip("faiss")
    table, bias, query = catalogue()
    bias = bias if biased else None
    index = FaissIndex(kind, table, bias, query=query, k=5)
    rows, scores = index.search(query, 5)
    exact_rows, exact_scores = ExactIndex(table, bias).search(query, 5)
    assert rows.shape == scores.shape == (20, 5)
    whole = query @ table.T + (0 if bias is None else bias)
    close(scores, whole.gather(1, rows))
    assert (scores.diff(dim=1) <= 0).all()
    shared = [len(set(a) & set(b)) / 5 for a, b in zip(rows.tolist(), exact_rows.tolist())]
    assert index.recall == pytest.approx(sum(shared) / 20)
    assert index.recall > 0.6
    if isinstance(kind, Flat):
        assert index.recall == 1
        assert torch.equal(rows, exact_rows)
        close(scores, exact_scores)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_what_is_excluded_is_not_given(kind):
    pytest.importorskip("faiss")
    table, bias, query = catalogue()
    index = FaissIndex(kind, table, bias, query=query)
    first, _ = index.search(query, 3)
    lengths = [3] * 19 + [0]
    excluded = Jagged.from_lengths(first[:19].flatten(), lengths)
    rows, scores = index.search(query, 3, excluded=excluded)
    assert not (rows[:19, :, None] == first[:19, None, :]).any()
    assert torch.equal(rows[19], first[19])
    assert (scores > -torch.inf).all()


@pytest.mark.parametrize("biased", [False, True])
def test_what_several_vectors_find_is_scored_with_all_of_them(close, biased):
    pytest.importorskip("faiss")
    table, bias, query = catalogue()
    bias = bias if biased else None
    several = query.unflatten(0, (5, 4))
    index = FaissIndex(Flat(), table, bias, query=several, k=5)
    assert index.recall == 1
    without = Jagged.from_lengths(torch.arange(15), [3] * 5)
    rows, scores = index.search(several, 9, excluded=without)
    want_rows, want = ExactIndex(table, bias).search(several, 9, excluded=without)
    assert torch.equal(rows, want_rows)
    close(scores, want)


def test_what_is_missing_is_no_item():
    pytest.importorskip("faiss")
    table, _, query = catalogue(num_items=4)
    everything = Jagged.from_lengths(torch.arange(4), [4] + [0] * 19)
    rows, scores = FaissIndex(Flat(), table, query=query).search(query, 9, excluded=everything)
    assert rows.shape == (20, 4)
    assert rows[0].tolist() == [-1] * 4
    assert scores[0].tolist() == [-torch.inf] * 4
    assert sorted(rows[1].tolist()) == [0, 1, 2, 3]


def test_without_the_extra_one_sentence_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    table, _, query = catalogue(num_items=4)
    with pytest.raises(UnsupportedError) as caught:
        FaissIndex(Flat(), table, query=query)
    assert str(caught.value) == "faiss (not installed) must be there for this index; pip install 'hpgr[ann]'"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flat(refine=0), "refine (0) must be at least 1"),
        (lambda: Hnsw(links=0), "links (0) must be at least 1"),
        (lambda: IvfPq(probes=0), "probes (0) must be at least 1"),
        (lambda: IvfPq(lists=0), "lists (0) must be at least 1"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == message
