"""From a stage to a signed release and onto a device's document; conversion and device are played."""

import json

import pytest
from lodeworks_controller.domain.algorithm import ReleaseState
from lodeworks_controller.domain.device import DesiredPhase, DeviceState
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.errors import (
    ConflictError,
    GuardError,
    InvalidError,
    LodeworksError,
    NotFoundError,
    PermissionDeniedError,
)
from lodeworks_controller.service.content_scope import device_scope
from lodeworks_controller.service.deployment import Wish
from lodeworks_controller.service.device import identity_of
from lodeworks_controller.service.measuring import InferWish
from lodeworks_controller.service.publishing import PublishWish
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_formats.manifest import canonical_json, sha256_hex
from model_world import PROJECT, ModelWorld, document_of
from securesystemslib.signer import Key, Signature


@pytest.fixture(scope="module")
def pool():
    running = Pool(processes=1).start()
    yield running
    running.close()


@pytest.fixture
async def world(tmp_path, pool):
    opened = await ModelWorld(tmp_path, pool).open()
    await opened.labelled()
    yield opened
    await opened.close()


def told_variant(target, precision, *, latency_ms, drop=0.001, accepted=True):
    return {
        "name": f"{target}-{precision}",
        "target": target,
        "precision": precision,
        "accepted": accepted,
        "reason": None if accepted else f"mAP50:95 drops by {drop:.4f}, more than 0.0100",
        "settings": "min-max",
        "map": 0.5 - drop,
        "map50": 0.8,
        "per_class": {"RBC": 0.5 - drop},
        "drop": drop,
        "class_drops": {"RBC": drop},
        "latency": {"p50_ms": latency_ms, "p95_ms": latency_ms + 1, "throughput_per_s": 1000 / latency_ms},
        "speed_up": 5.0 / latency_ms,
        "role": f"package-{target}-{precision}" if accepted else None,
        "table": "tried  mAP50:95  drop\nmin-max  0.4100  +0.0900",
    }


def report_of(variants):
    return {
        "name": "cells",
        "accepted": all(one["accepted"] for one in variants),
        "refused": [one["name"] for one in variants if not one["accepted"]],
        "max_drop": 0.01,
        "hardware": {"processor": "made"},
        "variants": variants,
    }


async def published(world, *, sign=True, variants=(("onnx", "fp32", 5.0), ("openvino", "int8", 2.0)), seed=""):
    release = await world.part.publishing.publish(world.administrator, PROJECT, PublishWish("cells", sign=sign))
    task = await world.task(release.task_id)
    run = await world.kinds.get("convert").prepare(task)
    assert [one.role for one in run.inputs] == ["model/best.onnx", "calibration", "guard", "options"]
    told = [told_variant(target, precision, latency_ms=ms) for target, precision, ms in variants]
    outputs = {
        "report": canonical_json(report_of(told)),
        "report_html": b"<!doctype html>",
        "card": b"# cells",
        **{one["role"]: world.packed(one["target"], one["precision"], seed=f"{seed}{release.number}") for one in told},
    }
    await world.finish(task, await world.outputs(outputs))
    _, release = await world.part.algorithms.get(world.administrator, PROJECT, f"cells@{release.number}")
    return release


async def test_a_publish_becomes_a_candidate_and_a_signature_a_release(world):
    await world.trained()
    candidate = await published(world, sign=False)
    assert candidate.state is ReleaseState.CANDIDATE
    assert [package.variant for package in candidate.packages] == ["onnx-fp32", "openvino-int8"]
    assert candidate.packages[1].measurement.latency_ms == 2.0
    assert candidate.packages[0].id == sha256_hex(await world.blobs.read(candidate.packages[0].id))
    await world.device()
    with pytest.raises(ConflictError, match="no signed release"):
        await world.part.deployments.deploy(world.administrator, PROJECT, Wish(("gate-1",), "cells"))
    release = await world.part.algorithms.sign(world.administrator, PROJECT, "cells@1")
    assert release.state is ReleaseState.RELEASED
    document = json.loads(await world.trust.repository.target(release.target_path))
    assert [one["package_id"] for one in document["packages"]] == [package.id for package in release.packages]
    assert document["packages"][1]["statement"]["hardware"] == {"processor": "made"}
    with pytest.raises(ConflictError, match="only a candidate can be signed"):
        await world.part.algorithms.sign(world.administrator, PROJECT, "cells@1")


async def test_a_drop_beyond_the_guard_fails_with_the_table_and_changes_nothing(world):
    await world.trained()
    first = await published(world)
    release = await world.part.publishing.publish(world.administrator, PROJECT, PublishWish("cells", sign=True))
    task = await world.task(release.task_id)
    variants = [
        told_variant("onnx", "fp32", latency_ms=5.0),
        told_variant("onnx", "int8", latency_ms=3.0, drop=0.09, accepted=False),
    ]
    outputs = {
        "report": canonical_json(report_of(variants)),
        "package-onnx-fp32": world.packed("onnx", "fp32", seed="again"),
    }
    with pytest.raises(GuardError, match=r"onnx-int8: mAP50:95 drops by 0.0900(.|\n)*min-max  0.4100"):
        await world.kinds.get("convert").finish(task, await world.outputs(outputs))
    async with world.store.transaction() as tx:
        await world.kinds.get("convert").abandon(tx, task, (), FailureReason.GUARD)
    listed, newest = await world.part.algorithms.get(world.administrator, PROJECT, "cells")
    assert (newest.id, listed.latest.id) == (first.id, first.id)
    _, failed = await world.part.algorithms.get(world.administrator, PROJECT, "cells@2")
    assert failed.state is ReleaseState.FAILED
    assert failed.report["refused"] == ["onnx-int8"]


@pytest.mark.parametrize(
    ("more", "reason", "words"),
    [
        ({"targets": ("rknn",)}, "TARGET_UNKNOWN", "no target 'rknn'; there are onnx: fp32, int8"),
        ({"precisions": ("int4",)}, "TARGET_UNKNOWN", "int4"),
        ({"targets": ("onnx",), "precisions": ("fp32", "fp16")}, "TARGET_UNKNOWN", "fp16"),
        ({"max_drop": 2.0}, "MAX_DROP_INVALID", "between 0 and 1"),
        ({"name": "My Cells"}, "NAME_INVALID", "such as 'my-cells'"),
        ({"settings_yaml": "calibration_picture: 3"}, "BAD", "calibration_picture"),
        ({"settings_yaml": "max_drop: 0.5"}, "SETTING_RESERVED", "option of publish"),
        ({"model": "cells:last"}, "STAGE_NOT_FOUND", "it has: best"),
    ],
)
async def test_a_mistake_in_a_publish_is_named(world, more, reason, words):
    await world.trained()
    with pytest.raises(LodeworksError) as raised:
        await world.part.publishing.publish(world.administrator, PROJECT, PublishWish(**{"model": "cells", **more}))
    assert words in raised.value.message
    assert reason in {raised.value.reason, "BAD"}


async def test_a_stage_without_onnx_is_not_published(world):
    await world.trained(files=("best.pt",))
    with pytest.raises(ConflictError, match="has no ONNX file"):
        await world.part.publishing.publish(world.administrator, PROJECT, PublishWish("cells"))


async def test_packages_from_elsewhere_are_proved_and_signed(world):
    digest = await world.uploaded(world.packed("onnx", "fp32"))
    release = await world.part.algorithms.add(world.administrator, PROJECT, "gates", archives=[digest])
    assert (release.full_name, release.state) == ("gates@1", ReleaseState.RELEASED)
    broken = await world.uploaded(b"no tar at all")
    with pytest.raises(InvalidError, match="the package is not sound"):
        await world.part.algorithms.add(world.administrator, PROJECT, "gates", archives=[broken])
    with pytest.raises(NotFoundError, match="upload it first"):
        await world.part.algorithms.add(world.administrator, PROJECT, "gates", archives=["ab" * 32])


async def test_a_deployment_is_the_next_generation_of_a_signed_document(world):
    await world.trained()
    release = await published(world)
    device_id = await world.device()
    shown = (await world.part.deployments.deploy(world.administrator, PROJECT, Wish(("gate-1",), "cells")))[0]
    assert (shown.state, shown.device.generation) == (DeviceState.ONLINE, 1)
    assert shown.device.desired[0].variant == "openvino-int8"
    data = await world.told(device_id, seq=2)
    document = document_of(data)
    fastest = release.packages[1]
    assert document["device_id"] == device_id
    assert document["algorithms"][0]["package_id"] == fastest.id
    assert document["algorithms"][0]["release_path"] == release.target_path
    # It verifies with the key that the repository lists, and names blobs that the device may read.
    keys = json.loads(await world.trust.repository.target("trust/desired-state-keys.json"))["keys"]
    async with world.store.snapshot() as tx:
        stored = (await tx.devices.get(device_id)).document
    key = Key.from_dict(stored.key_id, keys[stored.key_id])
    key.verify_signature(Signature(stored.key_id, stored.signature.hex()), data)
    for blob in fastest.blobs:
        pieces = [piece async for piece in world.content.read(device_scope(device_id), blob.digest, offset=0, limit=0)]
        assert sum(len(part) for _, part, _ in pieces) == blob.size_bytes
    with pytest.raises(NotFoundError):
        await world.content.size_bytes(device_scope(device_id), release.packages[0].blobs[0].digest)
    # What it has accepted is not sent again.
    assert await world.told(device_id, seq=3, observed=1) is None


async def test_a_variant_is_inferred_from_its_packed_package(world):
    await world.trained()
    release = await published(world)
    who = world.administrator
    task_id = await world.part.measuring.infer(who, PROJECT, InferWish("cells", "labelled", variant="openvino-int8"))
    run = await world.kinds.get("infer").prepare(await world.task(task_id))
    packed = next(one for one in run.inputs if one.role == "model/package.tar")
    assert packed.digest == release.packages[1].archive_digest
    assert packed.size_bytes == len(await world.blobs.read(packed.digest))
    with pytest.raises(InvalidError, match="it has: onnx-fp32, openvino-int8"):
        await world.part.measuring.infer(who, PROJECT, InferWish("cells", "labelled", variant="onnx-int8"))


async def test_set_stop_start_undeploy(world):
    await world.trained()
    await published(world)
    device_id = await world.device()
    deployments, who = world.part.deployments, world.administrator
    with pytest.raises(NotFoundError, match="it has: none"):
        await deployments.configure(who, PROJECT, "gate-1", "cells", confidence=0.5)
    await deployments.deploy(who, PROJECT, Wish(("gate-1",), "cells", confidence=0.4))
    shown = await deployments.configure(who, PROJECT, "gate-1", "cells", confidence=0.6)
    assert (shown.device.generation, shown.device.desired[0].confidence) == (2, 0.6)
    again = await deployments.configure(who, PROJECT, "gate-1", "cells", confidence=0.6)
    assert again.device.generation == 2
    await deployments.set_phase(who, PROJECT, "gate-1", "cells", phase=DesiredPhase.STOPPED)
    assert document_of(await world.told(device_id, seq=2))["algorithms"][0]["state"] == "stopped"
    await deployments.set_phase(who, PROJECT, "gate-1", "cells", phase=DesiredPhase.RUNNING)
    await deployments.set_phase(who, PROJECT, "gate-1", "cells", phase=DesiredPhase.ABSENT)
    document = document_of(await world.told(device_id, seq=3, observed=4))
    assert (document["generation"], document["algorithms"][0]["state"]) == (5, "absent")
    with pytest.raises(NotFoundError):
        await deployments.set_phase(who, PROJECT, "gate-1", "cells", phase=DesiredPhase.RUNNING)
    with pytest.raises(InvalidError, match="between 0 and 1"):
        await deployments.deploy(who, PROJECT, Wish(("gate-1",), "cells", confidence=7))


async def test_a_rollback_wants_what_answers_or_answered_before(world):
    await world.trained()
    first, second = await published(world), await published(world)
    device_id = await world.device()
    deployments, who = world.part.deployments, world.administrator
    await deployments.deploy(who, PROJECT, Wish(("gate-1",), "cells@1"))
    with pytest.raises(ConflictError, match="no other release of cells before"):
        await deployments.rollback(who, PROJECT, "gate-1", "cells")
    await deployments.deploy(who, PROJECT, Wish(("gate-1",), "cells"))
    # Refused by the device: what answers now is the goal.
    told = {"name": "cells", "phase": "ROLLED_BACK", "active": first.packages[1].id, "reason": "gate-accuracy"}
    await world.told(device_id, seq=2, observed=2, algorithms=[told])
    shown = await deployments.rollback(who, PROJECT, "gate-1", "cells")
    assert (shown.device.desired[0].release_name, shown.device.generation) == ("cells@1", 3)
    # Committed there: what was before is the goal.
    told = {"name": "cells", "phase": "COMMITTED", "active": first.packages[1].id, "previous": second.packages[1].id}
    await world.told(device_id, seq=3, observed=3, algorithms=[told])
    shown = await deployments.rollback(who, PROJECT, "gate-1", "cells")
    assert shown.device.desired[0].release_name == "cells@2"


async def test_the_package_fits_the_device(world):
    await world.trained()
    await published(world)
    await world.device("small", runtimes={"onnxruntime": "1.31.1"})
    await world.device("bare", runtimes={})
    deployments, who = world.part.deployments, world.administrator
    shown = (await deployments.deploy(who, PROJECT, Wish(("small",), "cells")))[0]
    assert shown.device.desired[0].variant == "onnx-fp32"
    with pytest.raises(ConflictError, match="openvino-int8 needs the runtime openvino, the device has: none"):
        await deployments.deploy(who, PROJECT, Wish(("bare",), "cells"))
    with pytest.raises(InvalidError, match="it has: onnx-fp32, openvino-int8"):
        await deployments.deploy(who, PROJECT, Wish(("small",), "cells", variant="tensorrt-fp16"))
    forced = (await deployments.deploy(who, PROJECT, Wish(("bare",), "cells", unfit_allowed=True)))[0]
    assert forced.device.desired[0].variant == "openvino-int8"
    await world.part.devices.add(who, PROJECT, "silent", labels={})
    with pytest.raises(ConflictError, match="has not said yet what it can run"):
        await deployments.deploy(who, PROJECT, Wish(("silent",), "cells"))
    # On all of them or on none.
    with pytest.raises(ConflictError):
        await deployments.deploy(who, PROJECT, Wish(("small", "silent"), "cells"))
    assert (await world.part.devices.get(who, PROJECT, "small")).device.generation == 1


async def test_a_report_counts_once_and_a_restored_backup_is_overtaken(world):
    await world.trained()
    await published(world)
    device_id = await world.device()
    await world.part.deployments.deploy(world.administrator, PROJECT, Wish(("gate-1",), "cells"))
    before = (await world.part.devices.get(world.administrator, PROJECT, "gate-1")).device
    await world.told(device_id, seq=2, observed=1, temperature=40)
    await world.told(device_id, seq=2, observed=1, temperature=99)
    after = (await world.part.devices.get(world.administrator, PROJECT, "gate-1")).device
    assert (after.reported["temperature"], after.revision) == (40, before.revision + 1)
    document = document_of(await world.told(device_id, seq=3, observed=9))
    assert document["generation"] == 10


async def test_a_revoked_device_hears_nothing_and_a_wanted_release_stays(world):
    await world.trained()
    await published(world)
    device_id = await world.device()
    who = world.administrator
    await world.part.deployments.deploy(who, PROJECT, Wish(("gate-1",), "cells"))
    with pytest.raises(ConflictError, match="is wanted on: gate-1"):
        await world.part.algorithms.delete(who, PROJECT, "cells@1")
    assert (await world.part.devices.revoke(who, PROJECT, "gate-1")).state is DeviceState.REVOKED
    with pytest.raises(PermissionDeniedError):
        await world.told(device_id, seq=2)
    with pytest.raises(PermissionDeniedError):
        world.revocations.require_good(identity_of(device_id))
    await world.part.devices.delete(who, PROJECT, "gate-1")
    with pytest.raises(NotFoundError):
        await world.told(device_id, seq=3)
    await world.part.algorithms.delete(who, PROJECT, "cells@1")


async def test_a_repeated_announcement_gives_the_same_token(world):
    devices, who = world.part.devices, world.administrator
    made = [await devices.add(who, PROJECT, "gate-9", labels={"site": "a"}, request_id="r") for _ in range(2)]
    assert made[0].token == made[1].token
    assert made[0].shown.state is DeviceState.PENDING
    page = await devices.list(who, PROJECT, labels={"site": "a"}, after_name="", limit=10)
    assert [one.device.name for one in page.devices] == ["gate-9"]
    with pytest.raises(ConflictError, match="choose another name"):
        await devices.add(who, PROJECT, "gate-9", labels={})
