"""Generates the stubs of both proto trees into the SDK; with --check only says whether they are up to date."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
TARGET = ROOT / "clients/python/lodeworks"
TREES = ("api", "agent")
SCRIPTS = Path(sysconfig.get_path("scripts"))


def _generate(out: Path) -> None:
    files = [str(path.relative_to(PROTO)) for path in sorted(PROTO.glob("lodeworks/**/*.proto"))]
    plugins = [f"--plugin=protoc-gen-{name}={SCRIPTS / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    outputs = [f"--{name}_out={out}" for name in ("python", "grpc_python", "mypy", "mypy_grpc")]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I", str(PROTO), *plugins, *outputs, *files], check=True, cwd=PROTO
    )
    for tree in TREES:
        root = out / "lodeworks" / tree
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
            (folder / "__init__.py").write_text('"""Generated from proto/; never edited."""\n')


def _golden(out: Path) -> None:
    """Writes the compiled API, the file that a review of the wire reads."""
    subprocess.run(
        [SCRIPTS / "buf", "build", "--exclude-source-info", "--exclude-imports", "-o", f"{out}#format=txtpb"],
        check=True,
        cwd=ROOT,
    )


def _same(left: Path, right: Path) -> bool:
    names = {path.relative_to(left) for path in left.rglob("*") if path.is_file() and path.suffix in {".py", ".pyi"}}
    others = {path.relative_to(right) for path in right.rglob("*") if path.is_file() and path.suffix in {".py", ".pyi"}}
    return names == others and all((left / name).read_bytes() == (right / name).read_bytes() for name in names)


def main() -> int:
    """Generates, or checks; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when something is out of date")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        _generate(out)
        _golden(out / "api.txtpb")
        stale = [tree for tree in TREES if not _same(out / "lodeworks" / tree, TARGET / tree)]
        golden = PROTO / "api.txtpb"
        if not golden.exists() or golden.read_bytes() != (out / "api.txtpb").read_bytes():
            stale.append("api.txtpb")
        if check:
            for name in stale:
                print(f"{name} does not match proto/: run `python proto/generate.py`", file=sys.stderr)
            return 1 if stale else 0
        for tree in TREES:
            shutil.rmtree(TARGET / tree, ignore_errors=True)
            shutil.move(out / "lodeworks" / tree, TARGET / tree)
        shutil.move(out / "api.txtpb", golden)
        # mypy keeps what it knew of the old stubs and reports attributes that are there as missing.
        shutil.rmtree(ROOT / ".mypy_cache", ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
