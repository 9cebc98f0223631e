"""Procrastinate with PostgreSQL: worker and submitter in one program. Arguments: worker|measure, tasks, latencies."""

import asyncio
import json
import os
import sys
import time

import procrastinate
import psycopg

URL = os.environ["PEER_URL"]
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=URL))


@app.task(name="nothing")
async def nothing(key: str) -> None:
    """Does nothing but say when it ran."""
    async with app.connector.pool.connection() as connection:  # type: ignore[attr-defined]
        await connection.execute("INSERT INTO done VALUES (%s, %s)", (key, time.time()))


async def work() -> None:
    """Works until ended."""
    async with app.open_async():
        await app.run_worker_async(concurrency=32, install_signal_handlers=False)


async def measure(tasks: int, latencies: int) -> None:
    """Submits one by one for the latency, then several at once for the rate."""
    async with app.open_async(), await psycopg.AsyncConnection.connect(URL, autocommit=True) as connection:

        async def count(prefix: str) -> int:
            found = await connection.execute("SELECT count(*) FROM done WHERE key LIKE %s", (f"{prefix}%",))
            row = await found.fetchone()
            assert row is not None
            return int(row[0])

        begins = []
        for number in range(latencies):
            begins.append(time.time())
            await nothing.defer_async(key=f"l{number}")
            while await count("l") <= number:
                await asyncio.sleep(0.001)
        found = await connection.execute("SELECT at FROM done WHERE key LIKE 'l%%' ORDER BY at")
        times = [at - began for (at,), began in zip(await found.fetchall(), begins, strict=True)]
        began = time.time()
        numbers = iter(range(tasks))

        async def submit() -> None:
            for number in numbers:
                await nothing.defer_async(key=f"t{number}")

        await asyncio.gather(*(submit() for _ in range(8)))
        while await count("t") < tasks:
            await asyncio.sleep(0.05)
        print(json.dumps({"per_s": tasks / (time.time() - began), "latencies_s": times}))


async def prepare() -> None:
    """Makes the tables."""
    async with app.open_async(), await psycopg.AsyncConnection.connect(URL, autocommit=True) as connection:
        await app.schema_manager.apply_schema_async()
        await connection.execute("CREATE TABLE done (key text, at double precision)")


if __name__ == "__main__":
    what = sys.argv[1]
    if what == "worker":
        asyncio.run(work())
    elif what == "prepare":
        asyncio.run(prepare())
    else:
        asyncio.run(measure(int(sys.argv[2]), int(sys.argv[3])))
