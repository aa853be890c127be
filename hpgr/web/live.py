"""What the service counts of itself, as JSON for the page; the page takes the difference of two readings."""

from __future__ import annotations

from typing import Any

from hpgr.serving.service import Service


def counters(service: Service, now_ms: int) -> dict[str, Any]:
    """Totals since the process began: ``requests`` and ``seconds`` by route, ``answers``, ``events``, and what is held ``now``.

    ``seconds``: ``count``, ``sum`` and ``buckets``, pairs of an upper bound (None: none) and how many were not slower.
    """
    metrics = service.metrics
    requests = [
        {"route": sample.labels["route"], "status": int(sample.labels["status"]), "count": sample.value}
        for family in metrics.requests.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    ]
    seconds: dict[str, dict[str, Any]] = {}
    for family in metrics.seconds.collect():
        for sample in family.samples:
            one = seconds.setdefault(sample.labels["route"], {"count": 0.0, "sum": 0.0, "buckets": []})
            if sample.name.endswith("_bucket"):
                bound = sample.labels["le"]
                one["buckets"].append([None if bound == "+Inf" else float(bound), sample.value])
            elif sample.name.endswith(("_sum", "_count")):
                one[sample.name.rpartition("_")[2]] = sample.value
    engine = service.engine
    counts = engine.histories.counts
    return {
        "at_ms": now_ms,
        "model": engine.model,
        "fingerprint": engine.fingerprint,
        "shadow": None if service.shadow is None else service.shadow.model,
        "requests": requests,
        "seconds": seconds,
        "answers": _by(metrics.answers, "source"),
        "events": _by(metrics.events, "status"),
        "reloads": _by(metrics.reloads, "outcome"),
        "now": {
            "ask_queue": service.asking.depth,
            "tell_queue": service.telling.depth,
            "histories": len(engine.histories),
            "history_bytes": counts.bytes,
            "cache_hits": counts.hits,
            "cache_misses": counts.misses,
            "damaged_rows": counts.damaged,
        },
    }


def _by(counter: Any, label: str) -> dict[str, float]:
    return {
        sample.labels[label]: sample.value
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }
