"""What a device loads when it imports the channel."""

import subprocess
import sys

import pytest

_PROGRAM = """
import importlib, pkgutil, sys, lodeworks.channel
for module in pkgutil.iter_modules(lodeworks.channel.__path__):
    importlib.import_module("lodeworks.channel." + module.name)
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("heavy", ["click", "rich", "httpx", "yaml", "numpy", "cryptography", "tuf", "pyarrow"])
def test_channel_loads_nothing_heavy(loaded: set[str], heavy: str) -> None:
    assert heavy not in loaded


def test_channel_loads_grpc(loaded: set[str]) -> None:
    assert "grpc" in loaded
