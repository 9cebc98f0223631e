import json

import pytest
from lodeworks_device import config, desired
from lodeworks_device.capabilities import Capabilities
from lodeworks_device.errors import ConfigError, DocumentError
from lodeworks_device.gate import Allowed, judge
from lodeworks_device.process_record import own_record, read_record, write_record
from lodeworks_device.reasons import Reason
from lodeworks_device.serving import answers
from lodeworks_device.serving.meter import Meter
from lodeworks_device.serving.routes import Route, RouteTable, write_routes
from lodeworks_formats.boxes import Box
from lodeworks_formats.package import InputSpec, PackageManifest, Resources, Runtime


@pytest.mark.parametrize(
    ("probe", "allowed", "reason"),
    [
        ({"ok": True, "latency_ms": 5.0}, Allowed(), None),
        ({"ok": True, "latency_ms": 5.0}, Allowed(5.0), None),
        ({"ok": True, "latency_ms": 5.1}, Allowed(5.0), Reason.GATE_LATENCY),
        ({"ok": False, "reason": "a box is missing", "latency_ms": 1.0}, Allowed(), Reason.GATE_ACCURACY),
        ({}, Allowed(), Reason.GATE_ACCURACY),
    ],
)
def test_the_gate(probe, allowed, reason):
    assert judge(probe, allowed).reason is reason


def test_a_wish_only_tightens_the_gate():
    assert Allowed(10.0).tightened({"max_latency_ms": 5, "soak_s": 3}) == Allowed(5.0, 3.0)
    assert Allowed(10.0).tightened({"max_latency_ms": 50}) == Allowed(10.0)
    assert Allowed().tightened({}) == Allowed()


def test_flags_win_over_variables_over_the_file(tmp_path):
    (tmp_path / "device.toml").write_text('threads = 2\nhttp_listen = "127.0.0.1:8080"\nlog_level = "debug"\n')
    environ = {"LODE_DEVICE_THREADS": "3", "LODE_DEVICE_STATE": str(tmp_path)}
    made = config.load({"threads": 4, "http_listen": None}, environ=environ)
    assert (made.state, made.threads, made.http_listen, made.log_level) == (tmp_path, 4, "127.0.0.1:8080", "DEBUG")
    assert config.load({}, environ=environ).threads == 3
    assert config.load({}, environ={"HOME": "/h"}).http_listen == "127.0.0.1:0"


@pytest.mark.parametrize(
    ("given", "named"),
    [({"threads": "x"}, "threads"), ({"http_listen": "8080"}, "http_listen"), ({"log_level": "loud"}, "log_level")],
)
def test_a_wrong_value_is_named(given, named, tmp_path):
    with pytest.raises(ConfigError, match=named):
        config.load({"state": tmp_path, **given}, environ={})
    (tmp_path / "device.toml").write_text("thread = 2")
    with pytest.raises(ConfigError, match="'thread'"):
        config.load({"state": tmp_path}, environ={})


MANIFEST = PackageManifest(
    "onnx",
    "fp32",
    Runtime("onnxruntime", "1.20", "2", ("x86_64",)),
    InputSpec("images", 32, 32),
    ("RBC",),
    resources=Resources(memory_bytes=1000),
)


@pytest.mark.parametrize(
    ("capabilities", "words"),
    [
        (Capabilities("x86_64", (), {"onnxruntime": "1.31.1"}, 2000), None),
        (Capabilities("x86_64", (), {"openvino": "2026.4"}, 2000), "has: openvino"),
        (Capabilities("x86_64", (), {"onnxruntime": "1.9.0"}, 2000), "1.20 or newer"),
        (Capabilities("x86_64", (), {"onnxruntime": "2.0.0"}, 2000), "before 2"),
        (Capabilities("aarch64", (), {"onnxruntime": "1.31.1"}, 2000), "aarch64"),
        (Capabilities("x86_64", (), {"onnxruntime": "1.31.1"}, 500), "memory"),
    ],
)
def test_what_a_device_lacks(capabilities, words):
    lacking = capabilities.lacks(MANIFEST)
    assert lacking is None if words is None else words in lacking


def test_a_document_of_a_newer_kind_is_refused():
    data = json.dumps({"type": "lodeworks.desired-state", "version": 2}).encode()
    with pytest.raises(DocumentError, match="upgrade"):
        desired.read_desired(data)


def test_a_process_is_known_by_more_than_its_pid(tmp_path):
    write_record(tmp_path / "p", own_record())
    found = read_record(tmp_path / "p")
    assert found == own_record()
    assert found.alive
    assert found.memory_bytes > 1_000_000
    other = type(found)(found.pid, found.start_time + 1, found.boot_id)
    assert not other.alive
    assert not type(found)(found.pid, found.start_time, "another boot").alive
    (tmp_path / "p").write_text("half a rec")
    assert read_record(tmp_path / "p") is None


def test_routes_are_seen_as_soon_as_they_are_replaced(tmp_path):
    table = RouteTable(tmp_path)
    assert table.find("cells") is None
    for number in range(20):
        route = Route("i/a/s", f"{number}", f"cells@{number}", 0.5)
        write_routes(tmp_path, {"cells": route})
        assert table.find("cells") == route
    write_routes(tmp_path, {})
    assert table.find("cells") is None


def test_answers_keep_their_form():
    box = Box("WBC", 1.23456, 2, 3, 4, score=0.987654321)
    assert json.loads(answers.found([box], classes={"RBC": 0, "WBC": 1})) == {
        "code": 0,
        "msg": "",
        "data": {
            "results": [
                {
                    "class": 1,
                    "class_name": "WBC",
                    "confidence": 0.98765,
                    "rect": {"left": 1.235, "top": 2, "width": 3, "height": 4},
                }
            ]
        },
    }
    assert json.loads(answers.bad(404, "no")) == {"code": 404, "msg": "no", "data": {}}


def test_the_meter_counts_and_forgets():
    now = [100.0]
    meter = Meter(lambda: now[0])
    assert (meter.rate, meter.latency_ms) == (0.0, 0.0)
    for _ in range(60):
        with meter.measuring():
            now[0] += 0.02
        now[0] += 0.08
    assert meter.rate == pytest.approx(1.0)
    assert meter.latency_ms == pytest.approx(20.0)
    with pytest.raises(KeyError), meter.measuring():
        raise KeyError
    assert (meter.requests, meter.failures, meter.in_flight) == (61, 1, 0)
    lines = "\n".join(meter.lines("x", 'algorithm="a"'))
    assert 'x_seconds_bucket{algorithm="a",le="+Inf"} 61' in lines
    now[0] += 100
    assert meter.rate == 0.0
