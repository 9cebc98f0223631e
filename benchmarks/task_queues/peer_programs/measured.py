"""How a peer with Redis is measured: tasks that say in a list when they ran. Prints one JSON line."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import redis

SUBMITTERS = 4
WITHIN_S = 120


def measure(url: str, send: Callable[[str], None], *, tasks: int, latencies: int) -> None:
    """Submits one by one for the latency, then from several threads for the rate."""
    client = redis.Redis.from_url(url)
    send("warm")
    client.blpop(["done"], timeout=60)
    times = []
    for number in range(latencies):
        began = time.time()
        send(f"l{number}")
        answer = client.blpop(["done"], timeout=30)
        assert answer is not None, "the worker does not answer"
        times.append(float(answer[1].split()[1]) - began)
        time.sleep(0.01)
    began = time.time()
    with ThreadPoolExecutor(SUBMITTERS) as pool:
        list(pool.map(lambda number: send(f"t{number}"), range(tasks)))
    while client.llen("done") < tasks:
        time.sleep(0.02)
        assert time.time() - began < WITHIN_S, "the worker is not done within two minutes"
    print(json.dumps({"per_s": tasks / (time.time() - began), "latencies_s": times}))
