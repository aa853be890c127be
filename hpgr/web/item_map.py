"""The items on a plane: principal components of the first stage's item space, and where the same items stood before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hpgr.core.config import from_tree
from hpgr.core.errors import UnsupportedError
from hpgr.frames.beginning import beginning
from hpgr.serving.engine import Engine
from hpgr.web.names import Names

_SHOWN = 3000
_SCALE = 1000
_MOST_BEFORE = 1_000_000


def item_map(engine: Engine, names: Names) -> dict[str, Any]:
    """``points`` of the most popular items: ``item_id, title, category, count``, and places in -1000 … 1000 ``before``, ``first``,
    ``second``.

    The axes are the two directions in which the normed vectors of the whole catalogue spread most; ``spread``: their shares of it.
    ``before``, where training began, and ``second`` stand on the same axes, so that what moved is seen; ``second`` is None for a model
    without a second stage of its own, ``before`` for a catalogue of over a million.

    Raises: UnsupportedError for a model without item vectors.
    """
    vectors_VD = engine.shelf.likeness[: engine.shelf.num_trained]
    mean_D, axes_D2, spread = principal(vectors_VD)
    catalogue = engine.answerer.catalogue
    rows = np.argsort(-catalogue.train_count, kind="stable")
    rows = rows[catalogue.store_rows()[rows] >= 0][:_SHOWN]
    spaces = {"before": first_space_before(engine), "first": vectors_VD, "second": second_space(engine)}
    places = {name: (space[rows] - mean_D) @ axes_D2 for name, space in spaces.items() if space is not None}
    largest = max(float(np.abs(place).max(initial=0.0)) for place in places.values()) or 1.0
    shown = {name: np.rint(place / largest * _SCALE).astype(int).tolist() for name, place in places.items()}
    ids, stores = engine.reading.ids, catalogue.store_rows()[rows]
    return {
        "fingerprint": engine.fingerprint,
        "num_items": len(catalogue),
        "dim": vectors_VD.shape[1],
        "spread": spread,
        "categories": names.categories,
        "has_before": "before" in shown,
        "has_second": "second" in shown,
        "points": [
            names.of(ids[store])
            | {"count": int(catalogue.train_count[row])}
            | {name: shown[name][i] if name in shown else None for name in spaces}
            for i, (row, store) in enumerate(zip(rows.tolist(), stores.tolist()))
        ],
    }


def principal(vectors_VD: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """``mean [D]``, ``axes [D, 2]`` and the axes' shares of the variance; each axis points to where its largest weight is positive.

    >>> mean, axes, share = principal(np.array([[0.0, 2.0], [0.0, -2.0], [1.0, 0.0], [-1.0, 0.0]]))
    >>> abs(axes).round(6).tolist(), [round(x, 2) for x in share]
    ([[0.0, 1.0], [1.0, 0.0]], [0.8, 0.2])
    """
    mean_D = vectors_VD.mean(0)
    centred_VD = (vectors_VD - mean_D).astype(np.float64)
    values, axes_DD = np.linalg.eigh(centred_VD.T @ centred_VD)
    axes_D2 = axes_DD[:, ::-1][:, :2]
    if axes_D2.shape[1] < 2:
        axes_D2 = np.pad(axes_D2, ((0, 0), (0, 2 - axes_D2.shape[1])))
    sign_2 = np.sign(axes_D2[np.abs(axes_D2).argmax(0), range(2)])
    shares = np.maximum(values[::-1][:2], 0.0) / max(float(values.sum()), 1e-12)
    return mean_D, axes_D2 * np.where(sign_2 == 0, 1.0, sign_2), shares.tolist()


def first_space_before(engine: Engine) -> np.ndarray | None:
    """``[V, D]`` vectors of length 1 as the first stage's training began with them, made again from its seed."""
    vectors_VD = engine.shelf.likeness[: engine.shelf.num_trained]
    if len(vectors_VD) > _MOST_BEFORE:
        return None
    run = from_tree(engine.facts["run"])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        frame = beginning(run.model, seed=run.seed, num_items=len(vectors_VD))
        items = getattr(getattr(frame, "retriever", frame), "items", None)
        table = None if items is None else torch.nn.functional.normalize(items.table().float(), dim=1).numpy()
    return table if table is not None and table.shape == vectors_VD.shape else None


def second_space(engine: Engine) -> np.ndarray | None:
    """``[V, D]`` vectors of length 1 of the second stage's items; None where it has none, or of another width."""
    frame = engine.answerer.frame
    items = getattr(getattr(frame, "ranker", None), "items", None)
    try:
        first = engine.shelf.likeness[: engine.shelf.num_trained]
    except UnsupportedError:
        return None
    if items is None or not hasattr(frame, "retriever"):
        return None
    with torch.no_grad():
        table = torch.nn.functional.normalize(items.table().float(), dim=1).numpy()
    return table if table.shape == first.shape else None
