"""Two models on one split: the same users, paired, with intervals; and what a difference had to be to show."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hpgr import EventLog, Measure, Recommender, SequenceStore
from hpgr.data.history_rule import HistoryRule
from hpgr.data.simulator import Simulator
from hpgr.evaluation.comparison import compare
from hpgr.evaluation.report import write_report
from hpgr.evaluation.table import formatted, markdown

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    Simulator.Config(num_users=400, num_items=300).build().write(folder / "log.parquet")
    views = HistoryRule(events=("view",))
    store = SequenceStore.build(EventLog.read(folder / "log.parquet"), folder / "store", history=views)
    how = Measure(question="retrieve", metrics=("NDCG@10", "HitRate@10"))
    cards = [Recommender(model).fit(store).evaluate(how=how)["retrieve"] for model in ("skip_count", "markov")]
    print(markdown(cards))
    for found in compare(*cards, metrics=("NDCG@10", "HitRate@10")):
        print(
            f"{found.metric}: markov minus skip_count {formatted(found.interval)}, p {found.p_holm:.3f} (Holm); "
            f"{len(cards[0].per_user)} users show differences from {found.detectable:.4f} on"
        )
    write_report(cards, folder / "report.html")
    print(f"report.html: {(folder / 'report.html').stat().st_size:,} bytes, readable offline")
