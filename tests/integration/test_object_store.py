"""A whole controller whose content is in an S3-compatible store: moto's server, which checks no signatures."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lodeworks.api.content.v1 import content_pb2, content_pb2_grpc
from lodeworks.channel.content_wire import ContentWire
from lodeworks.channel.dial import dial
from lodeworks.channel.download import download
from lodeworks.channel.streams import Streams
from lodeworks.channel.upload import blob_of_bytes, upload
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.storage.blobs.object_address import check_object_address
from lodeworks_controller.storage.blobs.placement import Pack
from lodeworks_controller.storage.blobs.repacking import LEAST_BYTES, MOST_BYTES, grouped
from lodeworks_controller.trust.installation import load_trust
from object_stores import make_bucket

CONTROLLER = str(Path(sys.executable).with_name("lode-controller"))
LARGE = os.urandom(1 << 20) * 9


def mib(number: float) -> int:
    return int(number * (1 << 20))


@contextmanager
def serving(state: Path, *, blobs: str, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Makes an installation and serves it; yields where people dial and the administrator's token."""
    init = [CONTROLLER, "init", "--state", state, "--blobs", blobs, "--json"]
    made = subprocess.run(init, check=True, capture_output=True, text=True, env=environment)
    serve = [CONTROLLER, "serve", "--state", state, "--listen", "127.0.0.1:0", "--listen-agents", "127.0.0.1:0"]
    command = [*serve, "--listen-metrics", ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().replace(",", "").split()[2], json.loads(made.stdout)["token"]
        finally:
            process.terminate()


async def test_content_goes_up_and_comes_down(s3_address: str, tmp_path: Path) -> None:
    make_bucket(s3_address, "content")
    environment = os.environ | {
        "AWS_ENDPOINT_URL": s3_address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    state = tmp_path / "state"
    with serving(state, blobs=f"s3://content/{tmp_path.name}", environment=environment) as (target, token):
        ca_pem = load_trust(state / "trust", clock=lambda: datetime.now(UTC)).authority.certificate_pem
        async with dial(target, ca_pem=ca_pem, token=token) as channel:
            scope = content_pb2.ProjectScope(project="default")
            wire = ContentWire(content_pb2_grpc.ContentServiceStub(channel), content_pb2, scope)
            blobs = [blob_of_bytes(f"picture {number}".encode()) for number in range(300)]
            large = blob_of_bytes(LARGE)
            await upload(wire, [*blobs, large])
            assert await upload(wire, [*blobs, large]) == 0
            streams = Streams(4, range_bytes=2 << 20)
            await download(wire, large.digest, tmp_path / "back", size_bytes=len(LARGE), streams=streams)
            async for piece in wire.read(blobs[7].digest, offset=3):
                assert piece.data == b"ture 7"
        assert (tmp_path / "back").read_bytes() == LARGE
        assert not list((state / "blobs").rglob(large.digest))


@pytest.mark.parametrize("url", ["s3://", "http://bucket", "bucket", "s3://bucket/prefix?region=x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidError):
        check_object_address(url)


def test_small_and_half_empty_packs_are_put_together() -> None:
    small = [Pack(f"{number}", mib(1), mib(1)) for number in range(300)]
    groups = grouped(small)
    assert [sum(pack.live_bytes for pack in group) for group in groups] == [MOST_BYTES, mib(44)]
    assert grouped(small[:1]) == []
    half_empty = Pack("h", LEAST_BYTES * 2, mib(10))
    assert grouped([half_empty]) == [[half_empty]]
