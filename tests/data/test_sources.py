"""Public data sets: official files written by hand, and the real ones where HPGR_DATA names them."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import ConfigError, DataError, UnknownNameError
from hpgr.data.candidate_lists import request_histories
from hpgr.data.sessions import GivenSessions
from hpgr.data.simulator import Simulator
from hpgr.data.sources import Source, sources
from hpgr.data.store import SequenceStore

ALL = [
    "amazon_beauty",
    "ebnerd",
    "kuairand_pure",
    "ml_1m_ordered",
    "movielens_100k",
    "movielens_latest",
    "online_retail",
    "published_sequences",
    "simulated",
    "thirty_music",
    "trivago_100k",
]


def rows(source: Source) -> list[dict[str, Any]]:
    source.log.validate()
    return source.log.events().collect().to_dicts()


def built(source: Source, path: Path) -> SequenceStore:
    return SequenceStore.build(source.log, path, items=source.items, **source.build)


def write(path: Path, content: str | dict[str, list[Any]] | pl.DataFrame, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content, encoding=encoding)
    else:
        pl.DataFrame(content).write_parquet(path)


class TestRegistry:
    def test_every_source_is_named_like_its_file(self):
        assert sources().names() == ALL
        assert all(sources()[name].__module__ == f"hpgr.data.sources.{name}" for name in ALL)

    def test_an_unknown_source_gets_a_suggestion(self):
        with pytest.raises(UnknownNameError, match="no data source is named 'ebnert'; did you mean ebnerd"):
            sources()["ebnert"]

    @pytest.mark.parametrize(
        ("name", "file"),
        [
            ("amazon_beauty", "interactions.parquet"),
            ("ebnerd", "train/history.parquet"),
            ("kuairand_pure", "log_standard_*_pure.csv"),
            ("ml_1m_ordered", "ml-1m.txt*"),
            ("movielens_100k", "u.data, u.item"),
            ("movielens_latest", "ratings.csv, movies.csv"),
            ("online_retail", "*.csv"),
            ("published_sequences", "bert4rec/beauty.txt*"),
            ("thirty_music", "interactions.parquet"),
            ("trivago_100k", "interactions.parquet"),
        ],
    )
    def test_a_folder_without_the_files_is_refused(self, name, file, tmp_path):
        with pytest.raises(DataError) as error:
            sources()[name](tmp_path)
        assert str(error.value).startswith(f"folder ({tmp_path}) must hold {file}; the data set is at http")


def history(users: list[int], times: list[list[datetime]], articles: list[list[int]]) -> pl.DataFrame:
    return pl.DataFrame(
        {"user_id": users, "impression_time_fixed": times, "article_id_fixed": articles},
        schema={
            "user_id": pl.UInt32,
            "impression_time_fixed": pl.List(pl.Datetime("us")),
            "article_id_fixed": pl.List(pl.Int32),
        },
    )


def behaviors(lists: list[tuple[int, int, datetime, list[int], list[int]]]) -> pl.DataFrame:
    return pl.DataFrame(
        lists,
        orient="row",
        schema={
            "impression_id": pl.UInt32,
            "user_id": pl.UInt32,
            "impression_time": pl.Datetime("us"),
            "article_ids_inview": pl.List(pl.Int32),
            "article_ids_clicked": pl.List(pl.Int32),
        },
    )


class TestEbnerd:
    """User 1 is in both weeks, user 2 only in the first."""

    @pytest.fixture
    def folder(self, tmp_path):
        def at(day: int, hour: int) -> datetime:
            return datetime(2023, 5, day, hour)

        write(tmp_path / "train/history.parquet", history([1, 2], [[at(1, 8), at(2, 8)], [at(2, 9)]], [[10, 11], [10]]))
        write(tmp_path / "validation/history.parquet", history([1], [[at(2, 8), at(9, 8)]], [[11, 12]]))
        first = [(100, 1, at(9, 7), [12, 13], [12]), (101, 2, at(9, 9), [12, 14, 13], [14, 13])]
        write(tmp_path / "train/behaviors.parquet", behaviors(first))
        later = [(102, 1, at(16, 7), [15, 16], [16]), (103, 1, at(16, 8), [15], [])]
        write(tmp_path / "validation/behaviors.parquet", behaviors(later))
        return tmp_path

    def test_reads_are_both_histories_without_what_they_share(self, folder):
        source = sources()["ebnerd"](folder)
        found = [(row["user"], row["item"], row["time_ms"]) for row in rows(source)]
        may_1 = 1682899200_000
        hour, day = 3600_000, 86400_000
        assert found == [
            (1, 10, may_1 + 8 * hour),
            (1, 11, may_1 + day + 8 * hour),
            (2, 10, may_1 + day + 9 * hour),
            (1, 12, may_1 + 8 * day + 8 * hour),
        ]
        assert source.items is None

    def test_clicks_are_those_of_the_last_week_of_a_user(self, folder):
        found = rows(sources()["ebnerd"](folder, view="impressions"))
        clicks = {(row["user"], row["item"], row["label"]) for row in found if row["event"] == "click"}
        assert clicks == {(2, 14, None), (2, 13, None), (1, 16, None)}

    def test_each_list_becomes_its_exposures(self, folder):
        found = rows(sources()["ebnerd"](folder, view="impressions"))
        shown = [(row["request"], row["item"], row["label"]) for row in found if row["event"] == "shown"]
        labels = {100: [(12, 1), (13, 0)], 101: [(12, 0), (14, 1), (13, 1)], 102: [(15, 0), (16, 1)], 103: [(15, 0)]}
        assert shown == [(request, *row) for request, listed in labels.items() for row in listed]

    def test_the_store_holds_reads_clicks_and_lists(self, folder, tmp_path):
        store = built(sources()["ebnerd"](folder, view="impressions"), tmp_path / "store")
        assert store.manifest["actions"] == ["click", "read"]
        assert store.manifest["counts"]["events"] == 7
        assert store.exposures is not None
        assert store.exposures.offsets.tolist() == [0, 2, 5, 7, 8]

    def test_articles_give_title_and_section_and_no_totals(self, folder):
        articles = pl.DataFrame(
            {"article_id": [10, 11], "title": ["a", "b"], "category_str": ["sport", None], "total_pageviews": [5, 6]},
            schema_overrides={"article_id": pl.Int32},
        )
        write(folder / "articles.parquet", articles)
        items = sources()["ebnerd"](folder).items
        assert items.to_dict(as_series=False) == {
            "item_id": [10, 11], "title": ["a", "b"], "categories": [["sport"], []],
        }  # fmt: skip

    def test_a_view_is_one_of_two(self, folder):
        with pytest.raises(ConfigError, match=r"^view \(clicks\) must be reads or impressions$"):
            sources()["ebnerd"](folder, view="clicks")


class TestKuairand:
    @pytest.fixture
    def folder(self, tmp_path):
        head = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,tab\n"
        write(tmp_path / "log_standard_4_08_to_4_21_pure.csv", head + "7,3,20220408,400,1649400000123,1,0,1\n")
        later = "7,4,20220422,400,1650600000456,0,0,1\n7,4,20220422,400,1650600000456,0,0,1\n"
        write(tmp_path / "log_standard_4_22_to_5_08_pure.csv", head + later)
        write(tmp_path / "log_random_4_22_to_5_08_pure.csv", head + "7,3,20220422,400,1650600000789,1,0,1\n")
        videos = (
            "video_id,author_id,video_duration,server_width,tag\n"
            '3,90,8733.0,720,"39,8"\n'
            "4,91,,720,UNKNOWN\n"
            "5,92,1.0,720,\n"
        )
        write(tmp_path / "video_features_basic_pure.csv", videos)
        return tmp_path

    def test_standard_logs_are_exposures_in_milliseconds(self, folder):
        found = [
            (row["user"], row["item"], row["time_ms"], row["label"]) for row in rows(sources()["kuairand_pure"](folder))
        ]
        assert found == [(7, 3, 1649400000123, 1), (7, 4, 1650600000456, 0), (7, 4, 1650600000456, 0)]

    def test_history_holds_clicked_and_unclicked_once_each(self, folder, tmp_path):
        store = built(sources()["kuairand_pure"](folder), tmp_path / "store")
        assert store.manifest["actions"] == ["label=0", "label=1"]
        assert store.action.tolist() == [2, 1]
        assert store.exposures is not None
        assert store.exposures.label.tolist() == [1, 0, 0]

    def test_tags_are_categories(self, folder):
        items = sources()["kuairand_pure"](folder).items
        assert items.to_dict(as_series=False) == {
            "item_id": [3, 4, 5],
            "categories": [["39", "8"], [], None],
            "author_id": [90, 91, 92],
            "duration_ms": [8733, None, 1],
        }

    def test_month_averages_stay_out_because_they_tell_the_future(self, tmp_path):
        shown = {"user_id": [1], "item_id": [3], "timestamp_ms": [1649400000123], "is_click": [1]}
        write(tmp_path / "interactions.parquet", shown)
        video = {"item_id": [3], "categories": [["39"]], "author_id": [9], "video_duration": [8733.0]}
        write(tmp_path / "items.parquet", video | {"show_cnt": [2579.7], "play_cnt": [816.9], "counts": [102]})
        items = sources()["kuairand_pure"](tmp_path).items
        assert items.columns == ["item_id", "categories", "author_id", "duration_ms"]


class TestMovielens:
    def test_official_files(self, tmp_path):
        write(tmp_path / "u.data", "196\t242\t3\t881250949\n186\t302\t1\t891717742\n")
        genres = {242: "0|1|0" + "|0" * 15 + "|1", 302: "1" + "|0" * 18}
        item = '242|Misérables, "Les" (1995)|01-Jan-1995||http://x|{}\n302|unknown||||{}\n'.format(*genres.values())
        write(tmp_path / "u.item", item, encoding="latin-1")
        source = sources()["movielens_100k"](tmp_path)
        assert [tuple(row.values()) for row in rows(source)] == [(196, 242, 881250949000), (186, 302, 891717742000)]
        assert source.items.to_dict(as_series=False) == {
            "item_id": [242, 302],
            "title": ['Misérables, "Les" (1995)', "unknown"],
            "categories": [["Action", "Western"], ["unknown"]],
        }
        assert source.build["ties"] == "set"

    def test_the_latest_files_are_read(self, tmp_path):
        write(tmp_path / "ratings.csv", "userId,movieId,rating,timestamp\n1,7,4.0,1225734739\n1,9,0.5,1225734742\n")
        write(tmp_path / "movies.csv", 'movieId,title,genres\n7,"Heat, The (1995)",Action|Crime\n9,X (2001),Drama\n')
        source = sources()["movielens_latest"](tmp_path)
        assert [tuple(row.values()) for row in rows(source)] == [(1, 7, 1225734739000), (1, 9, 1225734742000)]
        assert source.items.to_dict(as_series=False) == {
            "item_id": [7, 9],
            "title": ["Heat, The (1995)", "X (2001)"],
            "categories": [["Action", "Crime"], ["Drama"]],
        }


class TestOnlineRetail:
    HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"

    @pytest.fixture
    def folder(self, tmp_path):
        winter = (
            "536365,85123A,WHITE HEART ,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
            "536365,85123A,WHITE HEART ,1,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
            "536365,POST,POSTAGE,1,2010-12-01 08:26:00,18.0,17850.0,United Kingdom\n"
            "C536379,85123A,WHITE HEART ,-6,2010-12-01 09:41:00,2.55,17850.0,United Kingdom\n"
            "536380,22961,JAM SET,24,2010-12-01 09:41:00,1.45,,United Kingdom\n"
        )
        write(tmp_path / "2010-12-01.csv", self.HEAD + winter)
        summer = "540000,85123A,white hanging heart,2,7/1/2011 9:30,2.55,17851,Iceland\n"
        write(tmp_path / "2011-07-01.csv", self.HEAD + summer)
        return tmp_path

    def test_what_known_customers_bought(self, folder):
        found = [tuple(row.values()) for row in rows(sources()["online_retail"](folder))]
        winter, summer = 1291191960_000, 1309509000_000  # 08:26 in winter, 08:30 UTC in summer
        assert found == [
            (17850, "85123A", "536365", winter),
            (17850, "85123A", "536365", winter),
            (17851, "85123A", "540000", summer),
        ]

    def test_an_invoice_is_a_session_and_a_set(self, folder, tmp_path):
        source = sources()["online_retail"](folder)
        store = built(source, tmp_path / "store")
        assert source.build["sessions"] == GivenSessions()
        assert store.manifest["counts"]["events"] == 2

    def test_a_product_has_its_most_frequent_name(self, folder):
        items = sources()["online_retail"](folder).items
        assert items.to_dicts() == [{"item_id": "85123A", "title": "WHITE HEART"}]

    def test_another_csv_is_refused(self, tmp_path):
        write(tmp_path / "log.csv", "InvoiceNo,StockCode,Description,Quantity\n1,2,3,4\n")
        with pytest.raises(DataError, match=r"columns of .*log.csv \(InvoiceDate, CustomerID absent\) must be those"):
            sources()["online_retail"](tmp_path)


class TestThirtyMusic:
    def test_plays_with_their_own_sessions(self, tmp_path):
        plays = {"user_id": [1, 1, 1], "item_id": [5, 5, 6], "timestamp": [1397604882, 1397604900, 1397605000]}
        write(tmp_path / "interactions.parquet", plays | {"session_id": [8, 8, 9], "playtime": [18, 200, 100]})
        store = built(sources()["thirty_music"](tmp_path), tmp_path / "store")
        assert store.session_offsets.tolist() == [0, 2, 3]
        assert store.items.at(store.item_idx).to_list() == [5, 5, 6]


class TestTrivago:
    """A session that clicks out of two pages, the second page not holding what was clicked, and a page of one hotel."""

    @pytest.fixture
    def source(self, tmp_path):
        click, image = "clickout item", "interaction item image"
        steps = [
            ("a", None, 100, "s", 1, "search for destination", None),
            ("a", 7, 110, "s", 2, image, None),
            ("a", 7, 110, "s", 3, image, None),
            ("a", 8, 110, "s", 4, click, [9, 7, 8]),
            ("a", 7, 110, "s", 5, "interaction item deals", None),
            ("a", 7, 120, "s", 6, click, [8, 9]),
            ("b", 7, 130, "t", 1, click, [7]),
        ]
        names = ("user_id", "item_id", "timestamp", "session_id", "step", "event", "impressions")
        types = (pl.String, pl.Int64, pl.Int64, pl.String, pl.Int32, pl.String, pl.List(pl.Int64))
        log = pl.DataFrame(steps, orient="row", schema=dict(zip(names, types)))
        write(tmp_path / "interactions.parquet", log.with_columns(prices=pl.col("impressions")))
        return sources()["trivago_100k"](tmp_path)

    def test_a_page_that_holds_the_hotel_clicked_and_another_is_a_list(self, source):
        shown = [(row["request"], row["item"], row["label"]) for row in rows(source) if row["label"] is not None]
        assert shown == [("s/4", 9, 0), ("s/4", 7, 0), ("s/4", 8, 1)]

    def test_the_history_holds_what_was_done_with_hotels_and_every_click(self, source, tmp_path):
        store = built(source, tmp_path / "store")
        names = [store.manifest["actions"][action - 1] for action in store.action.tolist()]
        done = sorted(zip(store.items.at(store.item_idx).to_list(), store.time_ms.tolist(), names))
        deals, image, click = "interaction item deals", "interaction item image", "clickout item"
        assert done == [
            (7, 110_000, deals), (7, 110_000, image), (7, 120_000, click), (7, 130_000, click), (8, 110_000, click),
        ]  # fmt: skip
        assert store.session_offsets.tolist() == [0, 4, 5]

    def test_a_list_is_asked_without_its_second(self, source, tmp_path):
        store = built(source, tmp_path / "store")
        start, stop = request_histories(store, np.array([0]))
        assert store.exposures is not None
        assert store.exposures.request_time_ms.tolist() == [110_000]
        assert (stop - start).tolist() == [0]


class TestSimulated:
    CONFIG = Simulator.Config(num_users=40, num_items=60, num_categories=5, days=20, seed=2)

    def test_the_log_is_the_generators_and_no_folder_is_needed(self, tmp_path):
        source = sources()["simulated"](tmp_path / "absent", config=self.CONFIG)
        log = pl.concat(self.CONFIG.build().frames())
        assert source.log.events().collect()["item"].to_list() == log["item_id"].to_list()
        store = built(source, tmp_path / "store")
        assert store.manifest["actions"] == ["click", "view"]
        assert store.manifest["counts"]["exposures"] == log["label"].count() > 0
        assert store.item_table is not None
        assert store.item_table.columns == ["item_id", "title", "categories"]

    def test_only_users_of_the_wanted_activity_stay(self, tmp_path):
        lengths = [
            np.diff(built(sources()["simulated"](tmp_path, self.CONFIG, *bounds), tmp_path / str(bounds)).user_offsets)
            for bounds in ((1, 10_000), (30, 100))
        ]
        kept = lengths[0][(lengths[0] >= 30) & (lengths[0] <= 100)]
        assert lengths[1].tolist() == kept.tolist()
        assert 0 < len(kept) < len(lengths[0])

    @pytest.mark.parametrize(
        ("bounds", "sentence"),
        [
            ((0, 5), r"^min_events \(0\) must be at least 1 and at most max_events \(5\)$"),
            ((6, 5), r"^min_events \(6\) must be at least 1 and at most max_events \(5\)$"),
            ((9000, 9001), r"^min_events \(9000\) and max_events \(9001\) must leave a user"),
        ],
    )
    def test_bounds_that_leave_nobody_are_refused(self, bounds, sentence, tmp_path):
        with pytest.raises(ConfigError, match=sentence):
            sources()["simulated"](tmp_path, self.CONFIG, *bounds)


@pytest.fixture(scope="module")
def real_logs() -> Path:
    if "HPGR_DATA" not in os.environ:
        pytest.skip("HPGR_DATA names no folder of real logs")
    return Path(os.environ["HPGR_DATA"])


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "folder", "view", "counts"),
    [
        ("ebnerd", "ebnerd-demo", {}, {"users": 1935, "items": 5349, "events": 347_945, "exposures": 0}),
        (
            "ebnerd",
            "ebnerd-demo",
            {"view": "impressions"},
            # 347,945 reads and 28,144 clicks, of which 67 repeat another.
            {"users": 1935, "items": 6186 + 729, "events": 376_089 - 67, "requests": 50_080, "exposures": 583_054},
        ),
        (
            "kuairand_pure",
            "kuairand-pure-slice",
            {},
            # 5,884 rows repeat user, item, millisecond and label of another.
            {"users": 25_156, "items": 6361, "events": 228_329 - 5884, "exposures": 228_329},
        ),
        (
            "amazon_beauty",
            "amazon-beauty",
            {},
            {"users": 22_363, "items": 12_101, "events": 198_502, "sessions": 121_100},
        ),
        ("ml_1m_ordered", "ml-1m-ordered", {}, {"users": 6040, "items": 3416, "events": 999_611, "sessions": 6040}),
        *(
            ("published_sequences", "published-sequences", {"file": file}, {"users": u, "items": i, "events": n})
            for file, u, i, n in (
                ("bert4rec-beauty", 40_226, 54_542, 353_962),
                ("s3rec-beauty", 22_363, 12_101, 198_502),
                ("s3rec-toys", 19_412, 11_924, 167_597),
                ("sasrec-video", 31_013, 23_715, 287_107),
                ("sasrec-wikipedia", 8227, 1000, 157_474),
            )
        ),
        ("movielens_100k", "ml-100k", {}, {"users": 943, "items": 1682, "events": 100_000}),
        ("online_retail", "online-retail", {}, {"users": 4335, "items": 3659, "events": 386_278}),
        ("online_retail", "tiny-retail", {}, {"users": 120, "items": 2015, "events": 9102}),
        ("thirty_music", "30music-sample", {}, {"users": 14_262, "items": 9999, "events": 343_183, "sessions": 37_877}),
        (
            "trivago_100k",
            "trivago-100k",
            {},
            # 13,597 click-outs; one is of a hotel that its list of 25 lacks, 36 lists hold one hotel.
            {"users": 6593, "requests": 13_597 - 1 - 36, "exposures": 312_539 - 25 - 36},
        ),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_a_store_of_the_real_log_has_the_documented_counts(name, folder, view, counts, real_logs, tmp_path):
    store = built(sources()[name](real_logs / folder, **view), tmp_path / "store")
    assert {count: store.manifest["counts"][count] for count in counts} == counts
