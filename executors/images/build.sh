#!/usr/bin/env bash
# Builds the executor images: lodeworks-detector:<version>, on a base that is pulled or made here by debootstrap.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=.venv/bin/python
base=${BASE:-python:3.11-slim}
version=$($python -c 'from importlib.metadata import version; print(version("lodeworks-platform"))')
docker=$([ -x /usr/bin/docker ] && echo /usr/bin/docker || command -v docker) ||
  { echo "docker is not installed: apt-get install -y docker.io" >&2; exit 1; }
$docker info >/dev/null 2>&1 || { echo "no docker engine answers; start it (dockerd) and repeat" >&2; exit 1; }

if ! $docker image inspect "$base" >/dev/null 2>&1 && ! timeout 120 $docker pull -q "$base" 2>/dev/null; then
  echo "no registry has $base for us; making a base of the same name from Debian's packages"
  command -v debootstrap >/dev/null || { echo "debootstrap is missing: apt-get install -y debootstrap" >&2; exit 1; }
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  mirror=$(awk '/^deb /{for(i=2;i<=NF;i++) if ($i ~ /^https?:/) {print $i; exit}} /^URIs:/{print $2; exit}' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true)
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$root" ${mirror:+"$mirror"} >/dev/null
  tar -C "$root" -c . | $docker import - "$base" >/dev/null
fi

context=$(mktemp -d)
trap 'rm -rf "${root:-}" "$context"' EXIT
echo "collecting wheels"
for part in converters executors/sdk .; do
  $python -m pip wheel -q --no-deps -w "$context/wheels" "./$part"
done
# Exactly what the lock says, so that the image trains as the process driver does.
$python executors/images/detector/requirements.py > "$context/requirements.txt"
$python -m pip download -q --no-deps -d "$context/wheels" -r "$context/requirements.txt"
cp executors/images/detector/{Dockerfile,start.sh} "$context/"
DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-0} $docker build -q --build-arg BASE="$base" -t "lodeworks-detector:$version" "$context"
echo "lodeworks-detector:$version"
