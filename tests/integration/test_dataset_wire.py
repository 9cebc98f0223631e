"""Projects, classes and datasets over real TLS: what goes right, and every refusal arriving as a status."""

import hashlib

import grpc.aio
import pytest
from controller_world import installation
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from lodeworks.api.content.v1 import content_pb2, content_pb2_grpc
from lodeworks.api.dataset.v1 import curation_pb2, curation_pb2_grpc, dataset_pb2, dataset_pb2_grpc
from lodeworks.api.object_class.v1 import object_class_pb2, object_class_pb2_grpc
from lodeworks.api.project.v1 import project_pb2, project_pb2_grpc
from lodeworks.api.task.v1 import task_pb2, task_pb2_grpc


@pytest.fixture
async def site(tmp_path):
    async with installation(tmp_path / "state") as opened:
        opened.controller.ground.pool.start()
        try:
            yield opened
        finally:
            opened.controller.ground.pool.close()


@pytest.fixture
async def channel(site):
    async with site.person() as opened:
        yield opened


def reason_of(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return info.reason


SERVICES = [
    (project_pb2, project_pb2_grpc.ProjectServiceStub, "ProjectService", {"CreateProject", "ListProjects"}),
    (object_class_pb2, object_class_pb2_grpc.ClassServiceStub, "ClassService", set()),
    (dataset_pb2, dataset_pb2_grpc.DatasetServiceStub, "DatasetService", set()),
    (curation_pb2, curation_pb2_grpc.CurationServiceStub, "CurationService", {"ListPublicDatasets"}),
]
FILLED = {
    "ImportDataset": {"to": "x", "source": dataset_pb2.ImportSource(blob_digest="0" * 64)},
    "GenerateDataset": {"to": "x"},
    "MergeDatasets": {"datasets": ["a", "b"]},
    "ExcludeDataset": {"dataset": "a", "without": ["b"]},
    "SampleDataset": {"count": 1},
    "SplitDataset": {"parts": [dataset_pb2.SplitPart(to="a", weight=1), dataset_pb2.SplitPart(to="b", weight=1)]},
    "MineDataset": {"top_k": 1},
    "TagDataset": {"add": ["x"]},
    "FindLeaks": {"datasets": ["a", "b"]},
    "ComputeSignals": {"datasets": ["a"]},
    "AnalyzeDatasets": {"datasets": ["a"]},
    "AddMember": {"role": project_pb2.PROJECT_ROLE_VIEWER},
}


async def test_every_call_refuses_what_is_not_there_and_who_shows_no_token(site, channel):
    async with site.person("") as stranger:
        for module, stub, service, without_project in SERVICES:
            for method in module.DESCRIPTOR.services_by_name[service].methods:
                request = getattr(module, method.input_type.name)
                if method.name not in without_project:
                    filled = request(project="nothing", **FILLED.get(method.name, {}))
                    with pytest.raises(grpc.aio.AioRpcError) as absent:
                        await getattr(stub(channel), method.name)(filled)
                    assert (absent.value.code(), reason_of(absent.value)) == (
                        grpc.StatusCode.NOT_FOUND,
                        "PROJECT_NOT_FOUND",
                    ), method.name
                with pytest.raises(grpc.aio.AioRpcError) as unknown:
                    await getattr(stub(stranger), method.name)(request(**FILLED.get(method.name, {})))
                assert unknown.value.code() is grpc.StatusCode.UNAUTHENTICATED, method.name


async def test_a_project_with_members_and_classes(channel):
    projects = project_pb2_grpc.ProjectServiceStub(channel)
    classes = object_class_pb2_grpc.ClassServiceStub(channel)
    create = project_pb2.CreateProjectRequest(name="cells", class_names=["RBC", "WBC"], request_id="1")
    made = (await projects.CreateProject(create)).project
    again = (await projects.CreateProject(create)).project

    renamed = await classes.RenameClass(
        object_class_pb2.RenameClassRequest(project="cells", class_name="rbc", new_name="red")
    )
    first_page = await projects.ListProjects(project_pb2.ListProjectsRequest(page_size=1))
    rest = await projects.ListProjects(project_pb2.ListProjectsRequest(page_token=first_page.next_page_token))
    members = await projects.ListMembers(project_pb2.ListMembersRequest(project=made.id))

    assert made == again
    assert (made.object_type, made.role) == (project_pb2.OBJECT_TYPE_DETECTION, project_pb2.PROJECT_ROLE_OWNER)
    assert [(entry.name, list(entry.aliases)) for entry in renamed.classes] == [("red", ["RBC"]), ("WBC", [])]
    assert renamed.revision == 2
    assert [project.name for page in (first_page, rest) for project in page.projects] == ["cells", "default"]
    assert [member.user_name for member in members.members] == ["ada"]
    old = await classes.ListClasses(object_class_pb2.ListClassesRequest(project="cells", revision=1))
    assert [entry.name for entry in old.classes] == ["RBC", "WBC"]


async def test_an_import_is_a_task_with_a_version_in_the_making(channel):
    data = b"an archive"
    digest = hashlib.sha256(data).hexdigest()
    scope = content_pb2.ProjectScope(project="default")
    datasets = dataset_pb2_grpc.DatasetServiceStub(channel)
    request = dataset_pb2.ImportDatasetRequest(
        project="default", to="labelled", source=dataset_pb2.ImportSource(blob_digest=digest, name="a.zip")
    )
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await datasets.ImportDataset(request)
    await content_pb2_grpc.ContentServiceStub(channel).BatchPut(
        content_pb2.BatchPutRequest(scope=scope, blobs=[content_pb2.BlobData(digest=digest, data=data)])
    )

    started = await datasets.ImportDataset(request)

    assert reason_of(missing.value) == "BLOB_NOT_FOUND"
    assert (started.version.name, started.version.state) == ("labelled@1", dataset_pb2.VERSION_STATE_CREATING)
    assert started.version.task_id == started.task_id
    task = await task_pb2_grpc.TaskServiceStub(channel).GetTask(task_pb2.GetTaskRequest(task_id=started.task_id))
    assert task.task.kind == "import"
    with pytest.raises(grpc.aio.AioRpcError) as early:
        await datasets.GetStats(dataset_pb2.GetStatsRequest(project="default", dataset="labelled"))
    assert (early.value.code(), reason_of(early.value)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "DATASET_NOT_READY",
    )
    history = await datasets.ListVersions(dataset_pb2.ListVersionsRequest(project="default", dataset="labelled"))
    assert [version.number for version in history.versions] == [1]


WRONG = [
    ("ImportDataset", dataset_pb2.ImportDatasetRequest(to="x"), "SOURCE_INVALID"),
    (
        "ImportDataset",
        dataset_pb2.ImportDatasetRequest(source=dataset_pb2.ImportSource(blob_digest="0" * 64)),
        "NAME_INVALID",
    ),
    ("GenerateDataset", dataset_pb2.GenerateDatasetRequest(to="x", settings_yaml="colour: 1"), "SETTING_INVALID"),
    ("SampleDataset", dataset_pb2.SampleDatasetRequest(dataset="x"), "VERSION_NOT_FOUND"),
    ("MergeDatasets", dataset_pb2.MergeDatasetsRequest(datasets=["x"]), "MERGE_INVALID"),
    (
        "SplitDataset",
        dataset_pb2.SplitDatasetRequest(dataset="x", parts=[dataset_pb2.SplitPart(to="a", weight=1)] * 2),
        "SPLIT_INVALID",
    ),
    ("GetImportReport", dataset_pb2.GetImportReportRequest(task_id="x"), "REPORT_NOT_FOUND"),
    ("ListPictures", dataset_pb2.ListPicturesRequest(dataset="x", page_token="y"), "PAGE_TOKEN"),
]


async def test_wrong_requests_say_what_is_wrong(channel):
    stub = dataset_pb2_grpc.DatasetServiceStub(channel)
    for method, request, reason in WRONG:
        request.project = "default"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await getattr(stub, method)(request)
        assert reason_of(refused.value) == reason, method
