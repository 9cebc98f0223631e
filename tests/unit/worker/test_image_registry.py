"""Images: which name is pinned, who we are at a registry, what a failed pull means, what /img-man holds."""

import io
import tarfile
from types import SimpleNamespace

import pytest
from docker.errors import ImageNotFound, NotFound
from lodeworks_formats.image_manual import MOST_FILE_BYTES
from lodeworks_worker.config import Registry, load
from lodeworks_worker.errors import ConfigError
from lodeworks_worker.images.manual import ManualError, read_manual
from lodeworks_worker.images.registry import PullError, Registries, pinned, present, pull

ID = "sha256:" + "ab" * 32
DIGEST = "sha256:" + "cd" * 32


def _image(*digests):
    return SimpleNamespace(id=ID, attrs={"RepoDigests": list(digests)})


@pytest.mark.parametrize(
    ("reference", "digests", "expected"),
    [
        ("yolo:1", (), f"yolo@{ID}"),
        ("host:5000/yolo:1", (f"host:5000/yolo@{DIGEST}",), f"host:5000/yolo@{DIGEST}"),
        ("other/yolo:1", (f"host:5000/yolo@{DIGEST}",), f"other/yolo@{ID}"),
        (f"host:5000/yolo@{DIGEST}", (f"host:5000/yolo@{DIGEST}",), f"host:5000/yolo@{DIGEST}"),
        ("docker.io/library/yolo:1", (f"yolo@{DIGEST}",), f"yolo@{DIGEST}"),
        ("docker.io/team/yolo:1", (f"team/yolo@{DIGEST}",), f"team/yolo@{DIGEST}"),
        (ID, (), ID),
        ("abab", (), ID),
    ],
)
def test_an_image_is_pinned_by_the_registrys_digest_or_its_own_id(reference, digests, expected):
    assert pinned(_image(*digests), reference) == expected


def test_a_pinned_image_that_was_never_pushed_is_found_by_its_id():
    def get(name):
        if name != ID:
            raise ImageNotFound(name)
        return "the image"

    client = SimpleNamespace(images=SimpleNamespace(get=get))
    assert present(client, f"yolo@{ID}") == "the image"
    assert present(client, "yolo:1") is None


def test_the_login_of_a_registry_is_read_when_it_is_needed(tmp_path):
    secret = tmp_path / "password"
    registries = Registries({"host:5000": Registry("ada", str(secret))})
    assert registries.login("yolo:1") is None
    with pytest.raises(PullError, match="password file of registry host:5000"):
        registries.login("host:5000/yolo:1")
    secret.write_text("hush\n")
    assert registries.login("host:5000/team/yolo:1") == {"username": "ada", "password": "hush"}


@pytest.mark.parametrize(
    ("lines", "lasting"),
    [
        ([{"error": "manifest for host/yolo:1 not found"}], True),
        ([{"error": "no basic auth credentials"}], True),
        ([{"status": "Downloading"}, {"error": "connection reset by peer"}], False),
    ],
)
def test_a_failed_pull_says_whether_trying_again_helps(lines, lasting):
    client = SimpleNamespace(api=SimpleNamespace(pull=lambda *_args, **_options: lines))
    with pytest.raises(PullError, match="host/yolo:1 cannot be pulled") as told:
        pull(client, "host/yolo:1", registries=Registries())
    assert told.value.lasting is lasting


def test_progress_of_a_pull_rises_to_all_of_it():
    lines = [
        {"status": "Pulling fs layer", "id": "a"},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 5, "total": 10}},
        {"status": "Extracting", "id": "a", "progressDetail": {"current": 10, "total": 10}},
        {"status": "Pull complete", "id": "a"},
    ]
    told = []
    client = SimpleNamespace(
        api=SimpleNamespace(pull=lambda *_args, **_options: lines), images=SimpleNamespace(get=lambda name: name)
    )
    assert pull(client, "yolo:1", registries=Registries(), tell=lambda f, _m: told.append(f)) == "yolo:1"
    assert told == [0.0, 0.25, 1.0, 1.0]


def _engine(archives, removed):
    def archive(_container, path):
        if path not in archives:
            raise NotFound(path)
        return [archives[path]], {}

    api = SimpleNamespace(
        create_container=lambda *_args, **_options: {"Id": "c1"},
        get_archive=archive,
        remove_container=lambda name, **_options: removed.append(name),
    )
    return SimpleNamespace(api=api)


def _tar(*members):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def test_a_manual_is_read_through_links_and_the_container_goes(tmp_path):
    removed = []
    engine = _engine(
        {
            "/img-man": _tar(
                ("img-man/det/training-template.yaml", b"a: 1\n"),
                ("img-man/infer-template.yaml", "../app/infer.yaml"),
                ("img-man/loop.yaml", "loop.yaml"),
                ("img-man/readme.txt", b"no"),
            ),
            "/app/infer.yaml": _tar(("infer.yaml", "plain.yaml")),
            "/app/plain.yaml": _tar(("plain.yaml", b"b: 2\n")),
        },
        removed,
    )
    assert read_manual(engine, ID, name="reads") == {
        "det/training-template.yaml": "a: 1\n",
        "infer-template.yaml": "b: 2\n",
    }
    assert removed == ["reads", "reads"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a" * (MOST_FILE_BYTES + 1)])
def test_a_manual_that_is_no_text_or_too_large_is_refused(content):
    removed = []
    with pytest.raises(ManualError):
        read_manual(_engine({"/img-man": _tar(("img-man/a.yaml", content))}, removed), ID, name="reads")
    assert len(removed) == 2


def test_no_manual_is_no_files():
    assert read_manual(_engine({}, []), ID, name="reads") == {}


def test_registries_of_the_configuration(tmp_path):
    file = tmp_path / "worker.toml"
    file.write_text('[registries."host:5000"]\nusername = "ada"\npassword_file = "/p"\n')
    config = load({"state": str(tmp_path)}, environ={}, file=None)
    assert config.registries == {"host:5000": Registry("ada", "/p")}
    assert config.file == file
    assert load({"state": str(tmp_path)}, environ={"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}).visible_gpus == (
        "GPU-1",
        "GPU-2",
    )
    file.write_text('[registries."host:5000"]\nusername = "ada"\n')
    with pytest.raises(ConfigError, match=r"registries\.host:5000 needs a username and a password_file"):
        load({"state": str(tmp_path)}, environ={}, file=None)
