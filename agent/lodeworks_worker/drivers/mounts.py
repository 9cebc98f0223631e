"""Gives a program the real /in and /out, for executors that know no other paths."""

import asyncio
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

# The program sees the machine as it is, under a new root that has /in and /out besides.
_SCRIPT = """
set -e
root={root}
mkdir -p "$root"
mount -t tmpfs lodeworks "$root"
for entry in /* ; do
  name="${{entry#/}}"
  case "$name" in in|out) continue ;; esac
  if [ -L "$entry" ]; then cp -P "$entry" "$root/$name"
  elif [ -d "$entry" ]; then mkdir "$root/$name"; mount --rbind "$entry" "$root/$name"
  fi
done
mkdir "$root/in" "$root/out"
mount --bind {in_dir} "$root/in"
mount -o remount,bind,ro "$root/in" || true
mount --bind {out_dir} "$root/out"
exec chroot "$root" /bin/sh -c 'cd /out && exec "$@"' sh {command}
"""


_REFUSED = "this kernel refuses a private mount namespace; run this executor as an image with docker"


async def private_mounts_refusal(environment: Mapping[str, str]) -> str:
    """Returns why programs get no private mounts here, empty where they do; `environment` is what they run with."""
    try:
        asked = await asyncio.create_subprocess_exec(
            *_namespaces(),
            "true",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
        )
    except OSError as error:
        return f"{_REFUSED} ({error})"
    _, complaint = await asked.communicate()
    return f"{_REFUSED} ({complaint.decode(errors='replace').strip()})" if asked.returncode else ""


def _namespaces() -> list[str]:
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]


def private_mounts_command(command: Sequence[str], *, in_dir: Path, out_dir: Path, scratch: Path) -> list[str]:
    """Wraps a command so that it runs in a mount namespace of its own with /in and /out bound.

    Where the kernel refuses, the run ends at once and its log says so: the docker driver needs no such right.
    """
    script = _SCRIPT.format(
        root=shlex.quote(str(scratch)),
        in_dir=shlex.quote(str(in_dir)),
        out_dir=shlex.quote(str(out_dir)),
        command=shlex.join(command),
    )
    namespaces = _namespaces()
    refusal = f"echo '{_REFUSED}' >&2"
    guarded = f"{shlex.join([*namespaces, 'true'])} || {{ {refusal}; exit 126; }}; exec " + shlex.join(
        [*namespaces, "/bin/sh", "-c", script]
    )
    return ["/bin/sh", "-c", guarded]
