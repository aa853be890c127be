"""What is written holds: links lead somewhere, code in the docs runs, options exist, the house keeps its limits."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import typer

import hpgr
from hpgr import EventLog, Recommender, SequenceStore
from hpgr.api.runs import run_for
from hpgr.cli.main import app
from hpgr.core.config import options
from hpgr.data.simulator import Simulator
from hpgr.evaluation.card import Protocol, ResultCard
from hpgr.frames.registry import MODELS
from hpgr.training.run import overridden

ROOT = Path(hpgr.__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CARDS = {
    "bert4rec": ("bert4rec",),
    "cape": ("cape", "cape-din", "cape-hstu"),
    "counting": ("skip_count", "markov", "popularity", "popularity-recent", "popularity-hour", "item_knn", "ease"),
    "din": ("din",),
    "esasrec": ("esasrec",),
    "gru4rec": ("gru4rec", "gru4rec-bprmax"),
    "gsasrec": ("gsasrec",),
    "hpgr": ("hpgr", "hpgr-live", "hpgr-paper"),
    "clusterseq": ("clusterseq",),
    "icsrec": ("icsrec",),
    "hstu": ("hstu", "hstu-large", "hstu-ranker"),
    "lightgbm": ("lightgbm",),
    "mtgr": ("mtgr",),
    "rearec": ("rearec", "rearec-ensemble"),
    "sasrec": ("sasrec",),
    "sigma": ("sigma", "sigma-forward"),
}
FAST = "stages.retrieve.epochs=1 stages.rank.epochs=1 stages.retrieve.limit_batches=4 stages.rank.limit_batches=4"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of a page in one language; an empty language is a block without one."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [text for named, text in found if named == language]


def anchors(page: Path) -> set[str]:
    """What headings of a page are called in links, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture
def simulated(tmp_path, monkeypatch):
    """The working folder, with the log that the docs' commands and code speak of."""
    monkeypatch.chdir(tmp_path)
    Simulator.Config(num_users=90, num_items=120, num_categories=6, days=20, seed=3).build().write("log.parquet")
    return tmp_path


def test_links_lead_to_files_and_headings():
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    assert len(links) >= 30
    for page, link in links:
        if link.startswith("http"):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.relative_to(ROOT)} links to {link}, which is not there"
        assert not heading or heading in anchors(target), f"{page.relative_to(ROOT)}: {link} has no such heading"


def test_commands_of_the_readme_and_docs_take_their_options():
    known = typer.main.get_command(app).commands
    lines = [line for page in PAGES for block in blocks(page, "") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if re.match(r"hpgr \w", line)]
    assert len(commands) >= 6
    for _, name, *words in commands:
        given = {word for word in words if word.startswith("-")}
        taken = {option for parameter in known[name].params for option in parameter.opts}
        assert given <= taken, f"hpgr {name} does not take {given - taken}"


def test_the_python_of_the_readme_runs(simulated, capsys):
    (code,) = blocks(ROOT / "README.md", "python")
    changed = code.replace('["stages.retrieve.epochs=10"]', repr([*FAST.split(), "windows.max_len=30"]))
    assert changed != code
    names: dict = {}
    exec(changed, names)
    shown = capsys.readouterr().out
    assert "retrieve " in shown
    assert "rank " in shown
    assert names["found"].table["user_id"].to_list() == ["anonymous"] * 5
    assert len(names["found"].explanations) == 10
    assert (simulated / "cards" / "rank" / "card.json").exists()
    assert names["same"].recommend(histories=[]).table["rank"].to_list() == list(range(1, 11))


def test_the_python_of_the_result_cards_page_runs(simulated, capsys):
    (code,) = blocks(ROOT / "docs" / "result-cards.md", "python")
    store = SequenceStore.build(EventLog.read("log.parquet"), "store")
    for name in ("markov", "skip_count"):
        Recommender(name).fit(store).evaluate()["retrieve"].save(Path("results/cards") / f"{name}-retrieve")
    exec(code, {})
    shown = capsys.readouterr().out
    assert re.search(r"NDCG@10 .*\[", shown)
    assert Path("results/both.html").stat().st_size > 1_000_000


def test_every_field_of_a_card_is_explained():
    text = (ROOT / "docs" / "result-cards.md").read_text()
    names = [part.name for kind in (ResultCard, Protocol) for part in fields(kind)]
    assert len(names) == 23
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", CARDS)
def test_options_of_a_model_card_exist(page):
    """A change is taken by one of the page's models, and its value is one that the option can have."""
    text = (ROOT / "docs" / "models" / f"{page}.md").read_text()
    changes = re.findall(r"--set (\w+\.[\w.]+=[\w.,=-]+)", text)
    assert changes
    for change in changes:
        failures = [fault for name in CARDS[page] if (fault := refusal(name, change))]
        assert len(failures) < len(CARDS[page]), failures


def refusal(model: str, change: str) -> str | None:
    """Why a model's run does not take a change; None if it does."""
    path = change.partition("=")[0]
    run = run_for(model)
    if not any(name == path or name.startswith(path + ".") for name in options(run)):
        return f"{model} has no {path}"
    try:
        overridden(run, [change]).model.build(num_items=5)
    except hpgr.core.errors.HpgrError as error:
        return str(error)
    return None


def test_defaults_of_the_hpgr_card_are_those_of_the_code():
    """A row ``| `path` | `value` | …`` says an option's default; a third cell in code that of the faithful preset."""
    text = (ROOT / "docs" / "models" / "hpgr.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)` \| `([^`|]+)` \| (?:`([^`|]+)` \|$)?", text, re.MULTILINE)
    assert len(rows) >= 35
    assert sum(bool(faithful) for *_, faithful in rows) == 8
    ours, paper = options(run_for("hpgr")), options(run_for("hpgr-paper"))
    for path, *written in rows:
        for known, said in zip((ours, paper), written):
            assert not said or plain(known[path]) == said, f"{path} is {plain(known[path])}, the card says {said}"


def plain(value: object) -> str:
    """A value as ``--set`` takes it."""
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value).lower()


def test_every_model_has_a_card():
    assert sorted(name for names in CARDS.values() for name in names) == MODELS.names()


def test_the_face_of_the_package():
    assert hpgr.__all__ == [
        "EventLog",
        "Measure",
        "Recommender",
        "Run",
        "SequenceStore",
        "Wanted",
        "__version__",
        "load",
    ]
    assert all(getattr(hpgr, name) is not None for name in hpgr.__all__)
    assert len((ROOT / "hpgr" / "__init__.py").read_text().splitlines()) <= 40


def test_importing_the_package_is_light():
    code = "import sys, hpgr; print(sorted({'torch', 'polars', 'lightning'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_files_stay_short():
    files = sorted((ROOT / "hpgr").rglob("*.py"))
    assert len(files) > 100
    assert [str(path) for path in files if len(path.read_text().splitlines()) > 500] == []
    core = [path.name for path in (ROOT / "hpgr" / "core").glob("*.py") if path.name != "__init__.py"]
    assert len(core) <= 8
