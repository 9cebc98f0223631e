"""The least that moves bytes over gRPC and keeps them: hashes, writes, one fsync. What `content.py` compares with.

python benchmarks/content_peer.py TRUST FOLDER    prints its port; ends when its stdin is closed
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from lodeworks_controller.trust.installation import load_trust

MESSAGE_BYTES = 512 * 1024
PUT, GET = "/peer.Stream/Put", "/peer.Stream/Get"


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = folder / "kept-0"
        self._number = 0

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method == PUT:
            return grpc.stream_unary_rpc_method_handler(self._put)
        if handler_call_details.method == GET:
            return grpc.unary_stream_rpc_method_handler(self._get)
        return None

    def _put(self, messages: Iterator[bytes], context: Any) -> bytes:
        del context
        hasher = hashlib.sha256()
        self._number += 1
        path = self._folder / f"kept-{self._number}"  # a new file, as a store must: writing over one is cheaper
        with path.open("wb", buffering=0) as file:
            for data in messages:
                file.write(data)
                hasher.update(data)
            os.fsync(file.fileno())
        self._kept = path
        return hasher.hexdigest().encode()

    def _get(self, name: bytes, context: Any) -> Iterator[bytes]:
        del name, context
        with self._kept.open("rb", buffering=0) as file:
            while data := file.read(MESSAGE_BYTES):
                yield data


def main() -> None:
    """Serves until stdin is closed."""
    trust = load_trust(Path(sys.argv[1]), clock=lambda: datetime.now(UTC))
    chain, key = trust.listener_certificate(["localhost"])
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Handlers(Path(sys.argv[2])),))
    print(server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)])), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(0)


if __name__ == "__main__":
    main()
