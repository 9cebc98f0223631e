"""Judges whether a candidate is proven. Pure: it sees what was measured and what is allowed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lodeworks_device.reasons import Reason


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a candidate may take. `soak_s` is how long it must stay sound before it counts."""

    max_latency_ms: float | None = None
    soak_s: float = 0.0

    def tightened(self, gate: Mapping[str, Any]) -> "Allowed":
        """Returns what is left when the desired state asks for more."""
        ceilings = [float(value) for value in (self.max_latency_ms, gate.get("max_latency_ms")) if value is not None]
        return Allowed(min(ceilings, default=None), max(self.soak_s, float(gate.get("soak_s") or 0.0)))


@dataclass(frozen=True, slots=True)
class Judgement:
    """Why a candidate is refused; both empty when it is proven."""

    reason: Reason | None = None
    message: str = ""


def judge(probe: Mapping[str, Any], allowed: Allowed) -> Judgement:
    """Judges the answer of a golden probe: `ok`, `reason`, `latency_ms`."""
    if not probe.get("ok"):
        return Judgement(Reason.GATE_ACCURACY, f"the golden probe fails: {probe.get('reason') or 'no reason given'}")
    latency_ms = float(probe["latency_ms"])
    if allowed.max_latency_ms is not None and latency_ms > allowed.max_latency_ms:
        return Judgement(
            Reason.GATE_LATENCY,
            f"a picture takes {latency_ms:.1f} ms here, {allowed.max_latency_ms:.1f} ms are allowed",
        )
    return Judgement()
