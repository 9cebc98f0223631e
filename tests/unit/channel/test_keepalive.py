"""The two ends of keepalive must bear each other."""

from lodeworks.channel import keepalive


def test_server_bears_the_pings_of_its_clients() -> None:
    server = dict(keepalive.SERVER_OPTIONS)
    client = dict(keepalive.CLIENT_OPTIONS)

    assert server["grpc.http2.min_recv_ping_interval_without_data_ms"] < client["grpc.keepalive_time_ms"]
    assert server["grpc.keepalive_permit_without_calls"] == client["grpc.keepalive_permit_without_calls"] == 1


def test_server_shares_its_port_with_nobody() -> None:
    assert dict(keepalive.SERVER_OPTIONS)["grpc.so_reuseport"] == 0
