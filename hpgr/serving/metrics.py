"""What Prometheus reads: latencies, cache, queues, model, events, reloads, shadow."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.25, 0.5, 1, 2.5)


class Metrics:
    """One registry a service, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = kept = CollectorRegistry()
        self.requests = Counter("hpgr_requests", "Requests by route and status.", ["route", "status"], registry=kept)
        self.seconds = Histogram("hpgr_request_seconds", "Time to answer.", ["route"], buckets=_SECONDS, registry=kept)
        self.batch_size = Histogram(
            "hpgr_batch_size", "Jobs done together.", ["queue"], buckets=(1, 2, 4, 8, 16, 32, 64), registry=kept
        )
        self.batch_seconds = Histogram(
            "hpgr_batch_seconds", "Time of a batch.", ["queue"], buckets=_SECONDS, registry=kept
        )
        self.events = Counter("hpgr_events", "Events told, by what became of them.", ["status"], registry=kept)
        self.unknown_items = Counter("hpgr_unknown_items", "Events of items that the model's log lacks.", registry=kept)
        self.answers = Counter("hpgr_answers", "Answers by source.", ["source"], registry=kept)
        self.reloads = Counter("hpgr_reloads", "Reloads by outcome.", ["outcome"], registry=kept)
        self.model = Gauge("hpgr_model", "1 for the bundle that answers.", ["name", "fingerprint"], registry=kept)
        self.clock_backwards = Counter("hpgr_clock_backwards", "Times the clock was seen to go back.", registry=kept)
        self.shadow = Counter("hpgr_shadow_answers", "Answers compared with the shadow's.", registry=kept)
        self.shadow_overlap = Histogram(
            "hpgr_shadow_overlap",
            "Share of the items that the shadow answers too.",
            buckets=(0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1),
            registry=kept,
        )
        self.shadow_same_first = Counter(
            "hpgr_shadow_same_first", "Shadow answers with the same first item.", registry=kept
        )
        self.shadow_lost = Counter("hpgr_shadow_lost", "Questions the shadow failed or had no time for.", registry=kept)
        self._watched = Gauge(
            "hpgr_now", "Histories and bytes held, cache hits and misses, queues.", ["what"], registry=kept
        )

    def watch(self, what: str, read: Callable[[], float]) -> None:
        """A number that is read whenever it is asked for."""
        self._watched.labels(what).set_function(read)

    def is_model(self, name: str, fingerprint: str) -> None:
        """The bundle that answers from now on."""
        self.model.clear()
        self.model.labels(name, fingerprint).set(1)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
