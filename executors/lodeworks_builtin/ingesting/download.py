"""Fetches a source from an address that a person named: a stranger's word, so every step is checked.

Only http and https; each name is resolved here, every address it has must be public, and the connection goes to the
very address that was checked. At most MAX_REDIRECTS redirects, each checked anew; a broken connection goes on where it
stopped.
"""

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import SplitResult, urljoin, urlsplit

from lodeworks_formats.errors import FormatError

from lodeworks_builtin.pace import Progress

MAX_REDIRECTS = 5

_CHUNK = 1 << 20
_TIMEOUT_S = 60.0
_BROKEN_OFTEN = 5
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_OK, _PARTIAL = 200, 206
_PORTS = {"http": 80, "https": 443}

Resolve = Callable[[str, int], list[str]]
"""Host and port → addresses."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be fetched: the most bytes, and whether from private networks and from this machine."""

    max_bytes: int = 1 << 40
    private: bool = False


def download(url: str, path: Path, *, limits: Limits, progress: Progress, resolve: Resolve | None = None) -> None:
    """Writes what an address answers into a file.

    Args:
        url: The address.
        path: The new file.
        limits: What the worker's owner allows.
        progress: Told about once a chunk; the whole download is the first half of the work.
        resolve: Looks names up.

    Raises:
        FormatError: BAD_URL, ADDRESS_NOT_ALLOWED, TOO_MANY_REDIRECTS, DOWNLOAD_FAILED, DOWNLOAD_TOO_LARGE.
    """
    fetch = _Fetch(path, limits, progress, resolve or _addresses)
    broken = 0
    with path.open("wb") as sink:
        while True:
            before = fetch.done
            try:
                if fetch.run(url, sink):
                    return
            except (OSError, http.client.HTTPException) as error:
                broken = broken + 1 if fetch.done == before else 1
                if broken >= _BROKEN_OFTEN:
                    message = f"{url} cannot be fetched ({error}); try again, or fetch it and import the file"
                    raise FormatError("DOWNLOAD_FAILED", message) from error


class _Fetch:
    """One download, over as many connections as it takes."""

    def __init__(self, path: Path, limits: Limits, progress: Progress, resolve: Resolve) -> None:
        self.done = 0
        self._path = path
        self._limits = limits
        self._progress = progress
        self._resolve = resolve
        self._tag = ""

    def run(self, url: str, sink: IO[bytes]) -> bool:
        """Follows redirects and reads the answer; says whether it is whole."""
        for _ in range(MAX_REDIRECTS + 1):
            connection, response = self._ask(url)
            try:
                if response.status in _REDIRECTS:
                    url = urljoin(url, response.getheader("Location") or "")
                    continue
                return self._take(url, response, sink)
            finally:
                response.close()
                connection.close()
        raise FormatError("TOO_MANY_REDIRECTS", f"{url} is the end of more than {MAX_REDIRECTS} redirects")

    def _ask(self, url: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        parts = checked_url(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        address = allowed_address(host, port, resolve=self._resolve, private=self._limits.private)
        connection = _Pinned(host, port, address=address, secure=parts.scheme == "https")
        headers = {"Accept-Encoding": "identity", "User-Agent": "lodeworks-import"}
        if self.done and self._tag:
            headers |= {"Range": f"bytes={self.done}-", "If-Range": self._tag}
        try:
            path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
            connection.request("GET", path, headers=headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def _take(self, url: str, response: http.client.HTTPResponse, sink: IO[bytes]) -> bool:
        if response.status not in (_OK, _PARTIAL):
            raise FormatError("DOWNLOAD_FAILED", f"{url} answered {response.status} {response.reason}")
        if response.status == _OK:
            self.done = 0
            sink.seek(0)
            sink.truncate()
        self._tag = response.getheader("ETag") or response.getheader("Last-Modified") or ""
        length = response.getheader("Content-Length")
        total = self.done + int(length) if length is not None and length.isdecimal() else 0
        self._refuse(url, total)
        while chunk := response.read(_CHUNK):
            self.done += len(chunk)
            self._refuse(url, self.done)
            sink.write(chunk)
            share = self.done / total / 2 if total else 0.0
            self._progress(share, f"fetching: {self.done >> 20} MiB{f' of {total >> 20}' if total else ''}")
        if total and self.done < total:
            raise http.client.IncompleteRead(b"", total - self.done)
        return True

    def _refuse(self, url: str, size_bytes: int) -> None:
        if size_bytes > self._limits.max_bytes:
            message = f"{url} has more than the {self._limits.max_bytes >> 20} MiB that this worker fetches"
            raise FormatError("DOWNLOAD_TOO_LARGE", message)


class _Pinned(http.client.HTTPConnection):
    """A connection to one address that was checked, whatever its name means by now."""

    def __init__(self, host: str, port: int, *, address: str, secure: bool) -> None:
        super().__init__(host, port, timeout=_TIMEOUT_S)
        self._address = address
        self._context = ssl.create_default_context() if secure else None

    def connect(self) -> None:
        """Connects, with the certificate checked against the name."""
        plain = socket.create_connection((self._address, self.port), _TIMEOUT_S)
        self.sock = plain
        if self._context is not None:
            self.sock = self._context.wrap_socket(plain, server_hostname=self.host)


def checked_url(url: str) -> SplitResult:
    """Returns the parts of an http or https address without a password; raises FormatError BAD_URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FormatError("BAD_URL", f"{url[:200]} is no address ({error})") from error
    if parts.scheme not in _PORTS or not parts.hostname or port == 0 or not url.isprintable() or " " in url:
        raise FormatError("BAD_URL", f"{url[:200]} is no http or https address")
    if parts.username or parts.password:
        raise FormatError("BAD_URL", "the address holds a user name or password, which would end up in reports")
    return parts


def allowed_address(host: str, port: int, *, resolve: Resolve, private: bool) -> str:
    """Returns an address of a host, all of whose addresses may be fetched from.

    Raises:
        FormatError: ADDRESS_NOT_ALLOWED.
        OSError: The name means nothing.
    """
    found = resolve(host, port)
    for text in found:
        address = ipaddress.ip_address(text.partition("%")[0])
        inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
        if not private and not (address.is_global and inner.is_global and not address.is_multicast):
            message = f"{host} is {text}, an address of a private network or of the worker itself"
            raise FormatError("ADDRESS_NOT_ALLOWED", f"{message}; see import_private_addresses in its worker.toml")
    return found[0]


def _addresses(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
