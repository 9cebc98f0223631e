"""The device agent against a real controller: real trust, real packages, real processes."""

import asyncio
import http.client
import json
import os
import signal
import socket
from dataclasses import replace

import asking
import pytest
from device_world import client_asking, device_world, until
from lodeworks.errors import LodeError
from lodeworks_device import enrolment
from lodeworks_device.agent import wall_clock
from lodeworks_device.errors import EnrolmentError
from sound_package import break_probe, break_weights, make_package, picture

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    for limit in (1, 300):
        make_package(folder / f"at-most-{limit}", max_detections=limit)
    break_probe(folder / "at-most-300", folder / "wrong-answer")
    break_weights(folder / "at-most-300", folder / "no-network")
    return folder


@pytest.fixture
async def world(tmp_path):
    async with device_world(tmp_path) as opened:
        yield opened


def get(made, target, body=None):
    connection = http.client.HTTPConnection(made.address, timeout=10)
    try:
        connection.request("GET" if body is None else "POST", target, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.getheader("X-Lode-Release")
    finally:
        connection.close()


async def answer(made, algorithm="cells"):
    return await asyncio.to_thread(get, made, f"/v1/algorithms/{algorithm}:infer", picture())


async def listed(made):
    _, told, _ = await asyncio.to_thread(get, made, "/v1/algorithms")
    return {entry["name"]: entry for entry in told["data"]["algorithms"]}


async def test_a_release_is_pulled_proved_and_served(world, packages):
    made = await world.running()
    release = await world.release(packages / "at-most-300")
    device = await world.deploy(release)
    said = device.reported("cells")
    assert (said.phase, said.active_release, said.reason) == ("COMMITTED", "cells@1", "")
    assert json.loads(said.gate_json)["ok"]
    assert device.data.http_address == f"http://{made.address}"
    assert "onnxruntime" in device.capabilities["runtimes"]
    status, told, by = await answer(made)
    assert (status, told["code"], by) == (200, 0, "cells@1")
    assert len(told["data"]["results"]) > 1
    assert (await asyncio.to_thread(get, made, "/v2/health/ready"))[0] == 200
    status = await asyncio.to_thread(made.command, "status", "-o", "json")
    assert json.loads(status.stdout)["algorithms"][0]["phase"] == "COMMITTED"
    assert (await asyncio.to_thread(made.command, "doctor")).returncode == 0


@pytest.mark.parametrize(
    ("package", "reasons"), [("wrong-answer", {"GATE_ACCURACY"}), ("no-network", {"START_FAILED", "PACKAGE_INVALID"})]
)
async def test_a_broken_release_is_refused_while_the_old_one_answers(world, packages, package, reasons):
    made = await world.running()
    await world.deploy(await world.release(packages / "at-most-1"))
    wanted = await world.release(packages / package)
    with client_asking(made) as out:
        with pytest.raises(LodeError, match=r"cells@1 goes on serving"):
            await world.deploy(wanted)
        device = await world.device()
        said = device.reported("cells")
        assert said.phase in {"FAILED", "ROLLED_BACK"}
        assert said.reason in reasons
        assert said.message
        assert said.desired_package_id == device.desired("cells").package_id != said.active_package_id
        assert said.active_release == "cells@1"
    asked = asking.read(out)
    assert not asked.bad
    assert asked.releases == ["cells@1"]
    assert asked.longest_gap_s < asking.allowed_gap_s()


async def test_set_stop_start_rollback_undeploy(world, packages):
    made = await world.running()
    await world.deploy(await world.release(packages / "at-most-1"))
    device = await world.deploy(await world.release(packages / "at-most-300"))
    assert device.reported("cells").previous_package_id
    all_boxes = len((await answer(made))[1]["data"]["results"])
    assert all_boxes > 1

    await device.set("cells", confidence=0.999999)
    await until(lambda: device.data.observed_generation == device.data.generation, look=device.refresh)
    assert (await answer(made))[1]["data"]["results"] == []
    assert device.reported("cells").phase == "COMMITTED"

    await device.stop("cells")
    await until(lambda: device.reported("cells").phase == "IDLE", look=device.refresh)
    assert (await answer(made))[0] == 404
    await device.start("cells")
    await until(lambda: device.reported("cells").phase == "COMMITTED", look=device.refresh)
    assert (await answer(made))[2] == "cells@2"

    await (await device.rollback("cells")).result()
    status, told, by = await answer(made)
    assert (status, by, len(told["data"]["results"])) == (200, "cells@1", 0)

    await device.undeploy("cells")
    await until(lambda: not device.data.reported, look=device.refresh)
    assert (await answer(made))[0] == 404
    await until(lambda: not list((made.state / "packages").iterdir()))
    await until(lambda: not list((made.state / "blobs" / "sha256").glob("*/*")))


async def test_front_and_algorithm_outlive_the_agent_and_are_found_again(world, packages):
    made = await world.running()
    await world.deploy(await world.release(packages / "at-most-300"))
    front, process = made.state / "serving" / "front.json", next((made.state / "serving" / "i").glob("*/process.json"))
    before = front.read_bytes(), process.read_bytes()
    with client_asking(made) as out:
        made.kill()
        await until(lambda: out.exists() and out.read_text().count("\n") >= 5)  # answers without the agent
        made.start()
        await until(lambda: made.log.read_text().count("the controller answers") == 2)
        assert made.stop() == 0
        made.start()
        await world.deploy(await world.release(packages / "at-most-1"))
        await until(lambda: '"cells@2"' in out.read_text())
    assert front.read_bytes() == before[0]
    asked = asking.read(out)
    assert not asked.bad
    assert asked.releases == ["cells@1", "cells@2"]
    assert asked.longest_gap_s < asking.allowed_gap_s()
    await until(lambda: not process.exists())


async def test_what_crashes_is_started_again_and_serving_needs_no_controller(world, packages):
    made = await world.running()
    await world.deploy(await world.release(packages / "at-most-300"))
    pid = json.loads(next((made.state / "serving" / "i").glob("*/process.json")).read_bytes())["pid"]
    made.kill()
    for each in (pid, json.loads((made.state / "serving" / "front.json").read_bytes())["pid"]):
        os.kill(each, signal.SIGKILL)
    identity = made.state / "identity" / "device.json"
    told = json.loads(identity.read_text())
    identity.write_text(json.dumps({**told, "agents": "127.0.0.1:9", "server": "127.0.0.1:9"}))
    address = made.address
    made.start()

    async def served():
        try:
            return (await answer(made))[2] == "cells@1"
        except OSError:
            return False

    for _ in range(400):
        if await served():
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail(made.log.read_text()[-2000:])
    assert made.address == address


async def test_an_idle_agent_is_small(world, packages):
    made = await world.running()
    print(f"idle: {made.memory_bytes / 1e6:.0f} MB")
    assert made.memory_bytes < 80_000_000
    await world.deploy(await world.release(packages / "at-most-1"))
    print(f"after a deployment: {made.memory_bytes / 1e6:.0f} MB")
    assert made.memory_bytes < 80_000_000


async def test_a_certificate_is_renewed_by_proof_of_the_key(world):
    made = await world.enrolled()
    folder = made.state / "identity"
    before = enrolment.load_identity(folder)
    assert not enrolment.renewal_due(before, at=wall_clock())
    renewed = await enrolment.renew(folder, before, at=wall_clock())
    assert renewed.certificate_pem != before.certificate_pem
    assert enrolment.load_identity(folder) == renewed
    assert renewed.trusted_root == before.trusted_root
    with pytest.raises(EnrolmentError, match="not renewed"):
        await enrolment.renew(folder, replace(before, key_pem=enrolment.own_key(made.state / "other")), at=wall_clock())


async def test_a_port_in_use_and_a_second_agent_are_named(world):
    made = await world.enrolled()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = await asyncio.to_thread(made.command, "run", "--http-listen", address)
    assert done.returncode == 1
    assert f"another program listens at {address}" in done.stderr
    made.start()
    await until(lambda: "the controller answers" in made.log.read_text())
    second = await asyncio.to_thread(made.command, "run")
    assert second.returncode == 4
    assert "works on" in second.stderr


async def test_enrolment_says_what_is_wrong(world, tmp_path):
    made = await world.enrolled()
    again = await asyncio.to_thread(made.command, "enroll", world.installed.people, "--ca", "sha256:00", "--token", "x")
    assert again.returncode == 4
    assert "already" in again.stderr
    other = type(made)(tmp_path / "other")
    wrong = await asyncio.to_thread(
        other.command, "enroll", world.installed.people, "--ca", "sha256:" + "00" * 32, "--token", "x"
    )
    assert wrong.returncode == 4
    assert "does not belong to the authority" in wrong.stderr
    run = await asyncio.to_thread(other.command, "run")
    assert run.returncode == 4
    assert "lode device add" in run.stderr
