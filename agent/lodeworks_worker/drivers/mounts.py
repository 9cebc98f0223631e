"""Gives a program the real /in and /out, for executors that know no other paths."""

import os
import shlex
from collections.abc import Sequence
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
    namespaces = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    refusal = "echo 'this kernel refuses a private mount namespace; run this executor as an image with docker' >&2"
    guarded = f"{shlex.join([*namespaces, 'true'])} || {{ {refusal}; exit 126; }}; exec " + shlex.join(
        [*namespaces, "/bin/sh", "-c", script]
    )
    return ["/bin/sh", "-c", guarded]
