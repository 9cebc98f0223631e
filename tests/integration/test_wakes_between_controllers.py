"""What one controller knows wakes the other: notices of PostgreSQL, in words that the wakes understand."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from lodeworks_controller.domain.task.lane import Offer, Wants
from lodeworks_controller.service.wake import Wakes
from lodeworks_controller.storage.database.postgres_wakes import PostgresWakes

pytestmark = pytest.mark.postgres

PATIENCE_S = 10.0


async def joined(url: str, name: str, stack: AsyncExitStack) -> Wakes:
    wakes = Wakes()
    notices = PostgresWakes(url, origin=name, hear=wakes.hear)
    wakes.among_others(notices.tell)
    await stack.enter_async_context(notices.listening())
    return wakes


async def until_heard(here: Wakes, there: Wakes) -> None:
    """Waits until both listen: what is told before is lost, as hints may be."""
    with there.watching("hello") as signal:
        async with asyncio.timeout(PATIENCE_S):
            while not signal._event.is_set():
                here.task_changed("hello")
                await signal.wait(0.05)


async def test_a_wake_crosses_to_the_other_controller_and_does_not_echo(postgres_url: str) -> None:
    async with AsyncExitStack() as stack:
        ada, ben = await joined(postgres_url, "ada", stack), await joined(postgres_url, "ben", stack)
        await until_heard(ada, ben)
        ada.placer.clear()
        ben.placer.clear()
        ada.placer.set()
        assert await ben.placer.wait(PATIENCE_S)
        ada.placer.clear()
        with ben.watching("task") as changed, ben.polling("box", offer=Offer(), room=1) as bell:
            ada.task_changed("task")
            assert await changed.wait(PATIENCE_S)
            ada.ring("box")
            assert await bell.signal.wait(PATIENCE_S)
        assert not await ada.placer.wait(0.05), "what it told itself came back"


async def test_a_ready_task_rings_a_poll_that_suits_wherever_it_is_open(postgres_url: str) -> None:
    wants = Wants(frozenset({"builtin:nothing"}), gpus=1)
    async with AsyncExitStack() as stack:
        ada, ben = await joined(postgres_url, "ada", stack), await joined(postgres_url, "ben", stack)
        await until_heard(ada, ben)
        small = ben.polling("small", offer=Offer(frozenset({"builtin:nothing"})), room=1)
        large = ben.polling("large", offer=Offer(frozenset({"builtin:nothing"}), gpus=1), room=1)
        with small as too_small, large as suits:
            ada.ring_for(wants)
            assert await suits.signal.wait(PATIENCE_S)
            assert not too_small.signal._event.is_set()
