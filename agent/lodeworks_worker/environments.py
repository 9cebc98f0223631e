"""Which executors the interpreters of this machine can run: found out once at start, by asking each."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lodeworks_worker.drivers.mounts import private_mounts_refusal
from lodeworks_worker.errors import ConfigError
from lodeworks_worker.executors import Program, builtin_command

_PROBE_TIMEOUT_S = 60.0
# What an executor imports beside our own packages, and the extra that brings it.
_NEEDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "builtin:ingest": ("worker", ("lodeworks_builtin", "pyarrow", "cv2", "defusedxml")),
    "builtin:export": ("worker", ("lodeworks_builtin", "pyarrow", "defusedxml")),
    "builtin:generate": ("worker", ("lodeworks_builtin", "pyarrow", "numpy", "cv2")),
    "builtin:signals": ("worker", ("lodeworks_builtin", "pyarrow", "numpy", "cv2")),
    "builtin:thumbnails": ("worker", ("lodeworks_builtin", "pyarrow", "numpy", "cv2")),
    "builtin:analyze": ("worker", ("lodeworks_builtin", "pyarrow", "numpy")),
    "builtin:infer": ("worker", ("lodeworks_builtin", "pyarrow", "lodeworks_runtime", "onnxruntime", "cv2")),
    "builtin:mine": ("worker", ("lodeworks_builtin", "pyarrow", "lodeworks_runtime", "onnxruntime", "cv2")),
    "builtin:evaluate": ("evaluation", ("lodeworks_builtin", "pyarrow", "lodeworks_evaluation", "hotcoco")),
    "builtin:convert": (
        "convert",
        ("lodeworks_builtin", "lodeworks_converters", "onnx", "onnxruntime", "openvino", "nncf", "hotcoco"),
    ),
    "builtin:adopt": ("convert", ("lodeworks_builtin", "lodeworks_runtime", "onnx", "onnxruntime", "cv2")),
    "executor:detector": ("detector", ("lodeworks_detector", "torch", "onnx", "cv2")),
}
_PROBE = """
import hashlib, importlib.metadata, importlib.util, json, sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
lock = sorted({f"{one.name}=={one.version}" for one in importlib.metadata.distributions()})
digest = hashlib.sha256("\\n".join(lock).encode()).hexdigest()
print(json.dumps({"missing": missing, "lock": digest, "version": sys.version.split()[0]}))
"""


@dataclass(frozen=True, slots=True)
class Offer:
    """What the environments offer: programs by capability, and why others are not offered."""

    programs: Mapping[str, Program]
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Probed:
    python: str
    lock_digest: str
    missing: frozenset[str]


async def probe(environments: Mapping[str, Sequence[str]], *, base: Mapping[str, str]) -> Offer:
    """Asks interpreters what they can import.

    Args:
        environments: Capability, or `*` for all, → interpreters in the order of preference.
        base: The environment of the probes.

    Raises:
        ConfigError: A configured interpreter does not run.
    """
    pythons = sorted({python for paths in environments.values() for python in paths})
    probed = dict(zip(pythons, await asyncio.gather(*[_probe_one(one, base=base) for one in pythons]), strict=True))
    programs: dict[str, Program] = {}
    missing: dict[str, str] = {}
    for capability, (extra, modules) in _NEEDS.items():
        candidates = [probed[python] for python in environments.get(capability, environments.get("*", ()))]
        able = next((one for one in candidates if not one.missing.intersection(modules)), None)
        if able is not None:
            command = builtin_command(able.python, capability)
            programs[capability] = Program(command=command, lock_digest=able.lock_digest)
        elif candidates:
            first = candidates[0]
            lacking = ", ".join(name for name in modules if name in first.missing)
            missing[capability] = f"{first.python} lacks {lacking}: pip install 'lodeworks-platform[{extra}]' there"
        else:
            missing[capability] = "no interpreter is configured for it"
    return Offer(programs, missing)


async def own_programs(programs: Mapping[str, Program], *, base: Mapping[str, str]) -> Offer:
    """Returns the programs that the configuration names, but those that need mounts which the kernel refuses."""
    refusal = ""
    if any(program.private_mounts for program in programs.values()):
        refusal = await private_mounts_refusal(base)
    named = {f"executor:{name}": program for name, program in programs.items()}
    refused = {name: refusal for name, program in named.items() if program.private_mounts and refusal}
    return Offer({name: program for name, program in named.items() if name not in refused}, refused)


async def _probe_one(python: str, *, base: Mapping[str, str]) -> _Probed:
    modules = sorted({name for _, needed in _NEEDS.values() for name in needed})
    try:
        process = await asyncio.create_subprocess_exec(
            python,
            "-I",
            "-c",
            _PROBE,
            *modules,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(base),
            start_new_session=True,
        )
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            out, complaint = await process.communicate()
    except (OSError, TimeoutError) as error:
        raise ConfigError(f"the interpreter {python} of an environment does not run: {error}") from error
    if process.returncode != 0:
        words = complaint.decode(errors="replace").strip().splitlines()
        raise ConfigError(f"the interpreter {python} of an environment fails: {words[-1] if words else 'no output'}")
    told = json.loads(out)
    return _Probed(python=python, lock_digest=told["lock"], missing=frozenset(told["missing"]))
