"""How the stages of a training went, for people and for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpgr.cli.output import table

if TYPE_CHECKING:
    from hpgr.training.stages import StageResult


def stage_facts(result: StageResult) -> dict[str, Any]:
    """How a stage went, with the validation values of its best epoch."""
    at = (result.best_epoch or len(result.curve)) - 1
    values = result.curve[at] if result.curve else {}
    names = ("metric", "best_epoch", "best_value", "steps", "seconds", "stopped_early", "precision")
    return {name: getattr(result, name) for name in names} | {
        "epochs": len(result.curve),
        "validation": {name.removeprefix("valid."): v for name, v in values.items() if name.startswith("valid.")},
    }


def stage_table(stages: dict[str, StageResult]) -> Any:
    """A row a stage."""
    rows = []
    for name, result in stages.items():
        facts = stage_facts(result)
        values = "  ".join(f"{metric} {value:.4f}" for metric, value in facts["validation"].items())
        rows.append((name, facts["epochs"], facts["best_epoch"], values or None, round(facts["seconds"])))
    return table(["stage", "epochs", "best epoch", "validation at its best", "seconds"], rows)
