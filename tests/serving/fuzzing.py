"""Requests that no caller should send, drawn by hand and from our own OpenAPI; each yields the status of its answer.

python -m tests.serving.fuzzing BUNDLE --requests 100000
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_ODD = [
    None,
    True,
    -1,
    0,
    1.5,
    2**63,
    10**30,
    "",
    "x",
    "\x00",
    "ж" * 300,
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    "nan",
    "\ud800",
]
_EVENT = ("user_id", "item_id", "timestamp", "event_id", "event", "session_id", "extra")
_FIELDS = {
    "/v1/recommend": (
        *("user_id", "history", "k", "candidates", "at", "exclude_seen", "by", "available", "categories", "weights"),
        *("pool", "diversity"),
    ),
    "/v1/rank": ("user_id", "history", "candidates", "at", "weights"),
    "/v1/similar": ("item_id", "k", "available", "categories"),
    "/v1/events": ("events",),
}


def hand_made(client: Any, count: int, item: str, seed: int = 0) -> Iterator[int]:
    """``count`` bodies with a few odd fields, one in ten with a broken byte or a false end."""
    draw = random.Random(seed)
    odd = [*_ODD, item, [item], [item] * 30, {"item_id": item}]
    for i in range(count):
        path = draw.choice(list(_FIELDS))
        fields = _FIELDS[path]
        body: dict[str, Any] = {"user_id": "a"} if draw.random() < 0.5 and "user_id" in fields else {}
        body |= {field: draw.choice(odd) for field in draw.sample(fields, min(draw.randint(0, 2), len(fields)))}
        if path == "/v1/events" and draw.random() < 0.8:
            one = {"user_id": "a", "item_id": item, "timestamp": int(time.time() * 1000), "event_id": str(i)}
            body = {"events": [one | {draw.choice(_EVENT): draw.choice(odd)}]}
        content = json.dumps(body).encode()
        if draw.random() < 0.1:
            cut = draw.randrange(len(content) + 1)
            content = content[:cut] + bytes([draw.randrange(256)]) * draw.randint(0, 2) + content[cut + 1 :]
        yield client.post(path, content=content, headers={"Content-Type": "application/json"}).status_code


def described(app: Any, examples: int) -> Iterator[int]:
    """``examples`` of each kind, right and wrong, of every operation; raises where an answer is not as described."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.errors import Unsatisfiable
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    schema, found = schemathesis.openapi.from_asgi("/openapi.json", app), []
    for operation in schema.get_all_operations():
        for mode in schemathesis.GenerationMode:
            try:
                cases = operation.ok().as_strategy(generation_mode=mode)
            except Exception as error:
                if type(error).__name__ != "Unsatisfiable":
                    raise
                continue

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=cases)
            def ask(case: Any) -> None:
                answer = case.call()
                found.append(answer.status_code)
                case.validate_response(answer, checks=checks)

            # An operation without parameters cannot be asked wrongly.
            with suppress(Unsatisfiable):
                ask()
    yield from found


def main() -> None:
    from collections import Counter

    from fastapi.testclient import TestClient

    from hpgr.serving.app import create_app
    from hpgr.serving.service import Service
    from hpgr.serving.settings import ServiceSettings

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument(
        "--requests", type=int, default=100_000, help="drawn by hand; a fiftieth as many from the OpenAPI"
    )
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    service = Service(ServiceSettings(bundle=arguments.bundle, state="sqlite::memory:"))
    with TestClient(create_app(service), raise_server_exceptions=False) as client:
        item = str(service.engine.reading.ids[0])
        told = []
        for what, statuses in (
            ("by hand", hand_made(client, arguments.requests, item)),
            ("from the OpenAPI", described(client.app, arguments.requests // 1000)),
        ):
            told.append(Counter(statuses))
            print(what, told[-1].total(), dict(sorted(told[-1].items())), flush=True)
        alive = client.post("/v1/recommend", json={"user_id": "nobody"}).status_code
    if alive != 200 or any(status >= 500 for statuses in told for status in statuses):
        raise SystemExit("every answer must be 2xx or 4xx, and the service go on; it was not so")


if __name__ == "__main__":
    main()
