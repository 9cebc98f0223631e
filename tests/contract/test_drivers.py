"""One suite for every driver: what holds for a container holds for a program and for the fake."""

import asyncio
import io
import logging
import os
import shutil
import subprocess
import tarfile
import time
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGKILL, SIGTERM

import docker
import pytest
from docker.errors import DockerException
from lodeworks_worker.drivers.base import Driver, Launch, RunHandle
from lodeworks_worker.drivers.docker_engine import DockerDriver
from lodeworks_worker.drivers.fake import FakeDriver, FakeScript
from lodeworks_worker.drivers.logged import LoggedDriver
from lodeworks_worker.drivers.process import ProcessDriver
from lodeworks_worker.drivers.timed import TimedDriver
from lodeworks_worker.errors import LaunchError, RunLostError
from lodeworks_worker.outcome import FailureReason

IMAGE = "lodeworks-test/behaviour:1"
# A container's first process gets no signal that it has not asked for, so a plain shell there waits for SIGKILL.
ENDED = {SIGTERM, SIGKILL}


@dataclass(frozen=True)
class Behaviour:
    """The same behaviour as a shell script and as a fake's script. `{out}` is where the script writes."""

    shell: str
    fake: FakeScript


SPEAKS = Behaviour(
    "echo one; echo two >&2; echo three; echo run >> {out}/starts; exit 0",
    FakeScript(log_lines=("one", "two", "three"), outputs={"starts": "run\n"}),
)
FAILS = Behaviour("echo bad; exit 3", FakeScript(code=3, log_lines=("bad",)))
SLEEPS = Behaviour(
    "echo run >> {out}/starts; echo up; sleep 60 & wait $!",
    FakeScript(run_for_s=60, log_lines=("up",), outputs={"starts": "run\n"}),
)
DEAF = Behaviour(
    "trap '' TERM; echo run >> {out}/starts; while true; do sleep 0.1; done",
    FakeScript(run_for_s=60, ignores_term=True, outputs={"starts": "run\n"}),
)
LEAVES = Behaviour(
    "echo ready > {out}/starts; trap 'echo saved > {out}/saved; exit 0' TERM; while true; do sleep 0.05; done",
    FakeScript(run_for_s=60, outputs={"starts": "ready\n", "saved": "saved\n"}),
)


class Lab(ABC):
    """Makes launches and drivers of one kind over one root."""

    kind = ""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scripts: dict[str, FakeScript] = {}
        self.handles: list[RunHandle] = []

    def launch(self, behaviour: Behaviour, *, epoch: int = 1) -> Launch:
        task_id = uuid.uuid4().hex[:12]
        folder = self.root / f"{task_id}-{epoch}"
        (folder / "in").mkdir(parents=True)
        (folder / "out").mkdir()
        (folder / "out").chmod(0o777)
        self.scripts[task_id] = behaviour.fake
        out = "/out" if self.kind == "docker" else str(folder / "out")
        (folder / "in" / "behaviour.sh").write_text(behaviour.shell.replace("{out}", out))
        return self.complete(Launch(task_id=task_id, lease_epoch=epoch, folder=folder))

    def complete(self, launch: Launch) -> Launch:
        return replace(launch, command=("/bin/sh", str(launch.in_dir / "behaviour.sh")))

    @abstractmethod
    def driver(self) -> Driver:
        """Makes a driver that has nothing but the root in common with the others."""


class FakeLab(Lab):
    kind = "fake"

    def driver(self) -> Driver:
        return FakeDriver(self.root, script=lambda launch: self.scripts[launch.task_id])


class ProcessLab(Lab):
    kind = "process"

    def driver(self) -> Driver:
        return ProcessDriver(self.root, environment={"PATH": os.environ["PATH"]})


class DecoratedLab(ProcessLab):
    """The process driver behind both decorators: they must change nothing."""

    def driver(self) -> Driver:
        timed = TimedDriver(super().driver(), observe=lambda _operation, _seconds: None, monotonic=time.monotonic)
        return LoggedDriver(timed, log=logging.getLogger("test.driver"))


class DockerLab(Lab):
    kind = "docker"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.worker_id = uuid.uuid4().hex

    def complete(self, launch: Launch) -> Launch:
        return replace(launch, image=IMAGE)

    def driver(self) -> Driver:
        return DockerDriver(self.worker_id)


def _why_no_docker() -> str | None:
    try:
        client = docker.from_env(timeout=10)
        client.ping()
        client.close()
    except DockerException as error:
        return f"no docker engine answers here: {error}"
    return None


def _build_image() -> None:
    """Makes a tiny image of this machine's own shell: no registry is asked."""
    client = docker.from_env()
    if client.images.list(name=IMAGE):
        client.close()
        return
    programs = [shutil.which(name) for name in ("sh", "sleep", "cat")]
    files: set[str] = set()
    for program in programs:
        assert program is not None
        told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        files |= {word for line in told.splitlines() for word in line.split() if word.startswith("/")}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for program in programs:
            tar.add(os.path.realpath(str(program)), arcname=f"bin/{Path(str(program)).name}")
        for file in sorted(files):
            tar.add(os.path.realpath(file), arcname=file.lstrip("/"))
        for folder in ("in", "out", "tmp", "dev", "proc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
    name, tag = IMAGE.split(":")
    changes = ['CMD ["/bin/sh","/in/behaviour.sh"]', "ENV PATH=/bin"]
    client.api.import_image_from_data(buffer.getvalue(), repository=name, tag=tag, changes=changes)
    client.close()


@pytest.fixture(scope="session")
def docker_image():
    why_not = _why_no_docker()
    if why_not is not None:
        pytest.skip(why_not)
    _build_image()
    return IMAGE


@pytest.fixture(
    params=["fake", "process", "decorated", pytest.param("docker", marks=pytest.mark.docker)],
)
async def lab(request, tmp_path):
    if request.param == "docker":
        request.getfixturevalue("docker_image")
    made = {"fake": FakeLab, "process": ProcessLab, "decorated": DecoratedLab, "docker": DockerLab}[request.param]
    lab = made(tmp_path)
    yield lab
    driver = lab.driver()
    for handle in await driver.found():
        await driver.remove(handle)


async def _until(condition, *, limit_s: float = 20.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is a file of another process
            await asyncio.sleep(0.01)


def _starts(launch: Launch) -> str:
    file = launch.out_dir / "starts"
    return file.read_text() if file.exists() else ""


async def _all_logs(driver: Driver, handle: RunHandle) -> bytes:
    data, offset = b"", 0
    while part := await driver.logs(handle, offset=offset):
        if not part.data:
            return data
        data, offset = data + part.data, part.next_offset
    return data


async def test_a_driver_says_that_it_can_run_here(lab):
    told = await lab.driver().capabilities()
    assert told.unavailable is None
    assert told.name in {"fake", "process", "docker"}
    assert told.runs_programs or told.runs_images


async def test_a_run_ends_with_its_code_and_its_output_is_kept(lab):
    driver = lab.driver()
    launch = lab.launch(SPEAKS)
    handle = await driver.start(launch)
    ended = await driver.wait(handle)
    assert ended.succeeded
    assert sorted((await _all_logs(driver, handle)).decode().split()) == ["one", "three", "two"]
    assert _starts(launch) == "run\n"


async def test_a_failure_has_its_exit_code(lab):
    driver = lab.driver()
    ended = await driver.wait(await driver.start(lab.launch(FAILS)))
    assert (ended.code, ended.signal, ended.succeeded) == (3, None, False)


async def test_starting_twice_is_one_run(lab):
    driver = lab.driver()
    launch = lab.launch(SLEEPS)
    first, second = await asyncio.gather(driver.start(launch), lab.driver().start(launch))
    assert (first.task_id, first.lease_epoch) == (second.task_id, second.lease_epoch)
    await _until(lambda: _starts(launch) != "")
    await driver.stop(second, grace_s=1)
    assert (await driver.wait(first)).signal in ENDED
    assert _starts(launch) == "run\n"


async def test_starting_an_ended_run_does_not_run_it_again(lab):
    launch = lab.launch(SPEAKS)
    handle = await lab.driver().start(launch)
    await lab.driver().wait(handle)
    again = await lab.driver().start(launch)
    assert (await lab.driver().wait(again)).succeeded
    assert _starts(launch) == "run\n"


async def test_another_driver_takes_up_a_live_run(lab):
    launch = lab.launch(SLEEPS)
    handle = await lab.driver().start(launch)
    heir = lab.driver()
    await heir.recover(handle)
    await _until(lambda: _starts(launch) != "")
    await heir.stop(handle, grace_s=1)
    assert (await heir.wait(handle)).signal in ENDED
    assert _starts(launch) == "run\n"


async def test_another_driver_reads_the_end_of_a_run_that_ended_meanwhile(lab):
    handle = await lab.driver().start(lab.launch(FAILS))
    await lab.driver().wait(handle)
    heir = lab.driver()
    await heir.recover(handle)
    assert (await heir.wait(handle)).code == 3
    assert await _all_logs(heir, handle) == b"bad\n"


async def test_two_may_wait_and_both_are_told(lab):
    driver = lab.driver()
    handle = await driver.start(lab.launch(FAILS))
    first, second = await asyncio.gather(driver.wait(handle), driver.wait(handle))
    assert first == second


async def test_stop_lets_the_run_save_its_work(lab):
    driver = lab.driver()
    launch = lab.launch(LEAVES)
    handle = await driver.start(launch)
    await _until(lambda: _starts(launch) == "ready\n")
    await driver.stop(handle, grace_s=10)
    await driver.wait(handle)
    assert (launch.out_dir / "saved").read_text() == "saved\n"


async def test_a_deaf_run_is_killed_after_the_grace(lab):
    driver = lab.driver()
    launch = lab.launch(DEAF)
    handle = await driver.start(launch)
    await _until(lambda: _starts(launch) != "")
    async with asyncio.timeout(15):
        await driver.stop(handle, grace_s=1)
    ended = await driver.wait(handle)
    assert ended.signal == SIGKILL
    assert not ended.oom


async def test_stopping_a_gone_run_is_no_error(lab):
    driver = lab.driver()
    handle = await driver.start(lab.launch(SPEAKS))
    await driver.wait(handle)
    await driver.stop(handle, grace_s=1)
    await driver.remove(handle)
    await driver.remove(handle)
    await driver.stop(handle, grace_s=1)


async def test_logs_from_an_offset_repeat_nothing_and_lose_nothing(lab):
    driver = lab.driver()
    launch = lab.launch(SPEAKS)
    handle = await driver.start(launch)
    await driver.wait(handle)
    whole = await _all_logs(driver, handle)
    part = await driver.logs(handle, offset=0)
    assert part.data == whole
    assert (await driver.logs(handle, offset=part.next_offset)).data == b""
    assert (await driver.logs(handle, offset=0)) == part


async def test_runs_are_found_by_who_has_lost_his_journal(lab):
    launch = lab.launch(SLEEPS)
    handle = await lab.driver().start(launch)
    found = await lab.driver().found()
    assert [(one.task_id, one.lease_epoch) for one in found] == [(launch.task_id, 1)]
    await lab.driver().remove(found[0])
    await lab.driver().stop(handle, grace_s=0)


async def test_a_run_of_another_epoch_is_another_run(lab):
    driver = lab.driver()
    first = lab.launch(FAILS, epoch=1)
    handle = await driver.start(first)
    await driver.wait(handle)
    folder = first.folder.parent / f"{first.task_id}-2"
    shutil.copytree(first.in_dir, folder / "in")
    (folder / "out").mkdir()
    (folder / "out").chmod(0o777)
    second = lab.complete(replace(first, lease_epoch=2, folder=folder))
    assert (await driver.wait(await driver.start(second))).code == 3
    assert len({one.lease_epoch for one in await driver.found()}) == 2


async def test_an_unknown_run_is_lost(lab):
    driver = lab.driver()
    handle = await driver.start(lab.launch(SPEAKS))
    await driver.wait(handle)
    await driver.remove(handle)
    if lab.kind == "process":
        shutil.rmtree(lab.root / f"{handle.task_id}-1")
    with pytest.raises(RunLostError):
        await driver.recover(handle)


@pytest.mark.docker
async def test_an_image_is_known_by_its_id_and_a_foreign_one_says_why_not(docker_image, tmp_path):
    client = docker.from_env()
    image_id = client.images.get(IMAGE).id
    client.close()
    lab = DockerLab(tmp_path)
    driver = lab.driver()
    pinned = replace(lab.launch(SPEAKS), image=f"{IMAGE}@{image_id}")
    handle = await driver.start(pinned)
    assert (await driver.wait(handle)).succeeded
    await driver.remove(handle)
    with pytest.raises(LaunchError, match="cannot be pulled") as caught:
        await driver.start(replace(lab.launch(SPEAKS), image="127.0.0.1:1/nothing@sha256:" + "0" * 64))
    assert caught.value.failure is FailureReason.IMAGE_PULL


@pytest.mark.docker
async def test_a_gpu_that_is_not_there_leaves_no_container_behind(docker_image, tmp_path):
    lab = DockerLab(tmp_path)
    driver = lab.driver()
    if (await driver.capabilities()).gpus:
        pytest.skip("this engine has GPUs to give")
    with pytest.raises(LaunchError, match="GPU"):
        await driver.start(replace(lab.launch(SPEAKS), gpus=("GPU-none",)))
    assert not await driver.found()


@pytest.mark.docker
async def test_user_and_network_of_a_policy_hold_in_the_container(docker_image, tmp_path):
    lab = DockerLab(tmp_path)
    driver = lab.driver()
    looks = Behaviour("cat /proc/self/status /proc/net/dev", FakeScript())
    handle = await driver.start(replace(lab.launch(looks), user="1234:77", network="none"))
    try:
        assert (await driver.wait(handle)).succeeded
        said = (await driver.logs(handle, offset=0)).data.decode()
    finally:
        await driver.remove(handle)
    assert "Uid:\t1234\t" in said
    assert "Gid:\t77\t" in said
    assert "lo:" in said
    assert "eth0" not in said


async def test_a_launch_that_the_driver_cannot_make_is_refused(lab):
    if lab.kind == "fake":
        launch = lab.launch(replace(SPEAKS, fake=FakeScript(refuses="no")))
    else:
        launch = replace(lab.launch(SPEAKS), command=(), image=None)
    with pytest.raises(LaunchError):
        await lab.driver().start(launch)
