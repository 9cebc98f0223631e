"""A program that trains nothing and says much, offered as an executor while everything around it is killed."""

from __future__ import annotations

import os
import sys
import time

from chaos_lines import line
from lodeworks_executor import Task

_PAUSE_S = 0.02


def main() -> None:
    task = Task.load()
    lines = task.settings.integer("epochs", default=1)
    for number in range(lines):
        os.write(sys.stdout.fileno(), line(number, lines))
        if number == lines // 2:
            _leave(task, "half", f"weights of {lines} lines, half way", score=0.25)
        time.sleep(_PAUSE_S)
    _leave(task, "best", f"weights of {lines} lines", score=0.5)
    task.finish_training()


def _leave(task: Task, name: str, weights: str, *, score: float) -> None:
    folder = task.stage_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.bin"
    file.write_bytes(weights.encode())
    task.stage(name, [file], map_score=score)


if __name__ == "__main__":
    main()
