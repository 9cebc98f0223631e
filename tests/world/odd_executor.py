"""A program that trains nothing, offered as an executor by a test's worker: `python odd_executor.py`.

With `epochs` 1 its stage has no ONNX; with 2 it has one that no quantization survives.
"""

from __future__ import annotations

from lodeworks_executor import Task
from made_network import save_network


def main() -> None:
    task = Task.load()
    folder = task.stage_folder("best")
    folder.mkdir(parents=True, exist_ok=True)
    if task.settings.integer("epochs", default=1) == 1:
        file = folder / "best.bin"
        file.write_bytes(b"weights of a kind that nobody reads")
    else:
        file = save_network(folder / "best.onnx", trap="all")
    task.stage("best", [file], map_score=0.5)
    task.finish_training()


if __name__ == "__main__":
    main()
