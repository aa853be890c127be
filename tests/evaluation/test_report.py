import io
import re

import numpy as np
import pytest
from rich.console import Console

from hpgr.core.errors import DataError
from hpgr.evaluation.calibration import calibration
from hpgr.evaluation.card import CertificateFacts, Protocol, ResultCard
from hpgr.evaluation.intervals import Interval
from hpgr.evaluation.report import report, write_report
from hpgr.evaluation.slices import Slice
from hpgr.evaluation.table import formatted, groups, markdown, number, terminal

EVIL = "</script><script>alert('x')</script>"


def card(model, certificate="a" * 64, **metrics):
    found = {name: Interval(value=v, low=v - 0.01, high=v + 0.01, num_users=9) for name, v in metrics.items()}
    return ResultCard(
        model=model,
        config={"dim": 64},
        certificate=CertificateFacts(hash=certificate, facts={"cold_items_share": 0.125}),
        protocol=Protocol(candidates="full catalogue", seen="kept", targets="last"),
        data={"name": "tiny-retail", "events": 12345},
        metrics=found,
        slices=(Slice(kind="item popularity", name="tail", num_users=4, num_queries=5, metrics=found),),
        calibration=calibration(np.array([0.1, 0.4]), np.array([0, 1]), num_bins=2),
        learning_curves={"retrieve": [{"epoch": e, "train_loss": 2.0 / (e + 1), "note": "x"} for e in range(3)]},
        monitors={"sem_share": 0.4321},
    )


def without_plotly(page):
    """The page without Plotly's own script, the longest one."""
    return page.replace(max(re.findall(r"<script>.*?</script>", page, re.S), key=len), "")


@pytest.fixture(scope="module")
def page():
    return without_plotly(report([card("popular", ndcg=0.1, auc=0.6), card("hpgr", ndcg=0.2, gauc=0.7)], title="A & B"))


def test_the_page_holds_everything_that_the_cards_say(page):
    for text in ("ndcg", "auc", "gauc", "popular", "hpgr", "0.2000 [0.1900, 0.2100]", "A &amp; B", "0.4321", "tail"):
        assert text in page
    for heading in ("Metrics with intervals", "Learning curves: retrieve", "Calibration", "Slices", "Monitors"):
        assert f"<h3>{heading}</h3>" in page
    assert "cold items share" in page
    assert "a" * 64 in page
    assert "train_loss" in page
    assert page.count("<details>") == 2


def test_the_page_loads_nothing(page):
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", page)
    assert not re.search(r"(@import|url\()", page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_plotly_is_embedded_once():
    assert report([card("a", x=0.1), card("b", "b" * 64, x=0.1)]).count("plotly.js v") == 1


def test_names_are_text_and_never_markup():
    page = without_plotly(report([card(EVIL, **{EVIL: 0.1})], title=EVIL))
    assert EVIL not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_cards_of_unlike_certificates_never_share_a_table():
    cards = [card("a", x=0.1), card("b", "b" * 64, x=0.2), card("c", x=0.3)]
    assert [[c.model for c in group.cards] for group in groups(cards)] == [["a", "c"], ["b"]]
    assert without_plotly(report(cards)).count("<section>") == 2
    assert markdown(cards).count("| model | x |") == 2
    assert len(terminal(cards)) == 2


def test_a_card_with_metrics_alone_makes_a_page(tmp_path):
    bare = ResultCard(
        model="m",
        config=None,
        certificate=CertificateFacts(hash="c"),
        protocol=Protocol(candidates="shown lists", seen="kept", targets="clicks"),
        data={},
        metrics={"coverage@10": Interval(value=0.5)},
    )
    write_report([bare], tmp_path / "out" / "report.html")
    text = (tmp_path / "out" / "report.html").read_text()
    assert "coverage@10" in text
    assert "unnamed data" in text
    with pytest.raises(DataError, match=r"cards \(0\) must be at least 1 for a report"):
        report([])


def test_two_cards_of_one_model_are_told_apart():
    cards = [card("m", x=0.1), card("n", x=0.3), card("m", x=0.2)]
    assert groups(cards)[0].labels == ["m", "n", "m (2)"]
    page = without_plotly(report(cards))
    assert page.count('"m (2)"') == page.count('"n"')
    assert "<summary>m (2): run and config</summary>" in page


def test_markdown_table_by_hand():
    text = markdown([card("a|b", x=0.1), card("c", y=0.2)])
    assert text.splitlines() == [
        "**tiny-retail · full catalogue · certificate aaaaaaaaaaaa**",
        "",
        "| model | x | y |",
        "| --- | ---: | ---: |",
        "| a\\|b | 0.1000 [0.0900, 0.1100] | – |",
        "| c | – | 0.2000 [0.1900, 0.2100] |",
    ]


def test_terminal_table_shows_brackets_and_names_as_they_are():
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal([card("[bold]m[/bold]", x=0.1)])[0])
    text = console.export_text()
    assert "[bold]m[/bold]" in text
    assert "0.1000 [0.0900, 0.1100]" in text


def test_numbers():
    assert [number(x) for x in (0.00004, 9.99999, 10.25, 1234567.0, float("nan"))] == [
        "0.0000",
        "10.0000",
        "10.2",
        "1,234,567",
        "–",
    ]
    assert formatted(None) == "–"
