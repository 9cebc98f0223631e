"""What trains nothing and says much in a container: old YMIR form, nothing but the standard library."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

from chaos_lines import line

_PAUSE_S = 0.02
_MODELS = Path("/out/models")


def main() -> None:
    # The first process of a container gets no signal that it has not asked for.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    told = re.search(r"^epochs: *(\d+)", Path("/in/config.yaml").read_text(), re.MULTILINE)
    lines = int(told[1]) if told else 1
    for number in range(lines):
        os.write(sys.stdout.fileno(), line(number, lines))
        if number == lines // 2:
            _leave(f"weights of {lines} lines, half way", score=0.25)
        time.sleep(_PAUSE_S)
    _leave(f"weights of {lines} lines", score=0.5)


def _leave(weights: str, *, score: float) -> None:
    _MODELS.mkdir(parents=True, exist_ok=True)
    (_MODELS / "best.bin").write_text(weights)
    part = _MODELS / "result.yaml.part"
    part.write_text(f"map: {score}\nmodel: [best.bin]\n")
    part.rename(_MODELS / "result.yaml")


if __name__ == "__main__":
    main()
