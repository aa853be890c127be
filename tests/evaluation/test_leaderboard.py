"""Leaderboards: who shares a table and a row, who is flagged, what the page and the Markdown hold."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import DataError
from hpgr.evaluation.card import CertificateFacts, Protocol, ResultCard
from hpgr.evaluation.card_files import FoundCard, compact, found_cards, write_compact
from hpgr.evaluation.intervals import Interval, bootstrap_means
from hpgr.evaluation.leaderboard import leaderboard_tree, write_leaderboard
from hpgr.evaluation.leaderboard_page import page
from hpgr.evaluation.results_tables import BEGIN, END, markdown_tables, write_markdown
from hpgr.evaluation.seeds import over_seeds
from hpgr.evaluation.standings import standings

EVIL = "<script>alert('x')</script>|"
DOCS = Path(__file__).parents[2] / "docs" / "results" / "cards"


def card(model="sasrec", value=0.2, *, seed=1, certificate="a" * 64, lr=0.1, **changes):
    """A retrieval card; ``value``: NDCG@10, within a tenth to both sides."""
    made = ResultCard(
        model=model,
        config={"model": {"lr": lr}, "seed": seed},
        certificate=CertificateFacts(hash=certificate, facts={"users": 1234, "queries": 5678}),
        protocol=Protocol(candidates="full catalogue (7 items)", seen="kept", targets="test part; by time"),
        data={"name": "store"},
        metrics={
            "NDCG@10": Interval(value=value, low=value - 0.1, high=value + 0.1, num_users=9),
            "coverage@10": Interval(value=0.5),
            "gini@10": Interval(value=0.25),
        },
        seeds=(seed,),
        wall_time_s={"retrieve": 100.0 * seed, "evaluation": 7.0},
        num_parameters=1000,
        peak_memory_bytes=2**20,
        hardware={"device": "cpu", "cpu_count": 2},
        commit="0123456789abcdef-dirty",
        created=f"2026-01-0{seed}T00:00:00+00:00",
    )
    return replace(made, **changes)


def found(*cards, collection="music"):
    return [FoundCard(path=Path(f"{i}.json"), collection=collection, card=one) for i, one in enumerate(cards)]


def with_users(seed, values):
    frame = pl.DataFrame({"user_id": np.arange(len(values)), "num_queries": 1, "NDCG@10": np.asarray(values, float)})
    return card(seed=seed, per_user=frame, metrics=bootstrap_means(frame))


class Page(HTMLParser):
    """Rows of each table's body, and every attribute of the page; unclosed tags are found."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.attributes = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in ("meta", "br", "input", "line", "circle"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append({})
        if tag in ("th", "td") and "tbody" in self.open:
            self.tables[-1][-1][len(self.tables[-1][-1])] = dict(attrs)["data-value"]

    def handle_endtag(self, tag):
        if tag not in ("line", "circle"):
            assert self.open.pop() == tag


def test_unlike_certificates_protocols_and_questions_never_share_a_table():
    other = Protocol(candidates="full catalogue (7 items)", seen="left out", targets="test part; by time")
    ranked = card("r", metrics={"AUC": Interval(value=0.7)})
    tables = standings(found(card("a"), card("b", certificate="b" * 64), card("c", protocol=other), card("d"), ranked))
    assert [sorted(row.label for row in table.rows) for table in tables] == [["r"], ["a", "d"], ["c"], ["b"]]
    assert [table.name for table in tables] == [
        "music (rank)",
        "music (retrieve)",
        "music (retrieve) (2)",
        "music (retrieve) (3)",
    ]
    assert len(Page(page(tables)).tables) == 4


def test_seeds_of_one_config_are_one_row_and_other_configs_are_not():
    cards = [card(value=0.1), card(value=0.3, seed=2), card(value=0.9, lr=0.5), card("markov", 0.05)]
    (table,) = standings(found(*cards))
    assert [row.label for row in table.rows] == ["sasrec", "sasrec (2)", "markov"]
    row = table.rows[1]
    assert row.seeds == (1, 2)
    assert row.training_s == 150.0
    assert row.date == "2026-01-02"
    assert row.commits == ("0123456789abcdef-dirty",)
    assert row.metrics["NDCG@10"].value == pytest.approx(0.2)
    assert row.spread["NDCG@10"] == pytest.approx(0.02**0.5)
    # Half: sqrt(0.1² + (1.96 · 0.1414)² / 2) = sqrt(0.01 + 0.038416).
    assert row.metrics["NDCG@10"].high - 0.2 == pytest.approx(0.048416**0.5)
    assert row.metrics["coverage@10"].low is None
    assert "NDCG@10" not in table.rows[0].spread


def test_the_later_of_two_cards_of_one_seed_counts():
    cards = [card(value=0.3, created="2026-02-02T00:00:00+00:00"), card(value=0.1)]
    (table,) = standings(found(*cards))
    assert [row.metrics["NDCG@10"].value for row in table.rows] == [0.3]


def test_how_others_would_be_trained_makes_no_second_row_of_a_counting_model():
    def one(stages, seconds):
        counting = card("markov", created=f"2026-02-0{stages}T00:00:00+00:00", wall_time_s=seconds)
        return replace(counting, config=counting.config | {"stages": {"retrieve": {"epochs": stages}}})

    for seconds in ({"evaluation": 7.0}, {"fit": 3.0, "evaluation": 7.0}):
        (table,) = standings(found(*(one(n, seconds) for n in (1, 2))))
        assert [row.cards[0].config["stages"]["retrieve"]["epochs"] for row in table.rows] == [2]
        assert (table.rows[0].training_s, table.rows[0].budget) == (seconds.get("fit"), {})
    (table,) = standings(found(*(one(n, {"retrieve": 1.0, "evaluation": 7.0}) for n in (1, 2))))
    assert [row.label for row in table.rows] == ["markov", "markov (2)"]


def test_with_values_of_single_users_the_interval_holds_both_variances():
    users = np.linspace(0, 1, 40)
    (one,) = standings(found(with_users(1, users)))[0].rows
    (same,) = standings(found(with_users(1, users), with_users(2, users)))[0].rows
    unlike = [with_users(1, users - 0.5), with_users(2, users + 0.5)]
    (apart,) = standings(found(*unlike))[0].rows
    with pytest.warns(UserWarning, match="2 seeds of sasrec say little"):
        assert apart.metrics["NDCG@10"] == over_seeds(unlike)["NDCG@10"].interval
    widths = [row.metrics["NDCG@10"].high - row.metrics["NDCG@10"].low for row in (one, same, apart)]
    assert widths[1] == pytest.approx(widths[0], rel=0.05)
    assert widths[2] > 3 * widths[0]
    assert same.spread["NDCG@10"] == 0


def test_rows_below_a_counting_baseline_are_flagged():
    cards = [
        card("good", 0.5),
        card("item_knn, k=9", 0.4),
        card("bad", 0.3),
        card("markov", 0.2),
        card("popularity", 0.1),
    ]
    (table,) = standings(found(*cards))
    assert {row.label: row.below for row in table.rows} == {
        "good": (),
        "item_knn, k=9": (),
        "bad": ("item_knn, k=9",),
        "markov": (),
        "popularity": (),
    }
    text = page([table])
    assert text.count('class="flag"') == 1
    assert "below item_knn, k=9 in NDCG@10" in text
    assert "| bad † |" in markdown_tables([table])
    (without,) = standings(found(card("bad", 0.3), card("good", 0.5)))
    assert not any(row.below for row in without.rows)


def test_the_page_has_a_row_a_model_and_loads_nothing():
    tables = standings(found(card("a", 0.2), card("b", 0.3), card("b", 0.5, seed=2), card("c", certificate="b" * 64)))
    parsed = Page(page(tables, title="A & B"))
    assert parsed.open == []
    assert [[row[0] for row in body[1:]] for body in parsed.tables] == [["b", "a"], ["c"]]
    links = [(name, value) for _, name, value in parsed.attributes if name in ("src", "href", "srcset", "action")]
    assert links == []
    text = page(tables, title="A & B")
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert "<h1>A &amp; B</h1>" in text
    assert text.count("<svg") == 3
    # Every column can be sorted by a button, and cells sort by their values and not by their texts.
    assert len([tag for tag, name, _ in parsed.attributes if (tag, name) == ("button", "type")]) == 2 * (1 + 3 + 9)
    assert parsed.tables[0][1] == dict(
        enumerate(
            [
                "b",
                "0.4",
                "0.5",
                "0.25",
                "2",
                "0",
                "",
                "150.0",
                "1048576",
                "1000",
                "012345678-dirty",
                "cpu, 2 processors",
                "2026-01-02",
            ]
        )
    )


def test_names_are_text_and_never_markup():
    (table,) = standings(found(card(EVIL, metrics={EVIL: Interval(value=0.1)}), collection=EVIL))
    text = page([table], title=EVIL)
    assert EVIL not in text
    assert "<script>alert" not in text
    Page(text)
    written = markdown_tables([table])
    assert "<script" not in written
    assert "alert('x')&lt;/script>\\| |" in written


def test_equal_cards_make_equal_bytes_in_any_order(tmp_path):
    cards = [card(value=0.1), card(value=0.3, seed=2), card("markov", 0.05), card("c", certificate="b" * 64)]
    for i, order in enumerate((found(*cards), found(*cards)[::-1])):
        write_leaderboard(standings(order), tmp_path / str(i))
        write_markdown(standings(order), tmp_path / str(i) / "tables.md")
    for name in ("index.html", "leaderboard.json", "tables.md"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
    (first, _) = json.loads((tmp_path / "0" / "leaderboard.json").read_text())["tables"]
    assert [row["model"] for row in first["rows"]] == ["sasrec", "markov"]
    assert first["rows"][0]["metrics"]["NDCG@10"]["spread"] == pytest.approx(0.02**0.5)


def test_a_metric_without_a_value_is_null_and_stands_last():
    (table,) = standings(found(card("a", float("nan")), card("b", 0.1)))
    assert [row.label for row in table.rows] == ["b", "a"]
    assert leaderboard_tree([table])["tables"][0]["rows"][1]["metrics"]["NDCG@10"]["value"] is None
    assert Page(page([table])).tables[0][2][1] == ""


def test_markdown_table_by_hand():
    budget = {"seed": 1, "stages": {"retrieve": {"epochs": 9, "limit_batches": None}, "rank": {"epochs": 3}}}
    trained = card(value=0.2, config=budget, monitors={"tuning trials": 4})
    (table,) = standings(found(trained, card("markov", 0.1, wall_time_s={"fit": 2.0, "evaluation": 7.0})))
    assert markdown_tables([table]).splitlines() == [
        "### music",
        "",
        "full catalogue (7 items); 5,678 questions in the test part; metrics over 9 users; 4 trials a tuned model; "
        "certificate `aaaaaaaaaaaa`.",
        "",
        "| model | NDCG@10 | coverage@10 | budget | training s | parameters |",
        "| --- | ---: | ---: | --- | ---: | ---: |",
        "| sasrec | 0.2000 [0.1000, 0.3000] | 0.5000 | retrieve 9 × all, 4 trials | 100 | 1,000 |",
        "| markov | 0.1000 [0.0000, 0.2000] | 0.5000 | – | 2 | 1,000 |",
    ]


def test_a_row_tells_its_budget_and_that_its_commit_is_unknown():
    stages = {name: {"epochs": 4, "limit_batches": 200, "lr": 0.1} for name in ("retrieve", "rank")}
    both = {"retrieve": 1.0, "rank": 2.0, "evaluation": 3.0}
    cards = [card(config={"seed": seed, "stages": stages}, seed=seed, wall_time_s=both) for seed in (1, 2)]
    (table,) = standings(found(cards[0], replace(cards[1], commit=None)))
    (row,) = leaderboard_tree([table])["tables"][0]["rows"]
    assert row["budget"] == {name: {"epochs": 4, "limit_batches": 200} for name in ("retrieve", "rank")}
    assert row["commits"] == ["0123456789abcdef-dirty", "commit unknown"]
    text = page([table])
    assert "retrieve 4 × 200<br>rank 4 × 200</td>" in text
    assert '012345678-dirty<br><span class="flag">commit unknown</span></td>' in text


def test_tables_of_sampled_candidates_go_by_their_headlines():
    protocol = Protocol(candidates="sampled[popularity 20], 63 candidates", seen="kept", targets="test part; by time")

    def ranked(model, value, loss):
        metrics = {"MRR@10": value, "log loss": loss, "GAUC": value, "AUC": value}
        return card(model, protocol=protocol, metrics={name: Interval(value=v) for name, v in metrics.items()})

    (table,) = standings(found(ranked("a", 0.6, 0.3), ranked("b", 0.8, 0.2), ranked("item_knn", 0.7, 0.4)))
    assert (table.question, [row.label for row in table.rows]) == ("rank", ["b", "item_knn", "a"])
    assert table.main == ["AUC[p20]", "GAUC[p20]", "log loss[p20]"]
    assert table.metrics == [*table.main, "MRR@10[p20]"]
    assert table.rows[2].below == ("item_knn",)
    assert "| model | AUC[p20] | GAUC[p20] | log loss[p20] | budget |" in markdown_tables([table])
    assert "below item_knn in AUC[p20]" in page([table])


def test_tables_stand_between_the_marks_and_nothing_else_changes(tmp_path):
    tables, path = standings(found(card())), tmp_path / "page.md"
    path.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    for _ in range(2):
        write_markdown(tables, path)
        assert path.read_text() == f"before\n\n{BEGIN}\n\n{markdown_tables(tables)}\n{END}\n\nafter\n"
    path.write_text("nothing\n")
    with pytest.raises(DataError, match=r"page.md \(no marks\) must have the lines <!-- tables --> and <!-- end"):
        write_markdown(tables, path)
    assert path.read_text() == "nothing\n"


def test_cards_are_found_at_any_depth_and_named_by_where_they_lie(tmp_path):
    card("a").save(tmp_path / "runs" / "music" / "cards" / "a")
    card("b", seed=2).save(tmp_path / "studies" / "news" / "seed-2" / "cards" / "b")
    write_compact(found(card("c"), collection="films"), tmp_path / "docs")
    (tmp_path / "runs" / "other.json").write_text("[1]")
    (tmp_path / "runs" / "broken.json").write_text("{")
    single = tmp_path / "docs" / "films" / "c.json"
    assert {(one.collection, one.card.model) for one in found_cards([tmp_path, single])} == {
        ("music", "a"),
        ("news", "b"),
        ("films", "c"),
    }
    assert len(found_cards([single])) == 1
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"cards in .*none \(0\) must be at least 1; give folders of hpgr study"):
        found_cards([tmp_path / "none"])
    with pytest.raises(FileNotFoundError):
        found_cards([tmp_path / "nowhere"])


def test_compact_cards_keep_everything_but_single_users(tmp_path):
    full = with_users(1, [0.1, 0.2, 0.4])
    (path,) = write_compact(found(full), tmp_path)
    assert path == tmp_path / "music" / "sasrec.json"
    assert path.read_bytes().count(b"\n") == 1
    loaded = ResultCard.load(path)
    assert loaded.per_user is None
    assert loaded == full
    several = [card(), card(seed=2), card("r"), card("r", metrics={"AUC": Interval(value=0.7)}), card("r", lr=9)]
    names = [path.name for path in write_compact(found(*several), tmp_path)]
    assert names == ["sasrec-seed-1.json", "sasrec-seed-2.json", "r-retrieve.json", "r-rank.json", "r-retrieve-2.json"]


def test_the_cards_of_the_docs_are_compact_and_make_tables():
    cards = found_cards([DOCS])
    assert len(cards) >= 36
    for one in cards:
        assert compact(one.card) == one.path.read_bytes(), one.path
    assert {"thirty_music_sampled", "ebnerd_impressions"} <= {table.name for table in standings(cards)}
