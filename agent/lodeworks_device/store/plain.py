"""How an algorithm's state is written down: JSON that a later version of the agent still reads."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from lodeworks_device.reasons import Reason
from lodeworks_device.states import AlgorithmState, Goal, Phase, Version, Wanted


def state_to_json(state: AlgorithmState) -> str:
    """Writes a state."""
    wanted = {**asdict(state.wanted), "goal": state.wanted.goal.value}
    plain = {
        **asdict(state),
        "wanted": wanted,
        "phase": state.phase.value,
        "reason": state.reason.value if state.reason else None,
        "since_at": state.since_at.isoformat(),
        "committed_at": state.committed_at.isoformat() if state.committed_at else None,
    }
    return json.dumps(plain, separators=(",", ":"), sort_keys=True)


def state_from_json(text: str) -> AlgorithmState:
    """Reads what `state_to_json` wrote; raises ValueError, KeyError or TypeError for anything else."""
    plain: dict[str, Any] = json.loads(text)
    wanted = plain.pop("wanted")
    reason, committed_at = plain.pop("reason"), plain.pop("committed_at")
    return AlgorithmState(
        wanted=Wanted(
            name=wanted["name"],
            version=_version(wanted["version"]),
            goal=Goal(wanted["goal"]),
            generation=wanted["generation"],
            confidence=wanted["confidence"],
            gate=wanted["gate"],
        ),
        phase=Phase(plain.pop("phase")),
        since_at=datetime.fromisoformat(plain.pop("since_at")),
        committed=_maybe(plain.pop("committed")),
        previous=_maybe(plain.pop("previous")),
        trial=_maybe(plain.pop("trial")),
        reason=Reason(reason) if reason else None,
        committed_at=datetime.fromisoformat(committed_at) if committed_at else None,
        **plain,
    )


def _version(plain: Mapping[str, Any]) -> Version:
    return Version(**plain)


def _maybe(plain: Mapping[str, Any] | None) -> Version | None:
    return None if plain is None else _version(plain)
