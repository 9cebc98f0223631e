"""The settings of a training, read and checked before anything else is done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lodeworks_executor import BadSettingError

from lodeworks_detector.augment import Augmentation
from lodeworks_detector.network import Shape

if TYPE_CHECKING:
    from lodeworks_executor import Settings

KNOWN_SETTINGS = frozenset(
    {
        "augment",
        "batch_size",
        "cache_mb",
        "checkpoint_interval_s",
        "epochs",
        "input_size",
        "keep_stages",
        "learning_rate",
        "model_depth",
        "model_width",
        "mosaic",
        "patience",
        "precision",
        "processes",
        "seed",
        "threads",
    }
)

_STEPS_WANTED = 860
_FEWEST_EPOCHS = 12
_MOST_EPOCHS = 150
_MOST_THREADS = 8
_GRID = 32
_AUTO = "auto"
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a user may choose; None stands for auto.

    `input_size` is (height, width) in pixels; `patience` counts epochs without an improvement before an early stop.
    """

    epochs: int | None
    batch_size: int
    learning_rate: float | None
    input_size: tuple[int, int] | None
    shape: Shape
    patience: int | None
    keep_stages: int
    checkpoint_interval_s: float
    precision: str
    threads: int | None
    processes: int | None
    seed: int
    cache_bytes: int
    augmentation: Augmentation

    def epochs_for(self, pictures: int) -> int:
        """Returns the number of epochs: as set, else as many as make about 860 batches, from 12 to 150."""
        if self.epochs is not None:
            return self.epochs
        wanted = math.ceil(_STEPS_WANTED * self.batch_size / max(1, pictures))
        return min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, wanted))

    def threads_for(self, cores: int) -> int:
        """Returns the number of threads: as set, else one for two cores, at most 8.

        The cores that a machine shows are often two halves of one: there a second thread makes each step cost half as
        much processor time again and hardly shortens it, and beside other work it makes it longer.
        """
        return self.threads if self.threads is not None else min(_MOST_THREADS, max(1, cores // 2))

    def processes_for(self, *, gpus: int, pictures: int) -> int:
        """Returns how many processes train together: as set, else one a GPU, each with two pictures of a batch or more.

        Raises:
            BadSettingError: more are set than there are GPUs, where there are some.
        """
        wanted = self.processes if self.processes is not None else max(1, gpus)
        if gpus and wanted > gpus:
            raise BadSettingError("processes", f"is {wanted}, but this run has {gpus} GPUs; each process needs its own")
        return max(1, min(wanted, self.batch_size // 2, pictures // 2))

    def patience_for(self, epochs: int) -> int:
        """Returns the number of epochs without improvement that end the training early."""
        return self.patience if self.patience is not None else max(15, epochs // 3)


def read_configuration(settings: Settings) -> Configuration:
    """Returns the configuration of a training.

    Raises:
        BadSettingError: names the setting that is unknown, mistyped or out of range.
    """
    settings.refuse_unknown(KNOWN_SETTINGS)
    return Configuration(
        epochs=None if _is_auto(settings, "epochs") else settings.integer("epochs", minimum=1, maximum=10_000),
        batch_size=settings.integer("batch_size", default=8, minimum=1, maximum=1024),
        learning_rate=None
        if _is_auto(settings, "learning_rate")
        else settings.number("learning_rate", minimum=1e-6, maximum=1.0),
        input_size=_input_size(settings),
        shape=Shape(
            width=settings.number("model_width", default=1.0, minimum=0.25, maximum=8.0),
            depth=settings.number("model_depth", default=1.0, minimum=0.25, maximum=8.0),
        ),
        patience=None if _is_auto(settings, "patience") else settings.integer("patience", minimum=1),
        keep_stages=settings.integer("keep_stages", default=4, minimum=1, maximum=1000),
        checkpoint_interval_s=settings.number("checkpoint_interval_s", default=10.0, minimum=0.0),
        precision=settings.text("precision", default=_AUTO, choices=PRECISIONS),
        threads=None if _is_auto(settings, "threads") else settings.integer("threads", minimum=1, maximum=256),
        processes=None if _is_auto(settings, "processes") else settings.integer("processes", minimum=1, maximum=64),
        seed=settings.integer("seed", default=0, minimum=0, maximum=2**31 - 1),
        cache_bytes=settings.integer("cache_mb", default=1500, minimum=0) * 1_000_000,
        augmentation=_augmentation(settings),
    )


def _is_auto(settings: Settings, key: str) -> bool:
    return str(settings.get(key, _AUTO)).strip().lower() == _AUTO


def _input_size(settings: Settings) -> tuple[int, int] | None:
    """Reads "320" (a square) or "256x320" (height, width)."""
    if _is_auto(settings, "input_size"):
        return None
    parts = str(settings["input_size"]).lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):  # noqa: PLR2004 - height and width
        raise BadSettingError("input_size", f"wants auto, 320 or 256x320, not {settings['input_size']!r}")
    height, width = int(parts[0]), int(parts[-1])
    for side in (height, width):
        if side % _GRID or not _GRID <= side <= 4096:  # noqa: PLR2004
            raise BadSettingError("input_size", f"wants multiples of {_GRID} from {_GRID} to 4096, not {side}")
    return height, width


def _augmentation(settings: Settings) -> Augmentation:
    how = settings.text("augment", default="default", choices=("default", "upright", "none"))
    mosaic = settings.number("mosaic", default=0.0, minimum=0.0, maximum=1.0)
    if how == "none":
        return Augmentation(scale=(1.0, 1.0), aspect=0.0, flip_x=0.0, flip_y=0.0, gamma=0.0, gain=0.0, mosaic=mosaic)
    return Augmentation(flip_y=0.5 if how == "default" else 0.0, mosaic=mosaic)
