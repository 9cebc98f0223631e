"""What the process driver's shim promises when things are killed around it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from lodeworks_worker.drivers.base import Launch
from lodeworks_worker.drivers.process import ProcessDriver
from lodeworks_worker.errors import RunLostError


def _launch(folder: Path, command: tuple[str, ...], *, private_mounts: bool = False) -> Launch:
    run = folder / "task-1"
    (run / "in").mkdir(parents=True)
    (run / "out").mkdir()
    return Launch(task_id="task", lease_epoch=1, folder=run, command=command, private_mounts=private_mounts)


def _driver(folder: Path) -> ProcessDriver:
    return ProcessDriver(folder, environment={"PATH": os.environ["PATH"], "HOME": str(folder)})


async def _file(path: Path) -> dict[str, int]:
    """Waits for a file of another process."""
    async with asyncio.timeout(20):
        while not os.access(path, os.R_OK):  # noqa: ASYNC110 - a condition with a limit
            await asyncio.sleep(0.01)
    return json.loads(await asyncio.to_thread(path.read_text))


async def test_a_run_whose_shim_is_killed_is_lost_and_its_executor_ends(tmp_path):
    driver = _driver(tmp_path)
    launch = _launch(tmp_path, ("sleep", "60"))
    handle = await driver.start(launch)
    child = await _file(launch.folder / "run" / "child.json")
    executor = psutil.Process(child["pid"])
    os.kill((await _file(launch.folder / "run" / "shim.json"))["pid"], signal.SIGKILL)
    with pytest.raises(RunLostError):
        await driver.wait(handle)
    await asyncio.to_thread(psutil.wait_procs, [executor], 10)
    assert not executor.is_running() or executor.status() == psutil.STATUS_ZOMBIE


async def test_what_an_executor_leaves_behind_ends_with_it(tmp_path):
    script = "setsid sleep 60 & echo $! > left; sleep 60 & echo $! >> left; exit 0"
    driver = _driver(tmp_path)
    launch = _launch(tmp_path, ("sh", "-c", script))
    assert (await driver.wait(await driver.start(launch))).succeeded
    for pid in (launch.out_dir / "left").read_text().split():
        assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE


async def test_an_order_to_stop_outlives_the_worker(tmp_path):
    """A worker that dies right after it gave the order need not come back for the run to end."""
    launch = _launch(tmp_path, ("sh", "-c", "trap '' TERM; while true; do sleep 0.05; done"))
    driver = _driver(tmp_path)
    handle = await driver.start(launch)
    await _file(launch.folder / "run" / "child.json")
    order = asyncio.ensure_future(driver.stop(handle, grace_s=0.5))
    await _file(launch.folder / "run" / "stop.json")
    order.cancel()
    ended = await _file(launch.folder / "run" / "exit.json")
    assert ended["signal"] == signal.SIGKILL


async def test_a_program_that_is_not_there_says_so(tmp_path):
    driver = _driver(tmp_path)
    handle = await driver.start(_launch(tmp_path, ("/no/such/program",)))
    assert (await driver.wait(handle)).code == 127
    assert b"cannot start" in (await driver.logs(handle, offset=0)).data


async def test_the_shim_needs_nothing_of_ours(tmp_path):
    """An update of the worker must not touch a run: the shim imports the standard library alone."""
    code = "import sys, lodeworks_worker.drivers.shim as s; print(s.__file__)"
    path = (await asyncio.to_thread(subprocess.check_output, [sys.executable, "-c", code], text=True)).strip()
    listing = f"import runpy, sys; sys.argv = ['x']; runpy.run_path({path!r}); print(*sys.modules)"
    told = await asyncio.to_thread(subprocess.check_output, [sys.executable, "-I", "-S", "-c", listing], text=True)
    assert "lodeworks_worker" not in told
    assert "asyncio" not in told.split()


async def test_a_program_that_knows_only_the_real_folders_gets_them(tmp_path):
    probe = await asyncio.to_thread(
        subprocess.run, ["unshare", "--mount", "--map-root-user", "true"], capture_output=True, text=True
    )
    if probe.returncode != 0:
        pytest.skip(f"this kernel refuses private mount namespaces: {probe.stderr.strip()}")
    script = "cat /in/env.yaml > /out/seen; echo more >> /in/env.yaml; echo done"
    launch = _launch(tmp_path, ("sh", "-c", script), private_mounts=True)
    (launch.in_dir / "env.yaml").write_text("task_id: task\n")
    driver = _driver(tmp_path)
    handle = await driver.start(launch)
    ended = await driver.wait(handle)
    assert ended.succeeded, (await driver.logs(handle, offset=0)).data
    assert (launch.out_dir / "seen").read_text() == "task_id: task\n"
    assert (launch.in_dir / "env.yaml").read_text() == "task_id: task\n", "/in is not read-only"
    assert not os.access("/in/env.yaml", os.F_OK)


async def test_a_kernel_that_refuses_private_folders_is_named_with_the_way_out(tmp_path):
    """As it does in a container without the right to mount: unshare fails before the program begins."""
    refusing = tmp_path / "bin" / "unshare"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n")
    refusing.chmod(0o755)
    driver = ProcessDriver(tmp_path, environment={"PATH": f"{refusing.parent}:{os.environ['PATH']}"})
    handle = await driver.start(_launch(tmp_path, ("touch", "began"), private_mounts=True))
    ended = await driver.wait(handle)
    told = (await driver.logs(handle, offset=0)).data.decode()
    assert ended.code == 126
    assert "Operation not permitted" in told
    assert "refuses a private mount namespace; run this executor as an image with docker" in told
    assert not list(tmp_path.rglob("began"))
