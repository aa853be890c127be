"""The whole road on a tiny log, command by command."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file

from hpgr.evaluation.card import ResultCard


def tree(answer) -> dict:
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_simulate_writes_log_and_items_and_prints_the_oracle(road, run, tmp_path):
    out = tmp_path / "log.parquet"
    found = tree(run("simulate", "--users", 60, "--items", 80, "--days", 20, "--out", out, "--json"))
    assert pl.read_parquet(out).equals(pl.read_parquet(road.log))
    assert found["rows"] == len(pl.read_parquet(out))
    assert 0.5 < found["oracle"]["auc"] < 1
    assert pl.read_parquet(found["items"])["item_id"].n_unique() == 80
    noisier = tree(run("simulate", "--users", 60, "--items", 80, "--days", 20, "--set", "noise=0.9", "--out", out,
                       "--overwrite", "--json"))  # fmt: skip
    assert noisier["oracle"]["hit_rate_10"] < found["oracle"]["hit_rate_10"]


def test_doctor_tells_notes_and_exits_0(road, run):
    found = tree(run("doctor", road.log, "--json"))
    assert found["errors"] == 0
    assert {"size", "sessions", "exposures"} <= {finding["code"] for finding in found["findings"]}
    assert "history events of 60 users" in run("doctor", road.log).out


def test_prepare_says_what_was_read(road, run, tmp_path):
    answer = run("prepare", road.log, "--out", tmp_path / "store", "--session-gap", "given", "--ties", "set")
    assert answer.code == 0, answer.err
    for words in (
        "timestamp read as ms (inferred: 2024-01-01 to",
        "GivenSessions(gap_s=1800)",
        "click, view",
        "exposures",
    ):
        assert words in answer.out
    found = tree(run("prepare", road.log, "--out", tmp_path / "store", "--overwrite", "--json"))
    assert found["counts"]["users"] == 60
    assert found["counts"]["rows_read"] == len(pl.read_parquet(road.log))


def test_prepare_drops_or_keeps_repeated_rows_and_reads_other_names(run, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("who,what,when\n" + "7,a,1700000000\n" * 3 + "7,b,1700000060\n8,a,1700000000\n")
    names = ("--user-column", "who", "--item-column", "what", "--time-column", "when", "--json")
    kept = tree(run("prepare", log, "--out", tmp_path / "kept", *names))["counts"]
    dropped = tree(run("prepare", log, "--out", tmp_path / "dropped", "--duplicates", "drop", *names))["counts"]
    assert (kept["events"], kept["duplicates"]) == (5, 2)
    assert (dropped["events"], dropped["duplicates"]) == (3, 2)


def test_prepare_appends_new_days_as_if_both_logs_had_been_one(road, run, tmp_path):
    whole = pl.read_parquet(road.log).sort("timestamp", maintain_order=True)
    border = whole["timestamp"][len(whole) // 2]
    whole.filter(pl.col("timestamp") < border).write_parquet(tmp_path / "old.parquet")
    whole.filter(pl.col("timestamp") >= border).write_parquet(tmp_path / "days.parquet")
    tree(run("prepare", tmp_path / "old.parquet", "--out", tmp_path / "grown", "--json"))
    grown = tree(run("prepare", tmp_path / "days.parquet", "--out", tmp_path / "grown", "--append", "--json"))
    built = tree(run("prepare", road.log, "--out", tmp_path / "built", "--json"))
    assert grown["counts"] == built["counts"]
    both = run("prepare", road.log, "--out", tmp_path / "grown", "--append", "--overwrite")
    assert (both.code, "must not be combined" in both.err) == (2, True)
    assert run("prepare", road.log, "--out", tmp_path / "none", "--append").code == 1
    assert not (tmp_path / "none").exists()


def test_train_takes_the_run_of_a_recipe(road, run, tmp_path):
    words = ("train", road.store, "--out", tmp_path / "bundle", "--json")
    found = tree(run(*words, "--recipe", "thirty_music_last_session:popularity"))
    assert (found["model"], found["stages"]) == ("popularity", {})
    kept = json.loads((tmp_path / "bundle" / "facts.json").read_text())
    assert kept["run"]["split"]["class"].endswith("LastSession")
    for wrong, sentence in (
        ((), "one of --model and --recipe must be given"),
        (("--model", "hpgr", "--recipe", "ebnerd_reads_time"), "one of --model and --recipe must be given"),
        (("--recipe", "ebnerd_reads_time:popularty"), "did you mean popularity?"),
        (("--recipe", "ebnerd_read_time"), "did you mean ebnerd_reads_time?"),
    ):
        answer = run(*words, *wrong)
        assert (answer.code, sentence in answer.err) == (2, True), answer.err


def test_train_leaves_a_bundle_with_its_log_and_tells_the_stages(road, run, tmp_path):
    lines = [json.loads(line) for line in (road.bundle / "train.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"retrieve", "rank"}
    assert not road.bundle.with_name("bundle.training").exists()
    words = ("--model", "sasrec", "--set", "stages.retrieve.epochs=1", "--set", "windows.max_len=20", "--seed", 3)
    found = tree(run("train", road.store, "--out", tmp_path / "bundle", *words, "--json"))
    assert found["seed"] == 3
    assert found["stages"]["retrieve"]["epochs"] == 1
    assert set(found["stages"]["retrieve"]["validation"]) == {"NDCG@10", "HitRate@10"}
    assert found["parameters"] == sum(tensor.numel() for name, tensor in load_file(
        tmp_path / "bundle" / "model.safetensors").items() if "prior" not in name)  # fmt: skip


def test_evaluate_puts_baselines_into_the_same_tables(road, run, tmp_path):
    out = tmp_path / "results"
    found = tree(run("evaluate", road.bundle, road.store, "--baselines", "--out", out, "--json"))
    assert list(found["cards"]) == [
        "bundle",
        "popularity",
        "popularity-recent",
        "markov",
        "skip_count",
        "item_knn",
        "ease",
    ]
    cards = {
        name: ResultCard.load(out / "cards" / f"{name}-{q}") for name in found["cards"] for q in ("retrieve", "rank")
    }
    for name, questions in found["cards"].items():
        assert set(questions) == {"retrieve", "rank"}
        assert questions["rank"]["certificate"] == found["cards"]["bundle"]["rank"]["certificate"]
        assert questions["rank"]["protocol"] == found["cards"]["bundle"]["rank"]["protocol"], name
    assert len(cards) == 7
    assert "markov" in (out / "report.html").read_text()
    page = tmp_path / "page.html"
    assert run("report", out / "cards" / "markov-rank", "--out", page).out == f"report of 1 cards: {page}\n"


def test_evaluate_compares_two_bundles_by_user(road, run):
    words = ("evaluate", road.counts, road.store, "--question", "retrieve", "--part", "validation", "--limit", 100)
    answer = run(*words, "--compare", road.bundle)
    assert answer.code == 0, answer.err
    assert "bundle minus counts, retrieve" in answer.out
    assert "p (Holm)" in answer.out
    assert "Of one training each: what other seeds would give is not in it." in answer.out
    found = tree(run(*words, "--compare", road.bundle, "--json"))
    mine, theirs = (found["cards"][name]["retrieve"]["metrics"]["NDCG@10"]["value"] for name in ("counts", "bundle"))
    row = next(row for row in found["differences"]["retrieve"] if row["metric"] == "NDCG@10")
    assert row["interval"]["value"] == pytest.approx(theirs - mine)
    assert row["interval"]["low"] <= row["interval"]["value"] <= row["interval"]["high"]
    assert (row["first"], row["second"]) == (pytest.approx(mine), pytest.approx(theirs))
    assert 0 < row["p_value"] <= row["p_holm"] <= 1


def test_a_known_user_gets_items_with_reasons(road, run):
    user = pl.read_parquet(road.log)["user_id"][0]
    words = ("recommend", road.bundle, "--user", user, "-k", 3, "--explain", "--explain-events", 2)
    found = tree(run(*words, "--json"))
    assert [row["rank"] for row in found["recommendations"]] == [1, 2, 3]
    assert {row["user_id"] for row in found["recommendations"]} == {user}
    reasons = found["explanations"]
    assert len(reasons) == 6
    viewed = set(pl.read_parquet(road.log).filter(pl.col("user_id") == user)["item_id"])
    assert {row["event_item_id"] for row in reasons} <= viewed
    assert all(row["change"] == pytest.approx(row["score"] - row["score_without"]) for row in reasons)
    assert "because of" in run(*words).out


def test_a_history_gets_the_same_answer_by_ids_and_by_file(road, run, tmp_path):
    ids = pl.read_parquet(road.items)["item_id"][:3].to_list()
    end = json.loads((road.bundle / "facts.json").read_text())["log_end_ms"]
    frame = pl.DataFrame({"user_id": "anonymous", "item_id": ids, "timestamp": [end - 3000, end - 2000, end - 1000]})
    frame.write_csv(tmp_path / "history.csv")
    by_ids = tree(run("recommend", road.bundle, "--items", ",".join(ids), "-k", 4, "--at", end, "--json"))
    by_file = tree(run("recommend", road.bundle, "--history", tmp_path / "history.csv", "-k", 4, "--at", end, "--json"))
    assert by_ids["recommendations"] == by_file["recommendations"]
    assert len(by_ids["recommendations"]) == 4
    others = tree(run("recommend", road.bundle, "--items", ",".join(ids), "-k", 80, "--exclude-seen", "--json"))
    assert not {row["item_id"] for row in others["recommendations"]} & set(ids)


def test_an_empty_history_and_given_candidates_are_answered(road, run, tmp_path):
    ids = pl.read_parquet(road.items)["item_id"][:2].to_list()
    pl.DataFrame({"item_id": ids}).write_parquet(tmp_path / "candidates.parquet")
    for candidates in (",".join(ids), tmp_path / "candidates.parquet"):
        out = tmp_path / "answer.csv"
        answer = run("recommend", road.bundle, "--items", "", "--candidates", candidates, "--out", out)
        assert answer.out == f"2 recommendations: {out}\n", answer.err
        assert set(pl.read_csv(out)["item_id"]) == set(ids)


@pytest.mark.parametrize("name", ["answer.csv", "answer.parquet"])
def test_an_answer_that_cannot_be_written_leaves_the_one_before(road, run, tmp_path, monkeypatch, name):
    def full(frame, file):
        Path(file).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    out = tmp_path / name
    asking = ("recommend", road.bundle, "--items", "", "--candidates", "i00001", "--out", out)
    assert run(*asking).code == 0
    before = out.read_bytes()
    monkeypatch.setattr(pl.DataFrame, "write_csv", full)
    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    answer = run(*asking)
    assert answer.code == 1
    assert "no space left on device" in answer.err
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_baselines_never_stand_in_the_place_of_a_bundle_of_their_name(road, run, tmp_path):
    assert (
        run(
            "train",
            road.store,
            "--model",
            "item_knn",
            "--set",
            "model.rule.num_neighbours=1",
            "--out",
            tmp_path / "item_knn",
        ).code
        == 0
    )
    alone = tree(run("evaluate", tmp_path / "item_knn", road.store, "--json"))["cards"]["item_knn"]
    beside = tree(run("evaluate", tmp_path / "item_knn", road.store, "--baselines", "--json"))["cards"]
    assert beside["item_knn"]["retrieve"]["metrics"] == alone["retrieve"]["metrics"]
    assert beside["item_knn-2"]["retrieve"]["config"] != alone["retrieve"]["config"]


@pytest.mark.parametrize("out", ["store", "."])
def test_a_folder_of_another_kind_is_not_overwritten(road, run, tmp_path, monkeypatch, out):
    shutil.copytree(road.store, tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    answer = run("train", "store", "--model", "popularity", "--out", out, "--overwrite")
    assert answer.code == 1
    assert "must be empty or a bundle, to be overwritten, and has no config.json" in answer.err
    assert (tmp_path / "store" / "manifest.json").exists()


def test_unknown_ids_are_named_and_the_rest_is_answered(road, run):
    user = pl.read_parquet(road.log)["user_id"][0]
    answer = run("recommend", road.bundle, "--user", "nobody", "--user", user, "--candidates", "i00001,zzz", "--json")
    assert answer.code == 0
    assert answer.err == (
        "user nobody is not known to the model's log\ncandidate zzz is not known to the model's log\n"
    )
    assert json.loads(answer.out)["unknown_users"] == ["nobody"]
    assert len(json.loads(answer.out)["recommendations"]) == 1
    answer = run("recommend", road.bundle, "--items", "zzz", "-k", 1)
    assert (answer.code, answer.err) == (0, "item zzz is not known to the model's log\n")
    answer = run("recommend", road.bundle, "--user", "nobody")
    assert answer.code == 1
    assert answer.err.splitlines()[-1].startswith("error: recommendations (0) must be at least one; no user is known")


def test_models_and_recipes_are_listed(run):
    found = tree(run("models", "--json"))
    assert found["hpgr"]["answers"] == ["retrieve", "rank"]
    assert found["popularity"] == {
        "answers": ["retrieve"],
        "about": "Every user gets the items with the most training events.",
    }
    assert "Every user gets the items" in run("models").out


def test_an_append_that_begins_before_the_end_is_told(road, run, tmp_path):
    run("prepare", road.log, "--out", tmp_path / "store")
    answer = run("prepare", road.log, "--out", tmp_path / "store", "--append", "--json")
    assert answer.code == 0
    assert "begins before the store ends" in answer.err


def test_a_ranker_is_not_asked_to_retrieve(road, run, tmp_path):
    quick = ("--set", "stages.rank.epochs=1", "--set", "stages.rank.limit_batches=1")
    assert run("train", road.store, "--model", "mtgr", "--out", tmp_path / "mtgr", *quick).code == 0
    answer = run("evaluate", tmp_path / "mtgr", road.store, "--question", "retrieve")
    assert (answer.code, answer.out) == (1, "")
    assert "must be rank for mtgr" in answer.err
    assert (tmp_path / "mtgr").stat().st_mode & 0o777 == 0o777 & ~umask()
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "mtgr").glob("*.*")} == {0o666 & ~umask()}


def umask() -> int:
    os.umask(found := os.umask(0))
    return found


def test_integer_ids_are_printed_as_they_are_written(run, tmp_path):
    users, items = [u for u in range(12_345, 12_365) for _ in range(6)], [20_000 + i % 9 for i in range(120)]
    log = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": [1_700_000_000 + 977 * i for i in range(120)]})
    log.write_csv(tmp_path / "log.csv")
    run("prepare", tmp_path / "log.csv", "--out", tmp_path / "store")
    words = ("train", tmp_path / "store", "--model", "markov", "--split", "leave-one-out", "--out", tmp_path / "b")
    assert run(*words).code == 0
    answer = run("recommend", tmp_path / "b", "--user", 12345, "-k", 2, "--explain")
    assert answer.code == 0, answer.err
    assert "12345" in answer.out
    assert "2000" in answer.out
    assert "," not in answer.out.replace(", ", "")


def test_a_batch_of_users_is_answered_to_a_file_and_to_a_folder(road, run, tmp_path):
    users = tmp_path / "users.parquet"
    pl.read_parquet(road.log).select("user_id").unique(maintain_order=True).head(9).write_parquet(users)
    for out, files in ((tmp_path / "all.parquet", 1), (tmp_path / "all", 3)):
        said = run("recommend", road.bundle, "--batch", users, "--out", out, "-k", 4, "--at-once", 3).out
        assert said.startswith(f"36 recommendations for 9 users: {out}")
        found = [out] if out.is_file() else sorted(out.glob("part-*.parquet"))
        assert len(found) == files
        assert pl.concat(map(pl.read_parquet, found))["rank"].to_list() == [1, 2, 3, 4] * 9
    again = run("recommend", road.bundle, "--batch", users, "--out", tmp_path / "all", "-k", 4, "--at-once", 3).out
    assert again.rstrip().endswith("3 parts were there already")
    other = run("recommend", road.bundle, "--batch", users, "--out", tmp_path / "all", "-k", 5, "--at-once", 3)
    assert (other.code, "another question" in other.err) == (1, True)
    assert run("recommend", road.bundle, "--batch", users).code == 2


def test_a_bundle_is_exported_or_refused(road, run, tmp_path):
    said = run(
        "export", road.bundle, "--to", "torch", "--out", tmp_path / "out", "--histories", 3, "--part", "encoder"
    ).out
    assert said.startswith(f"encoder: {tmp_path / 'out' / 'encoder.pt2'}; differs by ")
    refused = run("export", road.counts, "--to", "torch", "--out", tmp_path / "none")
    assert (refused.code, (tmp_path / "none").exists()) == (1, False)
    assert refused.err.startswith("error: frame (CountingRecommender) must be a network to be exported")
