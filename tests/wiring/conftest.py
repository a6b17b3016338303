from __future__ import annotations

from tests.wiring.stand import stand

__all__ = ["stand"]
