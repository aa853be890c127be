"""The registry of models: a name and a function that returns a frame's config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpgr.core.registry import Registry

MODELS: Registry[Callable[..., Any]] = Registry("model")
