"""Keepalive of both ends, kept side by side because they only work together.

A server that allows fewer pings than its clients send answers GOAWAY too_many_pings; grpc's own default allows one in
five minutes.
"""

from typing import Final

CLIENT_PING_INTERVAL_MS: Final = 30_000
"""How often a client asks whether the connection still lives."""

CLIENT_PING_TIMEOUT_MS: Final = 10_000
"""How long a client waits for the answer before it gives the connection up."""

SERVER_MIN_PING_INTERVAL_MS: Final = 10_000
"""The shortest interval of client pings that the server bears."""

SERVER_PING_INTERVAL_MS: Final = 60_000
"""How often the server looks for clients that vanished without a word."""

CLIENT_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.keepalive_time_ms", CLIENT_PING_INTERVAL_MS),
    ("grpc.keepalive_timeout_ms", CLIENT_PING_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A controller that restarts is back within seconds; the callers' own backoff keeps storms away.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)
"""Channel arguments of every client."""

PROMPT_OPTIONS: Final[tuple[tuple[str, int], ...]] = (("grpc.max_reconnect_backoff_ms", 1_000),)
"""For workers beside: they hold leases, so they are back a second after their controller is."""

SERVER_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.http2.min_recv_ping_interval_without_data_ms", SERVER_MIN_PING_INTERVAL_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", SERVER_PING_INTERVAL_MS),
    ("grpc.keepalive_timeout_ms", CLIENT_PING_TIMEOUT_MS * 2),
    # By default a second server binds the same port and nobody notices.
    ("grpc.so_reuseport", 0),
)
"""Channel arguments of every server."""
