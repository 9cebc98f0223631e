"""What happened is told: signed webhooks in order, messages, the audit log; and schedules make tasks once."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from controller_world import Installation, installation
from lodeworks.errors import InvalidError, LodeError, NotFoundError
from lodeworks.profile import Profile
from lodeworks.resources.client import AsyncClient
from lodeworks_controller.domain.clock import to_micros
from lodeworks_controller.domain.schedule import Fire
from lodeworks_controller.service.firing import Firing
from lodeworks_controller.service.presence import Presence

LOOPBACK = ("127.0.0.0/8",)


async def until(condition: Callable[[], Awaitable[bool]], *, limit_s: float = 20.0) -> None:
    async with asyncio.timeout(limit_s):
        while not await condition():  # noqa: ASYNC110 (what is waited for happens elsewhere)
            await asyncio.sleep(0.02)


@dataclass
class Receiver:
    """A receiver of webhooks that checks what a careful one checks."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    heard: list[dict] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = self.answers.pop(0) if self.answers else 204
        if status < 300:
            self.heard.append(json.loads(body))
            self.headers.append({key.lower(): value for key, value in request.headers.items()})
            self.bodies.append(body)
        return web.Response(status=status, headers={"location": "http://127.0.0.1:1/"} if status == 302 else None)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/lode", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/lode"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client_of(place: Installation) -> AsyncIterator[AsyncClient]:
    profile = Profile(name="test", server=place.people, token=place.token, ca_pem=place.ca_pem.decode())
    async with AsyncClient(profile) as client:
        yield client


async def fail(place: Installation, title: str) -> str:
    """Makes a task that fails at once, since its inputs make no run."""
    return (await place.submit(title=title, spec={"bad": True})).id


async def test_a_webhook_hears_in_order_what_happened_and_can_prove_from_whom(tmp_path: Path):
    async with (
        receiving() as receiver,
        installation(tmp_path, webhook_networks=LOOPBACK) as place,
        client_of(place) as client,
    ):
        project = await client.project()
        made = await project.webhooks.add("chat", url=receiver.url, topics=["task.*"])
        task_id = await fail(place, "first")
        await until(lambda: _true(receiver.heard))
        heard, headers = receiver.heard[0], receiver.headers[0]
        assert heard["type"] == "task.failed"
        assert heard["data"]["task_id"] == task_id
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + receiver.bodies[0]
        key = base64.b64decode(made.secret.removeprefix("whsec_"))
        expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert (await project.webhooks.get("chat")).secret == made.secret

        async def received() -> bool:
            return [one.state async for one in project.webhooks.deliveries("chat", state="delivered")] != []

        await until(received)


async def _true(value: object) -> bool:
    return bool(value)


async def test_what_a_receiver_does_not_take_waits_and_nothing_of_its_subject_overtakes_it(tmp_path: Path):
    async with (
        receiving() as receiver,
        installation(tmp_path, webhook_networks=LOOPBACK) as place,
        client_of(place) as client,
    ):
        project = await client.project()
        await project.webhooks.add("chat", url=receiver.url, topics=["story.*"])
        receiver.answers = [500, 302]  # a redirect is not followed, and is no receipt
        store = place.controller.ground.store
        async with store.transaction() as tx:
            for number in range(3):
                await tx.outbox.add("story.told", {"part": number}, subject="a", project_id=place.project_id)
            await tx.outbox.add("story.told", {"part": "other"}, subject="b", project_id=place.project_id)
            tx.on_commit(place.controller.ground.wakes.outbox.set)

        async def tried_twice() -> bool:
            found = [one async for one in project.webhooks.deliveries("chat")]
            return sum(len(one.tries) for one in found) >= 2 and not receiver.answers

        await until(tried_twice)
        waiting = [one async for one in project.webhooks.deliveries("chat", state="waiting")]
        assert {one.tries[-1].status for one in waiting if one.tries} <= {500, 302}
        async with store.snapshot() as tx:
            webhook = (await tx.webhooks.list())[0]
            due = await tx.webhooks.due(webhook.id, now=tx.now() + timedelta(days=1), limit=10)
        assert len({one.subject for one in due}) == len(due)  # the first of each subject only
        for _ in range(4):
            async with store.transaction() as tx:
                for one in await tx.webhooks.due(webhook.id, now=tx.now() + timedelta(days=1), limit=10):
                    await tx.webhooks.begin_again(one.begun_again(at=tx.now()))
            count = len(receiver.heard)
            place.controller.ground.wakes.webhooks.set()
            if count == 4:
                break
            await until(lambda count=count: _true(len(receiver.heard) > count))
        assert [one["data"]["part"] for one in receiver.heard if one["data"]["part"] != "other"] == [0, 1, 2]
        assert webhook.name == "chat"


async def test_a_receiver_that_hangs_holds_up_no_other(tmp_path: Path):
    held = set[asyncio.StreamWriter]()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.add(writer)
        await reader.read()
        writer.close()
        held.discard(writer)

    async with (
        await asyncio.start_server(hang, "127.0.0.1", 0) as hanging,
        receiving() as receiver,
        installation(tmp_path, webhook_networks=LOOPBACK) as place,
        client_of(place) as client,
    ):
        project = await client.project()
        await project.webhooks.add("hangs", url=f"http://127.0.0.1:{hanging.sockets[0].getsockname()[1]}/")
        for _ in range(20):
            await project.webhooks.test("hangs")
        await until(lambda: _true(held))
        await project.webhooks.add("works", url=receiver.url)
        begun = asyncio.get_running_loop().time()
        await project.webhooks.test("works")
        await until(lambda: _true(receiver.heard), limit_s=8)
        assert asyncio.get_running_loop().time() - begun < 8  # and the first one has ten seconds a try
    await until(lambda: _true(not held))


async def test_a_delivery_that_was_given_up_is_told_and_can_be_sent_again(tmp_path: Path):
    async with (
        receiving() as receiver,
        installation(tmp_path, webhook_networks=LOOPBACK) as place,
        client_of(place) as client,
    ):
        project = await client.project()
        await project.webhooks.add("chat", url=receiver.url)
        receiver.answers = [503]
        sent = await project.webhooks.test("chat")
        store = place.controller.ground.store

        async def tried() -> bool:
            return [one async for one in project.webhooks.deliveries("chat") if one.tries] != []

        await until(tried)
        async with store.transaction() as tx:  # the pauses of twelve tries, in one step
            webhook = (await tx.webhooks.list())[0]
            delivery = await tx.webhooks.delivery(webhook.id, sent.id)
            assert delivery is not None
            await tx.webhooks.begin_again(replace(delivery, attempts=11, not_before=tx.now()))
        receiver.answers = [503]
        place.controller.ground.wakes.webhooks.set()

        async def dead() -> bool:
            return (await project.webhooks.get("chat")).webhook.dead == 1

        await until(dead)

        async def told() -> bool:
            return [one.topic async for one in client.messages.list()] == ["webhook.dead"]

        await until(told)
        assert await project.webhooks.redeliver("chat") == 1
        await until(lambda: _true([one for one in receiver.heard if one["type"] == "webhook.test"]))
        assert await project.webhooks.redeliver("chat", sent.id) == 1
        with pytest.raises(NotFoundError):
            await project.webhooks.redeliver("chat", "0" * 26)
        await project.webhooks.delete("chat")
        assert [one async for one in project.webhooks.list()] == []


async def test_webhooks_do_not_reach_this_machine_unless_it_is_allowed(tmp_path: Path):
    async with installation(tmp_path) as place, client_of(place) as client:
        project = await client.project()
        with pytest.raises(InvalidError, match="webhook_networks"):
            await project.webhooks.add("self", url="http://127.0.0.1:9464/metrics")
        # A name is looked at when it is dialled; this one is 127.0.0.1.
        await project.webhooks.add("name", url="http://0x7f.1:9464/metrics")
        await project.webhooks.test("name")

        async def refused() -> bool:
            found = [one async for one in project.webhooks.deliveries("name") if one.tries]
            return any("may not reach" in one.tries[0].error for one in found)

        await until(refused)


async def test_people_read_how_their_tasks_ended(tmp_path: Path):
    async with installation(tmp_path) as place, client_of(place) as client:
        me = (await client.users.whoami()).user
        task = await place.submit(title="a doomed task", spec={"bad": True}, created_by=me.id)

        async def told() -> bool:
            return [one.subject async for one in client.messages.list(unread=True)] == [task.id]

        await until(told)
        message = await anext(client.messages.list())
        assert "a doomed task" in message.text
        assert f"lode task show {task.id}" in message.text
        with pytest.raises(NotFoundError):
            await client.messages.read(["0" * 26])
        assert await client.messages.read([message.id]) == 1
        assert await client.messages.read() == 0
        assert [one async for one in client.messages.list(unread=True)] == []
        other = await client.users.add("bea")
        profile = replace(client.profile, token=other.token)
        async with AsyncClient(profile) as bea:
            assert [one async for one in bea.messages.list()] == []
            with pytest.raises(NotFoundError):
                await bea.messages.read([message.id])


async def test_the_audit_log_is_shown_page_by_page_to_who_may_see_it_and_refuses_changes(tmp_path: Path):
    async with installation(tmp_path) as place, client_of(place) as client:
        project = await client.project()
        begun = datetime.now(UTC)
        for number in range(3):
            await client.projects.create(f"made-{number}")
        mine = [entry async for entry in client.audit.list(actor="ada", action="project.*", since=begun)]
        assert len(mine) == 3
        assert {(entry.action, entry.actor_name) for entry in mine} == {("project.create", "ada")}
        assert [entry async for entry in client.audit.list(until=begun - timedelta(days=1))] == []
        ours = [entry async for entry in project.audit.list()]
        assert {entry.project_id for entry in ours} <= {place.project_id}
        bea = await client.users.add("bea")
        await project.add_member("bea", "editor")
        async with AsyncClient(replace(client.profile, token=bea.token)) as editor:
            with pytest.raises(LodeError) as refused:
                _ = [entry async for entry in editor.audit.list()]
            assert refused.value.reason == "ROLE_TOO_LOW"
            with pytest.raises(LodeError):
                _ = [entry async for entry in (await editor.project()).audit.list()]
        followed = client.audit.follow(action="project.create", since=begun)
        seen = [(await anext(followed)).subject for _ in range(3)]
        await client.projects.create("made-later")
        later = await asyncio.wait_for(anext(followed), 20)
        assert later.id not in seen
        assert later.action == "project.create"


async def test_a_schedule_makes_its_task_once_however_many_controllers_fire(tmp_path: Path):
    async with installation(tmp_path) as place, client_of(place) as client:
        project = await client.project()
        made = await project.schedules.add(
            "nightly",
            cron="30 2 * * *",
            time_zone="Europe/Berlin",
            what=lambda noting: noting.datasets.generate(to="made", count=4, seed=1),
        )
        assert made.method == "dataset.generate"
        assert [one async for one in client.tasks.list()] == []  # noted, not carried out
        store, operations = place.controller.ground.store, place.controller.operations
        async with store.transaction() as tx:
            schedule = await tx.schedules.get(made.id)
            assert schedule is not None
            await tx.schedules.swap(schedule, replace(schedule, next_at=tx.now() - timedelta(seconds=1)))
        others = [
            Firing(store, methods=operations.methods, wakes=place.controller.ground.wakes) for _ in range(3)
        ]  # as many controllers, at once
        await asyncio.gather(*(other.fire_due() for other in others))
        fires = [one async for one in project.schedules.fires("nightly")]
        tasks = [one async for one in project.tasks.list()]
        made_tasks = [one for one in fires if one.task_id]
        assert len(tasks) == len(made_tasks) <= 1

        async with store.transaction() as tx:  # a fire whose controller died before its task was made, and after
            moment = tx.now()
            await tx.schedules.add_fire(Fire(made.id, moment))
            assert not await tx.schedules.add_fire(Fire(made.id, moment))
        await asyncio.gather(*(other.fire_due() for other in others))
        again = [one async for one in project.schedules.fires("nightly") if one.state == 2]
        assert len(again) == len(made_tasks) + 1
        assert len({one.task_id for one in again}) == len(again)
        tasks = [one async for one in project.tasks.list()]
        assert len(tasks) == len(again)
        assert to_micros(moment) > 0

        assert (await project.schedules.pause("nightly")).paused
        assert not (await project.schedules.resume("nightly")).paused
        await project.schedules.delete("nightly")
        with pytest.raises(NotFoundError):
            await project.schedules.get("nightly")


async def test_a_schedule_acts_in_the_name_of_who_made_it_and_says_when_it_may_not(tmp_path: Path):
    async with installation(tmp_path) as place, client_of(place) as client:
        project = await client.project()
        bea = await client.users.add("bea")
        await project.add_member("bea", "editor")
        async with AsyncClient(replace(client.profile, token=bea.token)) as editor:
            theirs = await editor.project()
            made = await theirs.schedules.add(
                "weekly", cron="@weekly", what=lambda noting: noting.datasets.generate(to="made", count=2)
            )
        await project.remove_member("bea")
        store, operations = place.controller.ground.store, place.controller.operations
        async with store.transaction() as tx:
            await tx.schedules.add_fire(Fire(made.id, tx.now()))
        await Firing(store, methods=operations.methods, wakes=place.controller.ground.wakes).fire_due()

        async def refused() -> bool:
            return [one.state async for one in project.schedules.fires("weekly")] == [4]

        await until(refused)
        fire = await anext(project.schedules.fires("weekly"))
        assert "there is no project" in fire.message
        with pytest.raises(InvalidError) as wrong:
            await project.schedules.add("x", cron="61 * * * *", what=lambda it: it.datasets.generate(to="a", count=1))
        assert wrong.value.reason == "CRON_INVALID"
        with pytest.raises(InvalidError, match="made no task"):
            await project.schedules.add("x", cron="@daily", what=lambda it: it.schedules.get("weekly"))


async def test_a_worker_that_falls_silent_is_told_once(tmp_path: Path):
    async with installation(tmp_path) as place:
        ground = place.controller.ground
        worker_id, channel, _ = await place.enrol("rack-1")
        await channel.close()
        presence = Presence(ground.store, terms=ground.terms, wakes=ground.wakes)
        async with ground.store.transaction() as tx:
            worker = await tx.workers.get(worker_id)
            await tx.workers.put(replace(worker, last_seen_at=tx.now()))
        await presence.look()
        async with ground.store.transaction() as tx:
            worker = await tx.workers.get(worker_id)
            await tx.workers.put(replace(worker, last_seen_at=tx.now() - timedelta(hours=1)))
        await presence.look()
        await presence.look()
        async with client_of(place) as client:

            async def told() -> bool:
                return [one.topic async for one in client.messages.list()] == ["worker.lost"]

            await until(told)
