"""Published figures beside ours."""

import pytest

from hpgr.core.errors import ConfigError
from hpgr.evaluation.card import CertificateFacts, Protocol, ResultCard
from hpgr.evaluation.intervals import Interval
from hpgr.evaluation.published import Published
from hpgr.evaluation.table import groups, markdown, terminal

TOLD = {"sasrec": Published(metrics={"NDCG@10": 0.18214, "MRR@10": (0.1, 0.2)}, source="arXiv:2309.07602")}


def card(model, **metrics):
    return ResultCard(
        model=model,
        config={},
        certificate=CertificateFacts(hash="a" * 64, facts={}),
        protocol=Protocol(candidates="full catalogue", seen="left out", targets="last"),
        data={"name": "films"},
        metrics={f"{name}@10": Interval(value=value) for name, value in metrics.items()},
    )


def test_published_stands_after_our_metric_and_its_source_below():
    cards = [card("markov", HitRate=0.5, NDCG=0.25), card("sasrec", HitRate=0.625, NDCG=0.125)]
    text = markdown(cards, TOLD)
    assert "| model | HitRate@10 | NDCG@10 | NDCG@10 published |" in text
    assert "| markov | 0.5000 | 0.2500 | – |" in text
    assert "| sasrec | 0.6250 | 0.1250 | 0.1821 |" in text
    assert text.endswith("Published:\n\n- sasrec: arXiv:2309.07602\n")
    (table,) = terminal(cards, TOLD)
    assert [str(cell) for cell in table.columns[0].cells] == ["HitRate@10", "NDCG@10", "NDCG@10 published"]
    assert table.caption == "sasrec: arXiv:2309.07602"


def test_without_published_figures_a_table_stays_what_it_was():
    cards = [card("markov", NDCG=0.25)]
    (group,) = groups(cards)
    assert group.beside({}) == (group.metrics, group.cells())
    assert "ublished" not in markdown(cards) + markdown(cards, TOLD)


def test_a_range_and_what_is_refused():
    assert TOLD["sasrec"].text("MRR@10") == "0.1000–0.2000"
    assert TOLD["sasrec"].text("HitRate@10") == "–"
    with pytest.raises(ConfigError, match=r"published MRR@10 \(0.2, 0.1\) must be a lowest and a highest"):
        Published(metrics={"MRR@10": (0.2, 0.1)}, source="x")
    with pytest.raises(ConfigError, match="source"):
        Published(metrics={"MRR@10": 0.2}, source="")
    with pytest.raises(ConfigError, match="metrics"):
        Published(metrics={}, source="x")
