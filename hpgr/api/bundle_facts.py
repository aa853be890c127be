"""What a bundle remembers beside its weights: the run, how it went, and what histories must share with the log."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from hpgr.api.material import Material
from hpgr.api.runs import actions_of
from hpgr.core.config import to_tree
from hpgr.training.run import Run
from hpgr.training.stages import StageResult


def bundle_facts(material: Material, run: Run, stages: dict[str, StageResult]) -> dict[str, Any]:
    """What a bundle says of the ``run`` and of the log that it was trained on; JSON values."""
    store, certificate = material.store, material.split.certificate
    return {
        "run": to_tree(run),
        "store": str(store.path.resolve()),
        "certificate": {"hash": certificate.hash, "facts": certificate.facts},
        "sessions": store.manifest["sessions"],
        "ties": store.ties,
        "history": store.manifest["history"],
        "columns": store.manifest["columns"],
        "timed": store.timed,
        "actions": actions_of(store),
        "log_end_ms": int(np.max(store.time_ms)) + 1,
        "train_count": material.split.catalogue.train_count.tolist(),
        "stages": {name: asdict(result) for name, result in stages.items()},
    }


def stages_of(facts: dict[str, Any]) -> dict[str, StageResult]:
    """How the stages went, from what ``bundle_facts`` gave."""
    return {name: StageResult(**{**row, "curve": tuple(row["curve"])}) for name, row in facts["stages"].items()}
