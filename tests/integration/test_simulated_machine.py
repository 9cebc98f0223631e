"""A person who wishes for tasks and breaks things, as hypothesis likes it; what fails is made small."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace

from fault_invariants import broken
from fault_runner import scratch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from simulated_installation import Installation, Plan, Wish
from simulated_network import Weather

SHARE = float(os.environ.get("LODE_SOAK_SHARE", "0.05"))
_METHODS = ("Register", "Poll", "Report", "Complete", "Append", "FindMissing", "BatchPut")

chances = st.sampled_from((0.0, 0.1, 0.5))
weathers = st.builds(
    Weather,
    drop=chances,
    duplicate=chances,
    delay=chances,
    cut=chances,
    methods=st.frozensets(st.sampled_from(_METHODS), max_size=2),
)
wishes = st.builds(
    Wish,
    st.just("t"),
    run_for_s=st.sampled_from((0.0, 1.0, 5.0)),
    lines=st.integers(0, 4),
    exits=st.sampled_from(((0,), (3, 0), (3,))),
    dies=st.sampled_from(((False,), (True, False))),
    gpus=st.integers(0, 1),
    user_retries=st.integers(0, 1),
    lost_after_s=st.sampled_from((0.5, 5.0)),
    repeats=st.integers(1, 2),
)


class Somebody(RuleBasedStateMachine):
    """Breaks things by name; at the end everything heals and must be well."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = scratch()
        self.folder = self.scratch.__enter__()
        self.installation: Installation | None = None
        self.wished = 0

    def _do(self, deed):
        with self.installation.listening():
            return self.installation.loop.run(deed)

    @initialize(seed=st.integers(0, 99), controllers=st.integers(1, 2), machines=st.integers(1, 2))
    def begin(self, seed, controllers, machines):
        self.installation = Installation(seed, self.folder / "installation", Plan(controllers, machines))
        self._do(self.installation.set_up())

    def _name(self, number):
        return self.installation.names[number % len(self.installation.names)]

    @precondition(lambda self: self.wished < 4)
    @rule(wish=wishes, child=st.booleans())
    def submit(self, wish, child):
        parents = (f"t{self.wished - 1}",) if child and self.wished else ()
        label = f"t{self.wished}"
        self.wished += 1
        self._do(self.installation.submit(replace(wish, label=label, parents=parents)))

    @rule(number=st.integers(0, 3))
    def kill(self, number):
        self.installation.kill(self._name(number))

    @rule(number=st.integers(0, 3))
    def start(self, number):
        self.installation.start(self._name(number))

    @rule(number=st.integers(0, 3))
    def freeze(self, number):
        self.installation.freeze(self._name(number))

    @rule(number=st.integers(0, 3))
    def thaw(self, number):
        self.installation.thaw(self._name(number))

    @rule(number=st.integers(0, 1), stands=st.booleans())
    def wall(self, number, stands):
        installation = self.installation
        machine = list(installation.machines)[number % len(installation.machines)]
        walls = {frozenset((machine, seat.name)) for seat in installation.seats}
        installation.network.walls = installation.network.walls | walls if stands else set()

    @rule(weather=weathers)
    def weather(self, weather):
        self.installation.network.weather["now"] = weather

    @rule(seconds=st.sampled_from((-60.0, -2.0, 2.0, 60.0)))
    def jump(self, seconds):
        self.installation.skew_s += seconds

    @rule(number=st.integers(0, 3))
    def cancel(self, number):
        self._do(self.installation.cancel(f"t{number}"))

    @rule(number=st.integers(0, 3))
    def retry(self, number):
        self._do(self.installation.retry(f"t{number}"))

    @rule(seconds=st.sampled_from((0.01, 0.1, 1.0, 8.0)))
    def wait(self, seconds):
        self._do(asyncio.sleep(seconds))

    def teardown(self):
        try:
            if self.installation is not None:
                wrong = self._do(self._end())
                assert not wrong, "\n".join(f"{at:8.3f} {what}" for at, what in self.installation.trace[-80:]) + repr(
                    wrong
                )
        finally:
            if self.installation is not None:
                self.installation.loop.close()
            self.scratch.__exit__(None, None, None)
            shutil.rmtree(self.folder, ignore_errors=True)

    async def _end(self):
        installation = self.installation
        installation.heal()
        settled = await installation.settle()
        for _ in range(20):
            await asyncio.sleep(2.5)
            if not installation.left_behind():
                break
        wrong = await broken(installation, settled=settled)
        if wrong:
            installation.tell_history()
        return wrong


TestSomebody = Somebody.TestCase
TestSomebody.settings = settings(
    max_examples=max(15, round(600 * SHARE)),
    stateful_step_count=20,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
