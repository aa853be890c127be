"""What the deploying page offers fits the service: its dashboard, its compose file, its options, its metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpgr.cli.main import app
from hpgr.serving.service import Service

DOCS = Path(__file__).parents[2] / "docs"
NAME = re.compile(r"\bhpgr_[a-z_]+")


@pytest.fixture
def exposed(service: Service) -> str:
    for counter in (service.metrics.reloads, service.metrics.events, service.metrics.answers):
        counter.labels("any").inc()
    service.metrics.requests.labels("/v1/recommend", 200).inc()
    service.metrics.seconds.labels("/v1/recommend").observe(0.1)
    service.metrics.batch_size.labels("ask").observe(1)
    service.metrics.batch_seconds.labels("ask").observe(1)
    return service.metrics.text().decode()


def test_every_metric_and_label_of_the_dashboard_exists(exposed):
    dashboard = json.loads((DOCS / "deploy" / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(asked) > 15
    samples = {line.split("{")[0].split(" ")[0] for line in exposed.splitlines() if not line.startswith("#")}
    watched = set(re.findall(r'what="([a-z_]+)"', exposed))
    for expression in asked:
        names = set(NAME.findall(expression))
        assert names
        assert names <= samples, expression
        for group in re.findall(r'what=~?"([^"]+)"', expression):
            assert set(group.split("|")) <= watched, expression
        for label in re.findall(r"by \((\w+)\)", expression):
            assert label == "le" or any(
                f'{label}="' in line for line in exposed.splitlines() if names & {line.split("{")[0]}
            )


def test_every_metric_of_the_page_exists(exposed):
    page = (DOCS / "deploying.md").read_text()
    section = page[page.index("## Metrics") : page.index("## With Docker")]
    names = {name for name in NAME.findall(section) if name not in ("hpgr_now", "hpgr_shadow_")}
    assert len(names) > 6
    for name in names:
        assert f"\n{name}" in exposed, name
    told = section[section.index("hpgr_now{") :]
    watched = set(re.findall(r'what="([a-z_]+)"', exposed))
    assert watched == set(re.findall(r"`([a-z_]+)`", told)) & watched


def test_the_compose_file_starts_the_service_with_options_that_it_has():
    help_text = (
        CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"}).output
    )
    compose = (DOCS / "deploy" / "compose.yaml").read_text()
    command = compose[compose.index("hpgr serve") : compose.index("volumes:")]
    options = set(re.findall(r"--[a-z-]+", command))
    assert len(options) > 4
    assert all(option in help_text for option in options)
    assert "grafana.json" in compose
    assert (DOCS / "deploy" / "grafana.json").exists()
