"""A controller as it is, with one kind of task more that does nothing, and one rpc more to submit it.

python benchmarks/task_queues/server.py --state DIR [--synchronous NORMAL]

Everything of the product is on: TLS, bearer tokens, roles, idempotency, audit, outbox. The submission does what every
service of the controller does that makes a task. Prints one JSON line once it serves.
"""

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lodeworks_controller.config import Config, load_config
from lodeworks_controller.storage.segments.pool import Pool

REQUIRES = "executor:true"
SERVICE = "lodeworks.benchmark.Queue"


def now() -> datetime:
    """Returns the present moment."""
    return datetime.now(UTC)


class NothingKind:
    """Runs `true`; makes nothing."""

    name = "nothing"
    prepares_alone = True

    async def prepare(self, task: Any) -> Any:
        """Builds the run."""
        from lodeworks_controller.domain.task.run import RunSpec  # noqa: PLC0415 (after the pool)

        return RunSpec(executor=REQUIRES, operations=("nothing",), resources=task.resources, limits=task.limits)

    async def finish(self, task: Any, outputs: Sequence[Any]) -> Any:
        """Has nothing to check."""
        del task, outputs

        async def commit(tx: Any) -> None:
            del tx

        return commit

    async def abandon(self, tx: Any, task: Any, outputs: Sequence[Any], reason: Any) -> None:
        """Has nothing to settle."""


class QueueServicer:
    """Submits tasks that do nothing, for people with a token and a role in the project."""

    def __init__(self, controller: Any) -> None:
        self._controller = controller
        self._store = controller.ground.store

    async def submit(self, request: Any, context: Any) -> Any:
        """Makes one task; the request is its request id."""
        from google.protobuf.wrappers_pb2 import StringValue  # noqa: PLC0415
        from lodeworks_controller.domain.identity import ProjectRole  # noqa: PLC0415
        from lodeworks_controller.domain.task.task import NewTask  # noqa: PLC0415
        from lodeworks_controller.service.idempotency import Once  # noqa: PLC0415
        from lodeworks_controller.service.project import enter  # noqa: PLC0415

        principal = await self._controller.gate.caller(context)
        once = Once(principal.actor, "benchmark.submit", request.value)
        async with self._store.transaction(brief=True) as tx:
            made = await once.result(tx)
            if made is not None:
                return StringValue(value=made)
            project = await enter(tx, principal, "default", ProjectRole.EDITOR)
            wish = NewTask(
                kind="nothing",
                project_id=project.id,
                title="nothing",
                spec={},
                created_by=principal.user_id,
                requires=frozenset({REQUIRES}),
            )
            task = await self._controller.engine.tasks.submit(tx, wish)
            await once.keep(tx, task.id)
        return StringValue(value=task.id)

    async def count(self, request: Any, context: Any) -> Any:
        """Returns how many tasks are in each state."""
        from google.protobuf.wrappers_pb2 import StringValue  # noqa: PLC0415

        del request
        await self._controller.gate.caller(context)
        async with self._store.snapshot() as tx:
            counts = await tx.tasks.counts()
        return StringValue(value=json.dumps({state.value: number for state, number in counts.items()}))

    def register(self, server: Any) -> None:
        """Adds the two rpcs to a server."""
        import grpc  # noqa: PLC0415
        from google.protobuf.wrappers_pb2 import StringValue  # noqa: PLC0415

        def handler(behavior: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                behavior, request_deserializer=StringValue.FromString, response_serializer=StringValue.SerializeToString
            )

        handlers = {"Submit": handler(self.submit), "Count": handler(self.count)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


async def serve(config: Config, pool: Pool) -> None:
    """Serves until told to stop."""
    from lodeworks_controller.wiring.controller import Controller  # noqa: PLC0415
    from lodeworks_controller.wiring.ground import grounded  # noqa: PLC0415

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with grounded(config, clock=now, pool=pool) as ground:
        controller = _with_queue(Controller(ground))
        async with controller.serving() as served:
            told = {"people": served.listen_port, "agents": served.agents_port, "ca": served.ca_fingerprint}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
            await stop.wait()


def _with_queue(controller: Any) -> Any:
    controller.engine.kinds.add(NothingKind())
    for_people = controller.for_people
    queue = QueueServicer(controller)
    controller.for_people = lambda agents_address: [*for_people(agents_address), queue.register]
    return controller


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--profile", type=Path, help="writes cProfile's figures here")
    parser.add_argument("--port", default="0", help="port of people; agents get the next")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config = load_config({"state": str(given.state)}, file=given.config)
    agents = str(int(given.port) + 1) if given.port != "0" else "0"
    config = replace(
        config, listen=f"127.0.0.1:{given.port}", listen_agents=f"127.0.0.1:{agents}", listen_metrics="", grace_s=0.5
    )
    pool = Pool(processes=1, memory_bytes=1024**3).start()
    try:
        if given.profile is None:
            asyncio.run(serve(config, pool))
            return
        import cProfile  # noqa: PLC0415

        with cProfile.Profile() as profile:
            asyncio.run(serve(config, pool))
        profile.dump_stats(given.profile)
    finally:
        pool.close()


if __name__ == "__main__":
    main()
