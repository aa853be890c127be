"""``hpgr models``: what there is to train."""

from __future__ import annotations

from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, show, table


def models(json: Json = False, debug: Debug = False) -> None:
    """List the models.

    A model retrieves from the whole catalogue, ranks given candidates, or both.

    Example: hpgr models
    """
    import hpgr.models  # noqa: F401 - fills the registry
    from hpgr.frames.registry import MODELS

    found = {}
    for name in MODELS:
        frame = MODELS[name]().build(num_items=2)
        answers = [question for question, verb in (("retrieve", "scores"), ("rank", "logits")) if hasattr(frame, verb)]
        found[name] = {"answers": answers, "about": (MODELS[name].__doc__ or "").strip().splitlines()[0]}
    if json:
        emit(found)
    else:
        rows = [(name, ", ".join(facts["answers"]), facts["about"]) for name, facts in found.items()]
        show(table(["model", "answers", "what it is"], rows))
