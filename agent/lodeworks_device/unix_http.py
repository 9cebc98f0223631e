"""Asks a process on a Unix socket over HTTP, with the standard library alone: the agent stays small."""

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, *, timeout_s: float) -> None:
        super().__init__("algorithm", timeout=timeout_s)
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        # A Unix socket's path has at most 108 bytes; through the open folder it is short wherever the state lies.
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self._timeout_s)
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


def ask(path: Path, method: str, target: str, *, timeout_s: float) -> dict[str, Any]:
    """Returns the JSON object that a process answers. Blocks.

    Raises OSError while nobody answers there, TimeoutError (an OSError too) when the answer does not come in time.
    """
    connection = _Connection(path, timeout_s=timeout_s)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        data = response.read()
        if response.status != http.client.OK:
            raise OSError(f"{target} was answered with {response.status}: {data[:200].decode(errors='replace')}")
        told = json.loads(data)
    except (http.client.HTTPException, ValueError) as error:
        raise ConnectionError(f"{target} was not answered: {error}") from error
    finally:
        connection.close()
    if not isinstance(told, dict):
        raise ConnectionError(f"{target} was answered with something else")
    return told
