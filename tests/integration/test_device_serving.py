"""The processes that serve on a device: real ones, found again, swapped under a client that does not stop asking."""

import asyncio
import http.client
import itertools
import json
import shutil
import signal
import time
from contextlib import asynccontextmanager

import pytest
from asking import allowed_gap_s
from lodeworks_device.serving.routes import Route
from lodeworks_device.supervisor import Instance, Supervisor
from lodeworks_runtime import load_package
from sound_package import break_weights, make_package, picture


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    for limit in (1, 300):
        make_package(folder / f"at-most-{limit}", max_detections=limit)
    return folder


@pytest.fixture
def supervisor(tmp_path):
    made = Supervisor(tmp_path / "serving", listen="127.0.0.1:0", threads=1)
    yield made
    made.shut_down()


async def until(condition, *, limit_s=30.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.01)


async def ready(supervisor, instance):
    deadline = time.monotonic() + 30
    while True:
        try:
            return await supervisor.ask(instance, "GET", "/ready")
        except OSError:
            assert supervisor.record(instance) is not None, supervisor.failure(instance)
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def served(supervisor, package, *, name="cells", number=1, confidence=None):
    instance = Instance(name, package.name)
    supervisor.start(instance, package=package)
    await ready(supervisor, instance)
    supervisor.route({name: Route(instance.socket, package.name, f"{name}@{number}", confidence)})
    return instance


def post(supervisor, target="/v1/algorithms/cells:infer", body=None, headers=None):
    connection = http.client.HTTPConnection(supervisor.http_address.removeprefix("http://"), timeout=10)
    try:
        connection.request("POST" if body is not None else "GET", target, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read(), dict(response.getheaders())
    finally:
        connection.close()


async def ask(supervisor, *arguments, **more):
    return await asyncio.to_thread(post, supervisor, *arguments, **more)


async def front_up(supervisor):
    supervisor.start_front()
    deadline = time.monotonic() + 30
    while True:
        try:
            return await ask(supervisor, "/v2/health/live")
        except OSError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


@asynccontextmanager
async def asking(supervisor, answers):
    """Asks every 50 ms and notes when which answer came."""

    async def one():
        begin = time.monotonic()
        status, body, headers = await ask(supervisor, body=picture())
        answers.append((begin, time.monotonic(), status, len(json.loads(body)["data"].get("results", ())), headers))

    async def keep_on():
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                group.create_task(one())
                await asyncio.sleep(0.05)

    stop = asyncio.Event()
    asker = asyncio.create_task(keep_on())
    yield
    stop.set()
    await asker


async def test_the_front_answers_as_the_package_does(supervisor, packages):
    await front_up(supervisor)
    await served(supervisor, packages / "at-most-300")
    status, body, headers = await ask(supervisor, body=picture(), headers={"Content-Type": "image/png"})
    assert status == 200
    told = json.loads(body)
    assert (told["code"], told["msg"]) == (0, "")
    boxes = load_package(packages / "at-most-300").predict_bytes(picture())
    assert len(boxes) > 1
    for box, entry in zip(boxes, told["data"]["results"], strict=True):
        assert entry["class_name"] == box.class_name
        assert entry["confidence"] == pytest.approx(box.score, abs=1e-4)
        rect = entry["rect"]
        assert (rect["left"], rect["top"], rect["width"], rect["height"]) == pytest.approx(
            (box.x, box.y, box.w, box.h), abs=1e-2
        )
    assert headers["X-Lode-Release"] == "cells@1"


async def test_the_front_takes_forms_and_refuses_what_is_no_picture(supervisor, packages):
    await front_up(supervisor)
    await served(supervisor, packages / "at-most-1")
    form = b"--b\r\nContent-Disposition: form-data; name=f; filename=a.png\r\n\r\n" + picture() + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    status, body, _ = await ask(supervisor, body=form, headers=headers)
    assert (status, len(json.loads(body)["data"]["results"])) == (200, 1)
    for sent, target, expected in [
        (b"no picture", "cells", 400),
        (b"", "cells", 400),
        (picture(), "nothing", 404),
    ]:
        status, body, _ = await ask(supervisor, f"/v1/algorithms/{target}:infer", body=sent)
        assert status == json.loads(body)["code"] == expected
        assert json.loads(body)["msg"]


async def test_threshold_health_metrics_and_list(supervisor, packages):
    await front_up(supervisor)
    assert (await ask(supervisor, "/v2/health/ready"))[0] == 200
    await served(supervisor, packages / "at-most-300", confidence=0.999999)
    assert json.loads((await ask(supervisor, body=picture()))[1])["data"]["results"] == []
    assert (await ask(supervisor, "/v2/health/ready"))[0] == 200
    listed = json.loads((await ask(supervisor, "/v1/algorithms"))[1])["data"]["algorithms"]
    assert [(entry["name"], entry["release"]) for entry in listed] == [("cells", "cells@1")]
    metrics = (await ask(supervisor, "/metrics"))[1].decode()
    assert 'lode_device_infer_seconds_count{algorithm="cells"} 1' in metrics


async def test_a_second_supervisor_finds_everything_and_starts_nothing_twice(supervisor, packages, tmp_path):
    await front_up(supervisor)
    instance = await served(supervisor, packages / "at-most-1")
    second = Supervisor(tmp_path / "serving", listen="127.0.0.1:0", threads=1)
    assert second.http_address == supervisor.http_address
    assert second.front == supervisor.front
    assert second.record(instance) == supervisor.record(instance)
    assert second.found() == [instance]
    second.start_front()
    second.start(instance, package=packages / "at-most-1")
    assert not second._children
    assert (await second.ask(instance, "POST", "/probe"))["ok"]


async def test_a_swap_leaves_no_gap_and_gives_only_old_or_new_answers(supervisor, packages):
    await front_up(supervisor)
    old = await served(supervisor, packages / "at-most-1")
    answers = []
    async with asking(supervisor, answers):
        await until(lambda: len(answers) > 5)
        new = await served(supervisor, packages / "at-most-300", number=2)
        await supervisor.end(old)
        seen = len(answers)
        await until(lambda: len(answers) > seen + 5)
    assert supervisor.record(old) is None
    assert supervisor.found() == [new]
    assert {status for _, _, status, _, _ in answers} == {200}
    kinds = {(headers["X-Lode-Release"], count > 1) for _, _, _, count, headers in answers}
    assert kinds == {("cells@1", False), ("cells@2", True)}
    ends = sorted(end for _, end, _, _, _ in answers)
    assert max(later - earlier for earlier, later in itertools.pairwise(ends)) < allowed_gap_s()


async def test_no_request_is_lost_while_a_process_starts_again(supervisor, packages):
    await front_up(supervisor)
    instance = await served(supervisor, packages / "at-most-1")
    answers = []
    async with asking(supervisor, answers):
        await until(lambda: len(answers) > 3)
        supervisor.kill(instance)
        await until(lambda: supervisor.record(instance) is None)
        assert supervisor.failure(instance).reason.value == "OUT_OF_MEMORY"
        supervisor.start(instance, package=packages / "at-most-1")
        seen = len(answers)
        await until(lambda: len(answers) > seen + 5)
    assert {status for _, _, status, _, _ in answers} == {200}


async def test_a_package_that_cannot_be_loaded_says_why(supervisor, packages, tmp_path):
    break_weights(packages / "at-most-1", tmp_path / "broken")
    instance = Instance("cells", "broken")
    supervisor.start(instance, package=tmp_path / "broken")
    await until(lambda: supervisor.record(instance) is None)
    failure = supervisor.failure(instance)
    assert failure.explained
    assert failure.reason.value in {"PACKAGE_INVALID", "START_FAILED"}
    damaged = tmp_path / "damaged"
    shutil.copytree(packages / "at-most-1", damaged)
    (damaged / "labels.txt").write_text("other\n")
    instance = Instance("cells", "damaged")
    supervisor.start(instance, package=damaged)
    await until(lambda: supervisor.record(instance) is None)
    assert "labels.txt" in supervisor.failure(instance).message


async def test_the_front_comes_back_at_its_address(supervisor, packages):
    await front_up(supervisor)
    address = supervisor.http_address
    supervisor.front.send(signal.SIGKILL)
    await until(lambda: supervisor.front is None)
    await front_up(supervisor)
    assert supervisor.http_address == address
