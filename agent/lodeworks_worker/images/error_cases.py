"""Bad input that an executor meets sooner or later, and what it should do about it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lodeworks_formats.image_check import Finding, FindingOutcome
from lodeworks_formats.ymir_results import EXECUTOR_CODES, FAILED

from lodeworks_worker.harvest.harvest import read_monitor
from lodeworks_worker.images.findings import advice, failed, passed
from lodeworks_worker.images.trial import Ended

_TELL = "write state 4 and a code (300001 config, 300002 dataset, 300003 picture format, …) into monitor.txt"


@dataclass(frozen=True, slots=True)
class ErrorCase:
    """One way in which /in can be wrong.

    Attributes:
        name: Stable.
        what: What is wrong, for people.
        spoil: Makes it wrong.
        may_go_on: Whether an executor may end with 0 all the same.
    """

    name: str
    what: str
    spoil: Callable[[Path], None]
    may_go_on: bool

    def judge(self, ended: Ended) -> list[Finding]:
        """Returns what the image made of it."""
        name = f"error.{self.name}"
        if ended.exit is None:
            return [failed(name, f"with {self.what} it never ends", "end with a code other than 0")]
        if ended.exit.succeeded:
            if self.may_go_on:
                return [passed(name, f"with {self.what} it goes on")]
            return [failed(name, f"with {self.what} it ends with 0 all the same", "end with a code other than 0")]
        told = read_monitor(ended.folder)
        if told is None or told.state != FAILED or told.code is None:
            return [advice(name, f"with {self.what} it ends with {_code(ended)} and tells no code", _TELL)]
        if told.code not in EXECUTOR_CODES:
            return [advice(name, f"with {self.what} it tells {told.code}, which is no code of the protocol", _TELL)]
        word = f"{told.code} {EXECUTOR_CODES[told.code]}"
        return [Finding(name, FindingOutcome.PASSED, f"with {self.what} it ends with {_code(ended)} and tells {word}")]


def _code(ended: Ended) -> str:
    assert ended.exit is not None
    return f"signal {ended.exit.signal}" if ended.exit.signal else f"exit code {ended.exit.code}"


def _rewritten(path: Path, data: bytes) -> None:
    """Writes a file anew: what lies in /in may be another name of a file in the cache."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "assets").rglob("*") if path.is_file())


def _bad_config(folder: Path) -> None:
    _rewritten(folder / "config.yaml", b"class_names: [bright\n  : }{\n")


def _missing_picture(folder: Path) -> None:
    _pictures(folder)[0].unlink()


def _broken_picture(folder: Path) -> None:
    _rewritten(_pictures(folder)[0], b"this is no picture")


def _no_pictures(folder: Path) -> None:
    for name in ("train-index.tsv", "candidate-index.tsv"):
        if (folder / name).exists():
            _rewritten(folder / name, b"")


CASES = (
    ErrorCase("config", "a config.yaml that is no YAML", _bad_config, may_go_on=False),
    ErrorCase("missing-picture", "a picture that is not there", _missing_picture, may_go_on=True),
    ErrorCase("broken-picture", "a picture that cannot be decoded", _broken_picture, may_go_on=True),
    ErrorCase("no-pictures", "an empty index", _no_pictures, may_go_on=True),
)
