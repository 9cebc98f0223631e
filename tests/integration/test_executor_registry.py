"""Executors of people: who may use them, who mines and infers for whom, what their images say, on a real database."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lodeworks.resources.model import AsyncModels
from lodeworks_controller.domain.executor import ExecutorOperation, ExecutorPolicy
from lodeworks_controller.domain.identity import InstallationRole, Principal
from lodeworks_controller.domain.project import ObjectType
from lodeworks_controller.errors import (
    BadOutputError,
    ConflictError,
    ExistsError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
)
from lodeworks_controller.service.images import CheckWish
from lodeworks_controller.service.measuring import InferWish
from lodeworks_controller.service.mining import MineWish
from lodeworks_controller.service.training import TrainWish
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_controller.transport.model import ModelServicer, ModelServices
from lodeworks_formats.image_check import CheckReport, Finding, FindingOutcome
from lodeworks_formats.image_manual import PulledImage
from model_world import PROJECT, ModelWorld, stage_files

ALL = {ExecutorOperation.TRAIN: "epochs: 1\n", ExecutorOperation.MINE: "", ExecutorOperation.INFER: "score: 0.5\n"}
STRANGER = Principal("u-stranger", "bob", InstallationRole.USER)


@pytest.fixture(scope="module")
def pool():
    running = Pool(processes=1).start()
    yield running
    running.close()


@pytest.fixture
async def world(tmp_path, pool):
    opened = await ModelWorld(tmp_path, pool).open()
    yield opened
    await opened.close()


async def added(world: ModelWorld, name: str, *, templates=ALL, project: str = PROJECT) -> str:
    return await world.part.registry.add(
        world.administrator, name, image=f"{name}@sha256:1", templates=templates, project=project
    )


async def infers(world: ModelWorld, model: str, **more: str) -> str:
    task_id = await world.part.measuring.infer(world.administrator, PROJECT, InferWish(model, "labelled", **more))
    return (await world.task(task_id)).spec["executor"]


async def test_an_executor_belongs_to_its_project_until_it_is_shared(world: ModelWorld):
    await world.labelled()
    await world.project("other")
    await added(world, "yolo", project="other")
    wish = TrainWish("labelled", "labelled", executor="yolo")
    with pytest.raises(NotFoundError, match=r"belongs to another project.*lode executor share yolo"):
        await world.part.training.train(world.administrator, PROJECT, wish)
    await world.part.registry.share(world.administrator, "yolo", public=True)
    await world.part.training.train(world.administrator, PROJECT, wish)
    public = await world.part.executors.list(world.administrator, public_only=True)
    assert [(one.executor.name, one.project_name) for one in public] == [("yolo", "other")]
    await world.part.registry.share(world.administrator, "yolo", public=False)
    listed = await world.part.executors.list(world.administrator, project=PROJECT)
    assert [one.executor.name for one in listed] == ["detector", "infer", "mine"]
    with pytest.raises(NotFoundError, match=r"no executor 'yol'; there are: detector, infer, mine$"):
        await world.part.registry.copy(world.administrator, "yol", name="own", project=PROJECT)


async def test_who_is_no_member_sees_public_ones_alone_and_changes_nothing(world: ModelWorld):
    await added(world, "yolo")
    seen = [one.executor.name for one in await world.part.executors.list(STRANGER)]
    assert "yolo" not in seen
    with pytest.raises(NotFoundError, match="there are: detector, infer, mine"):
        await world.part.executors.get(STRANGER, "yolo")
    with pytest.raises(PermissionDeniedError):
        await world.part.images.add(STRANGER, "mine-too", image="x:1")
    with pytest.raises(NotFoundError):
        await world.part.registry.copy(STRANGER, "yolo", name="mine-too", project=PROJECT)


async def test_a_copy_has_bounds_of_its_own_and_serves_itself(world: ModelWorld):
    source = await added(world, "yolo")
    await world.part.registry.associate(world.administrator, "yolo", mining="yolo", inference="yolo")
    copied = await world.part.registry.copy(world.administrator, "yolo", name="fast", project=PROJECT)
    await world.part.registry.set_policy(world.administrator, "fast", ExecutorPolicy(memory_bytes=1 << 30))
    async with world.store.snapshot() as tx:
        old, new = await tx.executors.find(source), await tx.executors.find(copied)
    assert (old.policy.memory_bytes, new.policy.memory_bytes) == (0, 1 << 30)
    assert (old.inference_id, new.inference_id) == (source, copied)
    assert new.image == old.image
    await world.part.registry.delete(world.administrator, "yolo")
    with pytest.raises(ExistsError, match="there is an executor named fast"):
        await added(world, "fast")
    with pytest.raises(ExistsError, match="of its own"):
        await world.part.registry.rename(world.administrator, "fast", name="detector")
    await world.part.registry.rename(world.administrator, "fast", name="faster")
    assert (await world.part.executors.shown(copied)).executor.name == "faster"


async def test_who_trained_infers_where_nobody_else_can(world: ModelWorld):
    await world.labelled()
    await added(world, "yolo")
    await added(world, "helper")
    await world.trained(executor="yolo", name="foreign", files=("best.pt",))
    await world.trained(executor="yolo", name="known")
    assert await infers(world, "foreign") == "yolo"
    assert await infers(world, "known") == "infer", "what has an ONNX file runs on the platform's own"
    await world.part.registry.associate(world.administrator, "yolo", inference="helper")
    assert await infers(world, "foreign") == "helper"
    assert await infers(world, "known") == "helper"
    assert await infers(world, "foreign", executor="yolo") == "yolo"
    mined = await world.part.mining.mine(
        world.administrator, PROJECT, MineWish("labelled", 2, model="foreign", to="next")
    )
    assert (await world.task(mined.task_id)).spec["executor"] == "yolo"


async def test_use_and_association_hold_an_executor(world: ModelWorld):
    await world.labelled()
    await added(world, "yolo")
    await added(world, "helper")
    await world.part.registry.associate(world.administrator, "yolo", mining="helper")
    with pytest.raises(ConflictError, match="mines or infers for: yolo"):
        await world.part.registry.delete(world.administrator, "helper")
    made = await world.part.training.train(
        world.administrator, PROJECT, TrainWish("labelled", "labelled", executor="yolo")
    )
    await world.part.registry.rename(world.administrator, "yolo", name="yolo-2")
    with pytest.raises(ConflictError, match=f"is used by: {made.task_id}"):
        await world.part.registry.delete(world.administrator, "yolo-2")


async def test_only_who_can_is_associated_and_the_platforms_own_stay(world: ModelWorld):
    await added(world, "trainer", templates={ExecutorOperation.TRAIN: ""})
    with pytest.raises(ConflictError, match="executor trainer cannot mine; it can: train"):
        await world.part.registry.associate(world.administrator, "trainer", mining="trainer")
    for change in (
        world.part.registry.share(world.administrator, "detector", public=False),
        world.part.registry.set_policy(world.administrator, "detector", ExecutorPolicy()),
        world.part.registry.delete(world.administrator, "infer"),
    ):
        with pytest.raises(ConflictError, match="belongs to the platform"):
            await change


async def test_bounds_reach_the_run(world: ModelWorld):
    await world.labelled()
    await added(world, "yolo", templates={ExecutorOperation.TRAIN: "shm_size: 2G\nexport_format: ark:raw\n"})
    policy = ExecutorPolicy(network="none", memory_bytes=1 << 30, user="7:8", out_bytes=9)
    await world.part.registry.set_policy(world.administrator, "yolo", policy)
    made = await world.part.training.train(
        world.administrator, PROJECT, TrainWish("labelled", "labelled", executor="yolo")
    )
    run = await world.kinds.get("train").prepare(await world.task(made.task_id))
    assert (run.policy.network, run.policy.user, run.policy.out_bytes) == ("none", "7:8", 9)
    assert (run.resources.memory_bytes, run.resources.shm_bytes) == (1 << 30, 2 << 30)
    assert run.export_format == "ark:raw"


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (ExecutorPolicy(network="host"), "policy.network"),
        (ExecutorPolicy(network="a b"), "policy.network"),
        (ExecutorPolicy(user="root"), "policy.user"),
        (ExecutorPolicy(memory_bytes=-1), "policy.memory_bytes"),
    ],
)
async def test_wrong_bounds_are_refused(world: ModelWorld, policy, field):
    await added(world, "yolo")
    with pytest.raises(InvalidError) as told:
        await world.part.registry.set_policy(world.administrator, "yolo", policy)
    assert told.value.field == field


def _image(tag: str, **files: str) -> bytes:
    named = {name.replace("__", "/").replace("_template", "-template.yaml"): text for name, text in files.items()}
    return PulledImage("host/yolo:1", f"host/yolo@sha256:{tag}", f"sha256:{tag}", 1, "amd64", named).to_bytes()


async def test_what_a_worker_read_is_registered_and_pinned_anew_on_wish(world: ModelWorld):
    registry, images, who = world.part.registry, world.part.images, world.administrator
    task = await world.task(await images.add(who, "yolo", image="host/yolo:1", project=PROJECT, request_id="r1"))
    assert await images.add(who, "yolo", image="host/yolo:1", project=PROJECT, request_id="r1") == task.id
    run = await world.kinds.get("pull").prepare(task)
    assert (run.executor, [one.role for one in run.inputs]) == ("builtin:pull", ["options"])
    with pytest.raises(NotFoundError):
        await world.part.executors.get(who, "yolo")
    made = await world.finish(task, await world.outputs({"image": _image("aa", training_template="a: 1\n")}))
    found = (await world.part.executors.get(who, "yolo")).executor
    assert (made.id, found.image, found.reference) == (found.id, "host/yolo@sha256:aa", "host/yolo:1")
    for newest, expected in ((False, "aa"), (True, "bb")):
        task = await world.task(await images.pull(who, "yolo", newest=newest, project=PROJECT))
        await world.finish(task, await world.outputs({"image": _image("bb", infer_template="b: 2\n")}))
        assert (await world.part.executors.get(who, "yolo")).executor.image == f"host/yolo@sha256:{expected}"
    assert list((await world.part.executors.get(who, "yolo")).executor.templates) == [ExecutorOperation.INFER]
    await registry.delete(who, "yolo")


async def test_a_project_gets_the_templates_of_its_object_type(world: ModelWorld):
    await world.labelled()
    images, who = world.part.images, world.administrator
    task = await world.task(await images.add(who, "many", image="host/yolo:1", project=PROJECT))
    manual = _image(
        "aa",
        **{"manifest.yaml": "object_type: [4, 2]"},
        **{"det__training_template": "a: 1\n", "instance-seg__training_template": "b: 2\n"},
    )
    await world.finish(task, await world.outputs({"image": manual}))
    async with world.store.snapshot() as tx:
        masks = await tx.projects.find(PROJECT)
    for object_type, number, setting in ((ObjectType.DETECTION, 2, "a"), (ObjectType.INSTANCE_SEGMENTATION, 4, "b")):
        async with world.store.transaction() as tx:
            await tx.projects.put(replace(masks, object_type=object_type))
        async with world.store.snapshot() as tx:
            found = await world.part.executors.find(tx, "many", project_id=masks.id)
        assert (found.object_type, found.templates) == (
            number,
            {ExecutorOperation.TRAIN: f"{setting}: {number // 2}\n"},
        )


async def test_what_is_no_manual_or_comes_too_late_is_not_registered(world: ModelWorld):
    images, who = world.part.images, world.administrator
    task = await world.task(await images.add(who, "yolo", image="host/yolo:1", project=PROJECT))
    kind = world.kinds.get("pull")
    with pytest.raises(BadOutputError, match="is not an executor image"):
        await kind.finish(task, await world.outputs({"image": _image("aa")}))
    with pytest.raises(BadOutputError, match="cannot be read"):
        await kind.finish(task, await world.outputs({"image": b"{}"}))
    await added(world, "yolo")
    with pytest.raises(ExistsError):
        await world.finish(task, await world.outputs({"image": _image("aa", training_template="")}))
    with pytest.raises(InvalidError, match="is no image"):
        await images.add(who, "other", image="-v /:/host x")
    with pytest.raises(ConflictError, match="there is nothing to pull"):
        await images.pull(who, "detector", newest=False)


async def test_a_check_leaves_its_report(world: ModelWorld):
    images, who = world.part.images, world.administrator
    await added(world, "yolo")
    task_id = await images.check(who, CheckWish("yolo", settings_yaml="epochs: 1\n", project=PROJECT, gpus=2))
    task = await world.task(task_id)
    assert '"reference":"yolo@sha256:1"' in task.spec["options"]
    assert task.resources.gpus == 2
    with pytest.raises(ConflictError, match="only a check that succeeded has a report"):
        await images.report(who, task_id)
    with pytest.raises(InvalidError, match="made by the platform"):
        await images.check(who, CheckWish("yolo", settings_yaml="gpu_id: 1\n", project=PROJECT))
    report = CheckReport("yolo", [Finding("training.exit", FindingOutcome.PASSED)])
    made = await world.finish(task, await world.outputs({"report": report.to_bytes()}))
    assert made.type == "image_check"
    with pytest.raises(BadOutputError):
        await world.kinds.get("check").finish(task, await world.outputs({"report": b"no"}))


class Wire:
    """The client's connection, without a wire: calls the servicer, reads the store."""

    def __init__(self, world: ModelWorld):
        self._blobs = world.blobs
        self._servicer = ModelServicer(
            ModelServices(world.part.models, world.part.training, world.part.adoption, None, None), caller=self._caller
        )
        self._administrator = world.administrator

    async def _caller(self, _context):
        return self._administrator

    async def call(self, _stub, method, request):
        return await getattr(self._servicer, method)(request, None)

    async def download(self, _project, digest, path, *, size_bytes):
        path.write_bytes(await self._blobs.read(digest, limit=size_bytes))


async def test_what_a_training_left_beside_its_stages_is_fetched_by_path(world: ModelWorld, tmp_path):
    await world.labelled()
    await added(world, "yolo")
    made = await world.part.training.train(
        world.administrator, PROJECT, TrainWish("labelled", "labelled", executor="yolo", name="noted")
    )
    task = await world.task(made.task_id)
    beside = {"attachment/notes/readme.md": b"what", "tensorboard/run/events.out.tfevents.1": b"curves"}
    outputs = await world.outputs({**stage_files(("best.pt",), made.version.id), **beside})
    async with world.store.transaction() as tx:
        await tx.tasks.put_outputs(task.id, task.lease.epoch, outputs)
    await world.finish(task, outputs)
    version = await AsyncModels(Wire(world), PROJECT).get("noted")
    paths = await version.download_files(tmp_path / "got")
    told = {path.relative_to(tmp_path / "got").as_posix(): path.read_bytes() for path in paths}
    assert told == {"attachments/notes/readme.md": b"what", "tensorboard/run/events.out.tfevents.1": b"curves"}
