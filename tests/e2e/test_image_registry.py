"""Images in a registry that wants a login: pulled, pinned, pulled anew, shared."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import sample_images
from local_installation import LocalWorld, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REGISTRY = shutil.which("docker-registry")
_MISSING = sample_images.missing() or ("" if REGISTRY else "Debian's docker-registry is not installed")
pytestmark = [
    pytest.mark.docker,
    pytest.mark.soak,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(_MISSING), reason=_MISSING or "all is here"),
]
_CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/content}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: samples, path: {folder}/htpasswd}}}}
"""
_BCRYPT = "import crypt; print('ada:' + crypt.crypt('hush', crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=32)))"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry of our own that lets only ada in; its host and port."""
    folder = tmp_path_factory.mktemp("registry")
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    (folder / "config.yml").write_text(_CONFIG.format(folder=folder, port=port))
    word = subprocess.run([sys.executable, "-W", "ignore", "-c", _BCRYPT], check=True, capture_output=True, text=True)
    (folder / "htpasswd").write_text(word.stdout)
    assert REGISTRY is not None
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([REGISTRY, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        eventually(lambda: _answers(port), what="the registry")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _push(registry: str, reference: str, folder: Path) -> str:
    """Pushes an image as samples/one:1, and forgets that name here."""
    name = f"{registry}/samples/one:1"
    folder.mkdir(exist_ok=True)
    login = {"auths": {registry: {"auth": base64.b64encode(b"ada:hush").decode()}}}
    (folder / "config.json").write_text(json.dumps(login))
    sample_images.tag(reference, name)
    pushed = [str(sample_images.DOCKER), "--config", str(folder), "push", "-q", name]
    subprocess.run(pushed, check=True, capture_output=True, timeout=120)
    sample_images.untag(name)
    return name


@pytest.fixture
def world(tmp_path: Path, registry: str) -> Iterator[LocalWorld]:
    """An installation whose worker knows a wrong password at first."""
    world = LocalWorld(tmp_path)
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    folder = world.state / "worker"
    folder.mkdir(parents=True)
    (folder / "worker.toml").write_text(f'[registries."{registry}"]\nusername = "ada"\npassword_file = "{secret}"\n')
    world.up()
    yield world
    world.down()


def test_an_image_behind_a_login_is_pulled_and_pinned_anew(world: LocalWorld, registry: str, tmp_path: Path):
    staged, legacy = (sample_images.build(name, tmp_path / name) for name in ("staged", "legacy"))
    name = _push(registry, staged, tmp_path / "docker")
    refused = world.lode("executor", "add", "pulled", "--image", name, ok=False)
    assert refused.code == 1
    assert "the registry's login in worker.toml" in refused.err
    (tmp_path / "password").write_text("hush\n")
    first = world.json("executor", "add", "pulled", "--image", name)
    assert first["image"].startswith(f"{registry}/samples/one@sha256:")
    assert first["reference"] == name
    sample_images.untag(first["image"])
    _push(registry, legacy, tmp_path / "docker")
    same = world.json("executor", "pull", "pulled")
    assert same["image"] == first["image"], "what is pinned stays, whatever becomes of the tag"
    newest = world.json("executor", "pull", "pulled", "--newest")
    assert newest["image"] != first["image"]
    assert "learning_rate" in newest["templates"][0]["template_yaml"]
    absent = world.lode("executor", "add", "absent", "--image", f"{registry}/samples/absent:1", ok=False)
    assert "cannot be pulled" in absent.err
    world.lode("executor", "share", "pulled")
    assert [one["name"] for one in world.json("executor", "ls", "--public")] == ["pulled"]
    for image in (first["image"], newest["image"], name):
        sample_images.untag(image)
