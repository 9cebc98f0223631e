"""The sample images of executors: built here, without network, from what pip has."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1] / "images"
DOCKER = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else shutil.which("docker")
BASE = "python:3.11-slim"
LEGACY, STAGED = "lodeworks-test/legacy:1", "lodeworks-test/staged:1"
_LABEL = "lodeworks.sample"
# Tests only: what older images install to speak the protocol, at the versions that it was written for.
_SITES = {
    "legacy": ("ymir-exc==1.1.0.523", "pydantic==1.10.*", "PyYAML", "typing_extensions"),
    "staged": ("PyYAML",),
}


def missing() -> str:
    """Says why the images cannot be built here; empty when they can."""
    if DOCKER is None:
        return "docker is not installed"
    if _docker("image", "inspect", BASE, ok=False) != 0:
        return f"no docker engine has the base image {BASE}; `make images` makes it"
    return ""


def build(name: str, folder: Path) -> str:
    """Builds `legacy` or `staged` in an empty folder, unless the same is there already, and returns its reference."""
    reference, mark = f"lodeworks-test/{name}:1", _mark(name)
    if _label(reference) == mark:
        return reference
    shutil.copytree(ROOT / name, folder)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder / "site"), *_SITES[name]],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"pip cannot fetch {', '.join(_SITES[name])}: {done.stderr[-300:]}")
    _docker("build", "-q", "--network", "none", "--label", f"{_LABEL}={mark}", "-t", reference, str(folder))
    return reference


def _mark(name: str) -> str:
    """Returns what tells one content of an image from another."""
    told = hashlib.sha256("\n".join(_SITES[name]).encode())
    for path in sorted(path for path in (ROOT / name).rglob("*") if path.suffix != ".pyc" and path.is_file()):
        told.update(path.read_bytes())
    return told.hexdigest()


def _label(reference: str) -> str:
    assert DOCKER is not None
    form = f'{{{{index .Config.Labels "{_LABEL}"}}}}'
    asked = [DOCKER, "image", "inspect", "-f", form, reference]
    return subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False).stdout.strip()


def broken(fault: str, folder: Path) -> str:
    """Builds `staged` with a fault in the templates of all its tasks, and returns its reference."""
    shutil.copytree(ROOT / "staged" / "img-man", folder / "img-man")
    for path in (folder / "img-man" / "det").glob("*.yaml"):
        told = yaml.safe_load(path.read_text("utf-8"))
        path.write_text(yaml.safe_dump({**told, "fault": fault}), "utf-8")
    (folder / "Dockerfile").write_text(f"FROM {STAGED}\nCOPY img-man /img-man\n")
    tag = f"lodeworks-test/broken-{fault.replace('_', '-')}:1"
    _docker("build", "-q", "--network", "none", "-t", tag, str(folder))
    return tag


def _docker(*arguments: str, ok: bool = True) -> int:
    assert DOCKER is not None
    done = subprocess.run([DOCKER, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert not ok or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.returncode


def tag(reference: str, name: str) -> None:
    """Gives an image another name."""
    _docker("tag", reference, name)


def untag(name: str) -> None:
    """Takes a name away."""
    _docker("rmi", name, ok=False)
