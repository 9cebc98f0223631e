"""HTTP requests to addresses that users chose: never to this machine itself or its link, unless the operator allows it.

What a name resolves to is checked when the connection is made, on the very addresses that are dialled, so a name that
answers differently the second time gains nothing. Redirects are not followed.
"""

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from lodeworks_controller.errors import InvalidError

if TYPE_CHECKING:
    import aiohttp

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_TIMEOUT_S: Final = 10.0
_READ_BYTES: Final = 64 * 1024
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class RefusedAddressError(Exception):
    """The address is none that webhooks may reach."""


class Reach:
    """Which addresses webhooks may reach.

    Args:
        allowed: Networks that the operator allows although they are this machine's or its link's, as CIDR.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        try:
            self._allowed = tuple(ipaddress.ip_network(text) for text in allowed)
        except ValueError as error:
            raise InvalidError("CONFIG_INVALID", f"webhook_networks: {error}", field="webhook_networks") from error

    def check_url(self, url: str) -> None:
        """Refuses an address that names a forbidden host by number; names are looked at when they are dialled."""
        host = urlsplit(url).hostname or ""
        try:
            self.check(ipaddress.ip_address(host))
        except RefusedAddressError as error:
            raise InvalidError("WEBHOOK_URL", str(error), field="url") from error
        except ValueError:
            if host.replace(".", "").isdigit():
                # 127.1 and 2130706433 are 127.0.0.1 to whoever dials them.
                why = f"{host} is no address; write all four numbers"
                raise InvalidError("WEBHOOK_URL", why, field="url") from None
            if host == "localhost" or host.endswith(".localhost"):
                try:
                    self.check(ipaddress.ip_address("127.0.0.1"))
                except RefusedAddressError as error:
                    raise InvalidError("WEBHOOK_URL", str(error), field="url") from error

    def check(self, address: Address) -> None:
        """Raises RefusedAddressError for an address of this machine, its link, or none that can be dialled."""
        real = _real(address)
        if any(real in network for network in self._allowed if network.version == real.version):
            return
        if real.is_loopback or real.is_link_local or real.is_unspecified or real.is_multicast or _reserved(real):
            raise RefusedAddressError(
                f"webhooks may not reach {address}: it is this machine's, its link's or reserved; an operator can "
                "allow its network with webhook_networks in the controller's configuration"
            )


class WebhookSender:
    """Sends webhooks by aiohttp, which is imported with the first one."""

    def __init__(self, reach: Reach, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._reach = reach
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> int:
        """Sends a request and returns the status of the answer; raises where none came."""
        self._reach.check_url(url)
        session = self._session or self._open()
        async with session.post(url, data=body, headers=dict(headers), allow_redirects=False) as response:
            await response.content.read(_READ_BYTES)
            return response.status

    async def close(self) -> None:
        """Closes the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> "aiohttp.ClientSession":
        import aiohttp  # noqa: PLC0415 (a quarter of a second that only who has webhooks should pay)
        from aiohttp.abc import AbstractResolver  # noqa: PLC0415

        class Checked(AbstractResolver):
            """Resolves names to the addresses that may be reached."""

            def __init__(self, reach: Reach) -> None:
                self._reach = reach
                self._inner = aiohttp.ThreadedResolver()

            async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_UNSPEC) -> Any:
                found = await self._inner.resolve(host, port, family)
                for entry in found:
                    self._reach.check(ipaddress.ip_address(entry["host"].partition("%")[0]))
                return found

            async def close(self) -> None:
                await self._inner.close()

        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        connector = aiohttp.TCPConnector(resolver=Checked(self._reach), limit_per_host=8, use_dns_cache=False)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            headers={"user-agent": "lodeworks-webhook"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self._session


def _real(address: Address) -> Address:
    """Returns the address that is meant: an IPv4 one may travel inside an IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour
        if inside is not None:
            return inside
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _reserved(address: Address) -> bool:
    # Python counts private networks of IPv4 as private, not reserved: a lab's receivers live there.
    return address.is_reserved
