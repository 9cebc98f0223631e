"""The addresses of an installation: one controller, or several that stand in for each other.

A server is named by ``host:port``, or by several of them with commas between. A channel to several connects to the
first that answers, in this order, and goes on with the next when that one ends: grpc does so for a list of numeric
addresses, so names are looked up when the channel is made. Every controller shows the same server name, so the
certificate is checked all the same.
"""

import ipaddress
import socket
from collections.abc import Sequence

from lodeworks.channel.errors import UnreachableError


def addresses_of(target: str) -> tuple[str, ...]:
    """Returns the single addresses of a target, each once, in their order."""
    found = (one.strip() for one in target.split(","))
    return tuple(dict.fromkeys(one for one in found if one)) or (target,)


def split_target(target: str) -> tuple[str, int]:
    """Splits ``host:port``; an IPv6 host stands in brackets. Raises UnreachableError."""
    host, colon, port = target.rpartition(":")
    if not colon or not port.isdecimal() or not host:
        raise UnreachableError(f"{target!r} is not an address; write host:port", target=target)
    return host.removeprefix("[").removesuffix("]"), int(port)


def channel_target(target: str) -> str:
    """Returns what grpc dials for a target. Blocks where several names have to be looked up."""
    several = addresses_of(target)
    if len(several) == 1:
        return several[0]
    found = list(dict.fromkeys(place for one in several for place in _looked_up(*split_target(one))))
    if not found:
        # None has an address now: grpc tells so, and looks again.
        return several[0]
    if all(address.version == 4 for address, _ in found):  # noqa: PLR2004 (of IP)
        return "ipv4:" + ",".join(f"{address}:{port}" for address, port in found)
    return "ipv6:" + ",".join(f"[{_as_v6(address)}]:{port}" for address, port in found)


def agents_target(told: str, *, server: str, first: int = 0) -> str:
    """Returns where agents connect: what the server told, with the hosts just dialled where it left them out.

    Args:
        told: ``host:port``, several with commas between; ``:port`` and an empty text leave out.
        server: What was dialled to be told so.
        first: Which of several to prefer, counted round: so that agents spread over them.
    """
    port = told.rpartition(":")[2]
    if told.startswith(":") or not told:
        dialled = [(one.rpartition(":")[0], split_target(one)[1]) for one in addresses_of(server)]
        several: Sequence[str] = [f"{host}:{port or people + 1}" for host, people in dialled]
    else:
        several = addresses_of(told)
    turn = first % len(several)
    return ",".join([*several[turn:], *several[:turn]])


def _looked_up(host: str, port: int) -> Sequence[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    try:
        return [(ipaddress.ip_address(host), port)]
    except ValueError:
        pass
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [(ipaddress.ip_address(str(answer[4][0]).partition("%")[0]), port) for answer in answers]


def _as_v6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return f"::ffff:{address}" if isinstance(address, ipaddress.IPv4Address) else str(address)
