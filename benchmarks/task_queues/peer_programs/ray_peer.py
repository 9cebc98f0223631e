"""Ray on this machine, in memory only. Arguments: tasks, latencies."""

import json
import sys
import time

import ray

ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", object_store_memory=100_000_000)


@ray.remote(num_cpus=0.01)
def nothing() -> float:
    """Does nothing; returns when it ran."""
    return time.time()


def main() -> None:
    """Measures; prints one JSON line."""
    ray.get([nothing.remote() for _ in range(200)])
    times = []
    for _ in range(int(sys.argv[2])):
        began = time.time()
        times.append(ray.get(nothing.remote()) - began)
        time.sleep(0.01)
    tasks = int(sys.argv[1])
    began = time.time()
    ray.get([nothing.remote() for _ in range(tasks)])
    print(json.dumps({"per_s": tasks / (time.time() - began), "latencies_s": times}))


main()
