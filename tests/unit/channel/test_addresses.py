"""Several controllers as one target."""

import socket

import grpc
import pytest
from grpc import aio
from lodeworks.channel.addresses import addresses_of, agents_target, channel_target, split_target
from lodeworks.channel.errors import UnreachableError


def test_one_address_is_left_to_grpc() -> None:
    assert channel_target("lab.example:7443") == "lab.example:7443"
    assert addresses_of(" a:1, b:2 ,a:1,") == ("a:1", "b:2")


def test_several_addresses_become_one_list_in_their_order() -> None:
    assert channel_target("10.0.0.2:7443,10.0.0.1:8443") == "ipv4:10.0.0.2:7443,10.0.0.1:8443"
    assert channel_target("[::1]:1,10.0.0.1:2") == "ipv6:[::1]:1,[::ffff:10.0.0.1]:2"


def test_a_name_that_nobody_knows_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    assert channel_target("gone.invalid:1,10.0.0.1:2") == "ipv4:10.0.0.1:2"
    assert channel_target("gone.invalid:1,away.invalid:2") == "gone.invalid:1"


def test_agents_take_the_hosts_that_were_dialled_where_none_is_told() -> None:
    assert agents_target(":7444", server="a:7443,b:7443") == "a:7444,b:7444"
    assert agents_target("", server="a:7443") == "a:7444"
    assert agents_target("x:1,y:2", server="a:7443") == "x:1,y:2"
    # Each prefers another one, so that they spread.
    assert agents_target("x:1,y:2", server="a:7443", first=3) == "y:2,x:1"


@pytest.mark.parametrize("wrong", ["host", "host:", ":7443", "host:http"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(UnreachableError, match="is not an address"):
        split_target(wrong)


async def test_a_channel_goes_on_with_the_next_address() -> None:
    """Without TLS: that the list fails over is grpc's, and what we rely on."""

    async def started() -> tuple[aio.Server, int]:
        server = aio.server()
        handler = grpc.unary_unary_rpc_method_handler(answer)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", {"Get": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    async def answer(request: bytes, context: aio.ServicerContext) -> bytes:
        del context
        return request

    (first, one), (second, two) = await started(), await started()
    async with aio.insecure_channel(channel_target(f"127.0.0.1:{one},127.0.0.1:{two}")) as channel:
        call = channel.unary_unary("/t.T/Get")
        assert await call(b"x", timeout=10) == b"x"
        await first.stop(0)
        assert await call(b"y", timeout=10, wait_for_ready=True) == b"y"
    await second.stop(0)
