"""The numbers for Prometheus: counted while the controller works, and measured when a collector asks."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from lodeworks_controller.service.figures import Figures

_RPC_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_COMMIT_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_WAIT_S: Final = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1_800, 7_200, 43_200)


class PrometheusMeter:
    """Keeps the measurements of one controller, in a registry of its own."""

    def __init__(self, *, version: str) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        built = Gauge("lodeworks_build", "The program that runs.", ["version"], registry=registry)
        built.labels(version).set(1)
        self._rpcs = Counter("lodeworks_rpcs", "Rpcs answered.", ["method", "code"], registry=registry)
        self._rpc_s = Histogram(
            "lodeworks_rpc_seconds", "How long rpcs took.", ["method"], buckets=_RPC_S, registry=registry
        )
        self._commit_s = Histogram(
            "lodeworks_commit_seconds",
            "How long the commits of the database took.",
            buckets=_COMMIT_S,
            registry=registry,
        )
        self._units = Counter("lodeworks_committed_units", "Units of work committed.", registry=registry)
        self._wait_s = Histogram(
            "lodeworks_task_wait_seconds",
            "How long tasks were ready before a worker had them.",
            ["kind"],
            buckets=_WAIT_S,
            registry=registry,
        )
        self._attempts = Counter(
            "lodeworks_attempts", "Attempts that ended.", ["kind", "outcome", "reason"], registry=registry
        )
        self._gauges = _gauges(registry)
        self._known: dict[tuple[str, str], Callable[[float], None]] = {}

    def rpc(self, method: str, code: str, seconds: float) -> None:
        """Notes an rpc that was answered."""
        known = self._known.get((method, code))
        if known is None:
            counter, histogram = self._rpcs.labels(method, code), self._rpc_s.labels(method)

            def known(took_s: float) -> None:
                counter.inc()
                histogram.observe(took_s)

            self._known[method, code] = known
        known(seconds)

    def committed(self, seconds: float, units: int) -> None:
        """Notes a commit."""
        self._commit_s.observe(seconds)
        self._units.inc(units)

    def granted(self, kind: str, waited_s: float) -> None:
        """Notes that a task was given to a worker."""
        self._wait_s.labels(kind).observe(max(0.0, waited_s))

    def attempt_ended(self, kind: str, outcome: str, reason: str) -> None:
        """Notes how an attempt ended."""
        self._attempts.labels(kind, outcome, reason).inc()

    async def page(self, measure: Callable[[], Awaitable[Figures]]) -> bytes:
        """Returns the page that a collector reads."""
        figures = await measure()
        for name, values in _measured(figures).items():
            gauge = self._gauges[name]
            gauge.clear()
            for labels, value in values.items():
                (gauge.labels(*labels) if labels else gauge).set(value)
        return bytes(generate_latest(self._registry))


_GAUGES: Final = {
    "lodeworks_tasks": ("Tasks by state.", ("state",)),
    "lodeworks_open_tasks": ("Tasks that have not ended, by kind and state.", ("kind", "state")),
    "lodeworks_queue_age_seconds": ("Age of the oldest task that waits for a worker.", ()),
    "lodeworks_workers": ("Workers by state.", ("state",)),
    "lodeworks_gpus": ("GPUs of all workers.", ()),
    "lodeworks_gpus_held": ("GPUs that tasks hold.", ()),
    "lodeworks_outbox_lag_seconds": ("Age of the oldest event that was not handed on.", ()),
    "lodeworks_webhook_deliveries": ("Deliveries that wait or were given up.", ("state",)),
    "lodeworks_role_held": ("1 where this role has a holder now.", ("role", "holder")),
    "lodeworks_blobs": ("Blobs recorded, and those to which nothing refers.", ("which",)),
    "lodeworks_blob_bytes": ("Their bytes.", ("which",)),
    "lodeworks_disk_free_bytes": ("Free on the disk of the state folder.", ()),
}


def _gauges(registry: CollectorRegistry) -> Mapping[str, Gauge]:
    return {name: Gauge(name, told, labels, registry=registry) for name, (told, labels) in _GAUGES.items()}


def _measured(figures: Figures) -> Mapping[str, Mapping[tuple[str, ...], float]]:
    return {
        "lodeworks_tasks": {(state,): count for state, count in figures.tasks.items()},
        "lodeworks_open_tasks": {(kind, state): count for (kind, state), count in figures.open_tasks.items()},
        "lodeworks_queue_age_seconds": {(): figures.queue_age_s},
        "lodeworks_workers": {(state,): count for state, count in figures.workers.items()},
        "lodeworks_gpus": {(): figures.gpus},
        "lodeworks_gpus_held": {(): figures.gpus_held},
        "lodeworks_outbox_lag_seconds": {(): figures.outbox_lag_s},
        "lodeworks_webhook_deliveries": {(state,): count for state, count in figures.deliveries.items()},
        "lodeworks_role_held": dict.fromkeys(figures.roles.items(), 1.0),
        "lodeworks_blobs": {(which,): count for which, (count, _) in figures.blobs.items()},
        "lodeworks_blob_bytes": {(which,): size for which, (_, size) in figures.blobs.items()},
        "lodeworks_disk_free_bytes": {(): figures.disk_free_bytes},
    }
