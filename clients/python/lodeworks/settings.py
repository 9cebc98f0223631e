"""Settings of executors: always a dict in Python, YAML on the wire, so that 20 stays 20."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping


def settings_yaml(settings: Mapping[str, Any] | None) -> str:
    """Writes settings as flat YAML; nothing for none."""
    return yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True) if settings else ""
