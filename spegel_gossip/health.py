"""Kubernetes' readiness and liveness of this process, as a value.

`node` makes it from every part's state; the registry and the status endpoint show
it. (A *probe* without more words is SWIM's, not Kubernetes'.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """Whether containerd should be sent here, and what is not as it should be."""

    is_ready: bool
    reasons: tuple[str, ...] = ()
    """What is wrong, worst first, each saying what to do; a ready node may have some."""


HealthCheck = Callable[[], Health]
