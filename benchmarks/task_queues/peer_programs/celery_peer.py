"""Celery with Redis: its worker's tasks, and the submitter that measures them. Arguments: tasks, latencies."""

import os
import sys
import time

import redis
from celery import Celery

URL = os.environ["PEER_URL"]
app = Celery("celery_peer", broker=URL)
app.conf.update(task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=64)


@app.task(name="nothing")
def nothing(key: str) -> None:
    """Does nothing but say that it ran, and when."""
    redis.Redis(connection_pool=_pool()).rpush("done", f"{key} {time.time()}")


_POOLS: list[redis.ConnectionPool] = []


def _pool() -> redis.ConnectionPool:
    if not _POOLS:
        _POOLS.append(redis.ConnectionPool.from_url(URL))
    return _POOLS[0]


def send(key: str) -> None:
    """Submits one task."""
    nothing.delay(key)


if __name__ == "__main__":
    from measured import measure

    measure(URL, send, tasks=int(sys.argv[-2]), latencies=int(sys.argv[-1]))
