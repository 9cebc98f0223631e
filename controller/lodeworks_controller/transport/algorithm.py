"""What people call about algorithms."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
from lodeworks.api.algorithm.v1 import algorithm_pb2, algorithm_pb2_grpc

from lodeworks_controller.domain.algorithm import Package, Release, ReleaseState
from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.service.algorithm import AlgorithmService, ListedAlgorithm
from lodeworks_controller.transport.model import page_number
from lodeworks_controller.transport.wire import page_size, to_time

Context = grpc.aio.ServicerContext[Any, Any]
CallerOf = Callable[[Context], Awaitable[Principal]]

_STATES = {state: algorithm_pb2.ReleaseState.Value(f"RELEASE_STATE_{state.name}") for state in ReleaseState}


class AlgorithmServicer(algorithm_pb2_grpc.AlgorithmServiceServicer):
    """Serves ``lodeworks.api.algorithm.v1.AlgorithmService``."""

    def __init__(self, algorithms: AlgorithmService, *, caller: CallerOf) -> None:
        self._algorithms = algorithms
        self._caller = caller

    async def ListAlgorithms(
        self, request: algorithm_pb2.ListAlgorithmsRequest, context: Context
    ) -> algorithm_pb2.ListAlgorithmsResponse:
        """Lists the algorithms of a project with their newest releases."""
        limit = page_size(request.page_size)
        found = await self._algorithms.list(
            await self._caller(context), request.project, after_name=request.page_token, limit=limit
        )
        token = found[-1].algorithm.name if len(found) == limit else ""
        return algorithm_pb2.ListAlgorithmsResponse(
            algorithms=[_to_algorithm(one) for one in found], next_page_token=token
        )

    async def GetAlgorithm(
        self, request: algorithm_pb2.GetAlgorithmRequest, context: Context
    ) -> algorithm_pb2.GetAlgorithmResponse:
        """Shows one release of an algorithm."""
        listed, release = await self._algorithms.get(await self._caller(context), request.project, request.algorithm)
        return algorithm_pb2.GetAlgorithmResponse(algorithm=_to_algorithm(listed), release=to_release(release))

    async def ListReleases(
        self, request: algorithm_pb2.ListReleasesRequest, context: Context
    ) -> algorithm_pb2.ListReleasesResponse:
        """Lists all releases and candidates of an algorithm."""
        limit = page_size(request.page_size)
        found = await self._algorithms.releases(
            await self._caller(context),
            request.project,
            request.algorithm,
            before_number=page_number(request.page_token),
            limit=limit,
        )
        token = str(found[-1].number) if len(found) == limit else ""
        return algorithm_pb2.ListReleasesResponse(releases=[to_release(one) for one in found], next_page_token=token)

    async def SignRelease(
        self, request: algorithm_pb2.SignReleaseRequest, context: Context
    ) -> algorithm_pb2.SignReleaseResponse:
        """Turns a candidate into a release."""
        release = await self._algorithms.sign(
            await self._caller(context), request.project, request.release, request_id=request.request_id
        )
        return algorithm_pb2.SignReleaseResponse(release=to_release(release))

    async def AddRelease(
        self, request: algorithm_pb2.AddReleaseRequest, context: Context
    ) -> algorithm_pb2.AddReleaseResponse:
        """Registers packages that were built elsewhere."""
        release = await self._algorithms.add(
            await self._caller(context),
            request.project,
            request.name,
            archives=tuple(request.package_digests),
            request_id=request.request_id,
        )
        return algorithm_pb2.AddReleaseResponse(release=to_release(release))

    async def DeleteRelease(
        self, request: algorithm_pb2.DeleteReleaseRequest, context: Context
    ) -> algorithm_pb2.DeleteReleaseResponse:
        """Deletes a release or candidate that no device wants."""
        await self._algorithms.delete(
            await self._caller(context), request.project, request.release, request_id=request.request_id
        )
        return algorithm_pb2.DeleteReleaseResponse()


def to_release(release: Release) -> algorithm_pb2.Release:
    """Returns a release as a message."""
    return algorithm_pb2.Release(
        id=release.id,
        algorithm_id=release.algorithm_id,
        name=release.full_name,
        number=release.number,
        state=_STATES[release.state],
        model_name=release.model_name,
        packages=[_to_package(package) for package in release.packages],
        class_names=release.class_names,
        report_json=json.dumps(release.report, sort_keys=True) if release.report else "",
        report_digest=release.report_digest,
        card_digest=release.card_digest,
        task_id=release.task_id,
        create_time=to_time(release.created_at),
        sign_time=to_time(release.signed_at),
    )


def _to_package(package: Package) -> algorithm_pb2.Package:
    measured = package.measurement
    return algorithm_pb2.Package(
        id=package.id,
        variant=package.variant,
        target=package.target,
        precision=package.precision,
        size_bytes=package.size_bytes,
        ap=measured.ap or 0.0,
        ap50=measured.ap50 or 0.0,
        drop=measured.drop or 0.0,
        latency_ms=measured.latency_ms or 0.0,
        latency_p95_ms=measured.latency_p95_ms or 0.0,
        speed_up=measured.speed_up or 0.0,
        archive_digest=package.archive_digest,
        archive_size_bytes=package.archive_size_bytes,
        class_drops=[
            algorithm_pb2.ClassDrop(class_name=one.class_name, ap=one.ap, drop=one.drop) for one in measured.class_drops
        ],
    )


def _to_algorithm(listed: ListedAlgorithm) -> algorithm_pb2.Algorithm:
    algorithm = listed.algorithm
    return algorithm_pb2.Algorithm(
        id=algorithm.id,
        project_id=algorithm.project_id,
        name=algorithm.name,
        latest=None if listed.latest is None else to_release(listed.latest),
        release_count=listed.release_count,
        create_time=to_time(algorithm.created_at),
    )
