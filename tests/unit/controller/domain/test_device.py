"""What a device shall run, what it says, and which package suits it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from lodeworks_controller.domain.algorithm import Measurement, Package
from lodeworks_controller.domain.device import (
    Capabilities,
    DesiredAlgorithm,
    DesiredPhase,
    Device,
    DeviceState,
    Document,
    Report,
    choose_package,
    reported_algorithms,
)
from lodeworks_controller.errors import ConflictError, InvalidError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DEVICE = Device("d" * 26, "p" * 26, "gate-1", NOW)


def package(target="onnx", precision="fp32", *, latency_ms=None, **more):
    values = {
        "id": f"{target}-{precision}",
        "runtime": {"onnx": "onnxruntime"}.get(target, target),
        "runtime_min": "",
        "runtime_max": "",
        "arch": (),
        "size_bytes": 1,
        "archive_digest": "",
        "blobs": (),
        "measurement": Measurement(latency_ms=latency_ms),
        **more,
    }
    return Package(target=target, precision=precision, **values)


def able(**capabilities):
    known = {"arch": "x86_64", "runtimes": {"onnxruntime": "1.31.1", "openvino": "2026.4.1"}, **capabilities}
    return replace(DEVICE, reported={"capabilities": known})


def entry(name="cells", **more):
    return DesiredAlgorithm(name, "r1", f"{name}@1", 1, "releases/p/cells/1.json", "a" * 64, "onnx-fp32", **more)


def test_the_fastest_measured_package_that_fits_is_chosen():
    slow, fast, unknown = (
        package(latency_ms=5.0),
        package("openvino", "int8", latency_ms=2.0),
        package("onnx", "int8"),
    )
    assert choose_package([unknown, slow, fast], able()) is fast
    assert choose_package([unknown, slow, fast], able(runtimes={"onnxruntime": "1.31"})) is slow
    assert choose_package([unknown, slow, fast], able(), variant="onnx-int8") is unknown
    with pytest.raises(InvalidError, match="it has: onnx-int8"):
        choose_package([unknown], able(), variant="onnx-fp32")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"runtime_min": "1.32"}, "onnxruntime 1.32 or newer, the device has 1.31.1"),
        ({"runtime_max": "1.31"}, "onnxruntime before 1.31, the device has 1.31.1"),
        ({"arch": ("aarch64",)}, "is for aarch64, the device is x86_64"),
        ({"memory_bytes": 2_000}, "2,000 bytes of memory"),
        ({"runtime": "tensorrt"}, "needs the runtime tensorrt, the device has: onnxruntime, openvino"),
    ],
)
def test_what_a_device_lacks_is_said(more, words):
    with pytest.raises(ConflictError, match="no package fits device gate-1") as raised:
        choose_package([package(**more)], able(memory_bytes=1_000))
    assert words in raised.value.message
    assert choose_package([package(**more)], able(memory_bytes=1_000), unfit_allowed=True) is not None


def test_versions_are_compared_by_number():
    assert Capabilities(runtimes={"onnxruntime": "1.10.0"}).lacks(package(runtime_min="1.9")) is None


@pytest.mark.parametrize("told", [{}, {"capabilities": 3}, {"capabilities": {"runtimes": [1], "memory_bytes": "x"}}])
def test_malformed_capabilities_count_as_absent(told):
    capabilities = Capabilities.read(told)
    assert capabilities is None or (capabilities.runtimes, capabilities.memory_bytes) == ({}, 0)


def test_a_generation_is_above_all_that_was_seen():
    device = replace(DEVICE, generation=3, observed_generation=9).want(entry())
    assert (device.generation, device.document, device.revision) == (10, None, 2)
    assert device.document_members(at=NOW)["issued_at"] == "2026-03-01T00:00:00Z"


def test_what_is_gone_is_named_until_the_device_has_read_it():
    gone = entry("old", phase=DesiredPhase.ABSENT)
    unseen = replace(DEVICE, generation=4, observed_generation=3, desired=(gone,)).want(entry())
    assert [one.name for one in unseen.desired] == ["cells", "old"]
    seen = replace(DEVICE, generation=4, observed_generation=4, desired=(gone,)).want(entry())
    assert [one.name for one in seen.desired] == ["cells"]
    assert seen.package_ids == {"a" * 64}


def test_a_report_counts_once():
    first = DEVICE.observe(Report("b", 1, 0, "0.1", {"disk": 1}), at=NOW)
    assert (first.reported, first.revision) == ({"disk": 1}, 2)
    repeated = first.observe(Report("b", 1, 5, "0.1", {"disk": 9}), at=NOW + timedelta(seconds=1))
    assert (repeated.reported, repeated.observed_generation, repeated.revision) == ({"disk": 1}, 0, 2)
    assert repeated.last_seen_at == NOW + timedelta(seconds=1)
    rebooted = first.observe(Report("c", 1, 1, "0.2"), at=NOW)
    assert (rebooted.reported, rebooted.observed_generation, rebooted.version) == ({"disk": 1}, 1, "0.2")


def test_states_follow_from_silence():
    assert DEVICE.state(at=NOW, silent_after_s=60) is DeviceState.PENDING
    enrolled = replace(DEVICE, enrolled_at=NOW)
    assert enrolled.state(at=NOW, silent_after_s=60) is DeviceState.OFFLINE
    seen = replace(enrolled, last_seen_at=NOW)
    assert seen.state(at=NOW + timedelta(seconds=59), silent_after_s=60) is DeviceState.ONLINE
    assert seen.state(at=NOW + timedelta(seconds=61), silent_after_s=60) is DeviceState.OFFLINE
    assert replace(seen, revoked_at=NOW).state(at=NOW, silent_after_s=60) is DeviceState.REVOKED


def test_a_document_wears_out_at_half_its_life():
    document = Document(b"", b"", "k", expires_at=NOW + timedelta(days=90))
    assert not document.is_worn(at=NOW + timedelta(days=44))
    assert document.is_worn(at=NOW + timedelta(days=46))


def test_reported_algorithms_are_read_with_care():
    assert reported_algorithms({"algorithms": [{"name": "cells", "phase": "COMMITTED"}, 3, {"phase": "x"}]}) == {
        "cells": {"name": "cells", "phase": "COMMITTED"}
    }
    assert reported_algorithms({"algorithms": "cells"}) == {}
