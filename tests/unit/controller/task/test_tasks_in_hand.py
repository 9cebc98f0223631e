import asyncio
from dataclasses import dataclass

import pytest
from lodeworks_controller.service.tasks_in_hand import LOOK_AT, TasksInHand


@dataclass(frozen=True)
class Some:
    id: str


class Hall:
    """Work that is done once the door of its task opens."""

    def __init__(self):
        self.begun, self.looked = [], 0
        self.door = asyncio.Event()
        self.hands = TasksInHand("try", work=self._work, look_again=self._look)

    async def _work(self, task):
        self.begun.append(task.id)
        await self.door.wait()

    def _look(self):
        self.looked += 1


def some(count):
    return [Some(str(number)) for number in range(count)]


@pytest.fixture
async def hall():
    made = Hall()
    yield made
    await made.hands.stop()


async def test_a_task_is_taken_up_once_while_it_is_in_hand(hall):
    hall.hands.take_up(some(2))
    hall.hands.take_up(some(3))
    hall.door.set()
    await hall.hands.drain()
    assert hall.begun == ["0", "1", "2"]
    hall.hands.take_up(some(1))
    await hall.hands.drain()
    assert hall.begun[3:] == ["0"]


async def test_full_hands_look_again_as_soon_as_there_is_room(hall):
    hall.hands.take_up(some(LOOK_AT))
    assert hall.hands.full
    assert hall.looked == 0
    hall.door.set()
    await hall.hands.drain()
    assert not hall.hands.full
    assert hall.looked > 0


async def test_who_saw_all_there_is_does_not_look_again(hall):
    hall.hands.take_up(some(LOOK_AT - 1))
    hall.door.set()
    await hall.hands.drain()
    assert hall.looked == 0


async def test_what_is_dropped_can_be_taken_up_again(hall):
    hall.hands.take_up(some(1))
    await hall.hands.stop()
    hall.door.set()
    hall.hands.take_up(some(1))
    await hall.hands.drain()
    assert hall.begun == ["0"]
