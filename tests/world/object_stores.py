"""An S3 of our own for tests: moto's server, which checks no signatures."""

from __future__ import annotations

import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def running_s3() -> Iterator[str]:
    """Yields the address of a server; what it keeps is gone with it."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 (a second, for those who need it)

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_bucket(address: str, name: str) -> None:
    """Makes a bucket, harmless when it is there."""
    request = urllib.request.Request(f"{address}/{name}", method="PUT")
    with urllib.request.urlopen(request, timeout=10):
        return
