#!/usr/bin/env bash
# Says which apt packages are missing before anything is installed.
set -eu
missing=()
command -v git >/dev/null || missing+=(git)
command -v python3 >/dev/null || missing+=(python3)
if command -v python3 >/dev/null; then
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "Python 3.11 or newer is needed; this is $(python3 --version)" >&2; exit 1; }
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
fi
if [ ${#missing[@]} -gt 0 ]; then
  echo "please install first: apt-get install -y ${missing[*]}" >&2
  exit 1
fi
