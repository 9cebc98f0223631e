"""kill -9 of the device agent at random instants while releases come and go, under a client that asks every 50 ms."""

import asyncio
import os
import random
import time

import asking
import pytest
from device_world import client_asking, device_world, until
from lodeworks.errors import LodeError
from sound_package import break_probe, make_package

LONGEST_WAIT_S = 1.6


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    for limit in (1, 2):
        make_package(folder / f"at-most-{limit}", max_detections=limit)
    break_probe(folder / "at-most-2", folder / "wrong-answer")
    return folder


async def deploy_for_ever(world, releases, *, refused, outcomes):
    """Deploys one release after the other, as fast as the device settles each."""
    while True:
        for release in releases:
            try:
                await world.deploy(release, limit_s=60)
            except LodeError as error:
                if release != refused:
                    raise
                outcomes.append((release, error.reason))
            else:
                outcomes.append((release, "COMMITTED"))


async def killed(tmp_path, packages, *, kills, seed):
    """Kills the agent so many times; returns what the client saw and how the deployments ended."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with device_world(tmp_path) as world:
        made = await world.running()
        releases = [await world.release(packages / name) for name in ("at-most-1", "at-most-2", "wrong-answer")]
        await world.deploy(releases[0])
        outcomes: list[tuple[str, str]] = []
        with client_asking(made) as out:
            deploying = asyncio.create_task(
                deploy_for_ever(world, [releases[1], releases[2], releases[0]], refused=releases[2], outcomes=outcomes)
            )
            begin = time.monotonic()
            for _ in range(kills):
                await asyncio.sleep(chance.uniform(0.05, LONGEST_WAIT_S))
                assert not deploying.done(), deploying.exception()
                made.kill()
                made.start()
            took = time.monotonic() - begin
            settled = len(outcomes)
            # In peace again, each of them comes to the end that it deserves.
            await until(lambda: len(outcomes) >= settled + 3 or deploying.done(), log=made.log)
            deploying.cancel()
            await asyncio.wait([deploying])
            if not deploying.cancelled():
                raise deploying.exception()
        asked = asking.read(out)
        print(
            f"{kills} kills in {took:.0f} s, {len(outcomes)} deployments, {len(asked.answers)} answers, "
            f"{len(asked.releases)} swaps, longest gap {asked.longest_gap_s * 1000:.0f} ms"
        )
        return asked, outcomes, releases


def check(asked, outcomes, releases):
    assert not asked.bad
    assert asked.longest_gap_s < asking.allowed_gap_s()
    assert set(asked.releases) <= {releases[0], releases[1]}
    # One release, one answer: old or new, nothing in between.
    assert all(len(asked.digests(release)) == 1 for release in set(asked.releases))
    assert asked.digests(releases[0]) != asked.digests(releases[1])
    assert {end for release, end in outcomes if release != releases[2]} == {"COMMITTED"}
    assert {end for release, end in outcomes if release == releases[2]} == {"GATE_ACCURACY"}


@pytest.mark.timeout(150)
async def test_twenty_kills_leave_no_gap_and_no_half_release(tmp_path, packages):
    seed = int(os.environ.get("LODE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    check(*await killed(tmp_path, packages, kills=20, seed=seed))


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_thousand_kills(tmp_path, packages):
    """LODE_SOAK_SHARE says how many of the thousand, LODE_SOAK_SEED which."""
    seed = int(os.environ.get("LODE_SOAK_SEED", random.SystemRandom().randrange(1 << 32)))
    kills = max(10, round(1000 * float(os.environ.get("LODE_SOAK_SHARE", "1"))))
    check(*await killed(tmp_path, packages, kills=kills, seed=seed))
