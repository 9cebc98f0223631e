"""Dramatiq with Redis: its worker's actor, and the submitter that measures it. Arguments: tasks, latencies."""

import os
import sys
import time

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

URL = os.environ["PEER_URL"]
broker = RedisBroker(url=URL)
dramatiq.set_broker(broker)
_client = redis.Redis.from_url(URL)


@dramatiq.actor
def nothing(key: str) -> None:
    """Does nothing but say that it ran, and when."""
    _client.rpush("done", f"{key} {time.time()}")


def send(key: str) -> None:
    """Submits one task."""
    nothing.send(key)


if __name__ == "__main__":
    from measured import measure

    measure(URL, send, tasks=int(sys.argv[-2]), latencies=int(sys.argv[-1]))
