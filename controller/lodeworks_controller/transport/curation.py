"""Datasets kept in order: tags, likeness, differences, lineage, leaks, sharing, measures and analyses."""

from typing import Any

import grpc.aio
from lodeworks.api.dataset.v1 import curation_pb2, curation_pb2_grpc

from lodeworks_controller.domain.curation import Leak, Leaks, TagChange
from lodeworks_controller.domain.lineage import Edge, Node
from lodeworks_controller.service.curation import CurationService, Lineage, NodeSight
from lodeworks_controller.service.dataset_measuring import DatasetMeasuring
from lodeworks_controller.service.dataset_sharing import DatasetSharing
from lodeworks_controller.service.thumbnail import ThumbnailService
from lodeworks_controller.transport.dataset_messages import filter_of, to_dataset, to_version
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.wire import page_size

Context = grpc.aio.ServicerContext[Any, Any]


class CurationServicer(curation_pb2_grpc.CurationServiceServicer):
    """Serves ``lodeworks.api.dataset.v1.CurationService``."""

    def __init__(
        self,
        curation: CurationService,
        sharing: DatasetSharing,
        *,
        measuring: DatasetMeasuring,
        thumbnails: ThumbnailService,
        gate: Gate,
    ) -> None:
        self._curation = curation
        self._sharing = sharing
        self._measuring = measuring
        self._thumbnails = thumbnails
        self._gate = gate

    async def TagDataset(
        self, request: curation_pb2.TagDatasetRequest, context: Context
    ) -> curation_pb2.TagDatasetResponse:
        """Makes a version with other tags."""
        sight = await self._curation.tag(
            await self._gate.caller(context),
            request.project,
            request.dataset,
            change=TagChange(tuple(request.add), tuple(request.remove), request.boxes, tuple(request.class_names)),
            which=filter_of(request.filter) if request.HasField("filter") else None,
            to=request.to,
            request_id=request.request_id,
        )
        return curation_pb2.TagDatasetResponse(version=to_version(sight))

    async def DedupDataset(
        self, request: curation_pb2.DedupDatasetRequest, context: Context
    ) -> curation_pb2.DedupDatasetResponse:
        """Makes a version without pictures that look like another."""
        sight, removed = await self._curation.dedup(
            await self._gate.caller(context),
            request.project,
            request.dataset,
            distance=request.distance,
            to=request.to,
            dry_run=request.dry_run,
            request_id=request.request_id,
        )
        return curation_pb2.DedupDatasetResponse(version=to_version(sight), removed=removed)

    async def DiffVersions(
        self, request: curation_pb2.DiffVersionsRequest, context: Context
    ) -> curation_pb2.DiffVersionsResponse:
        """Compares two versions."""
        caller = await self._gate.caller(context)
        found = await self._curation.diff(caller, request.project, request.before, request.after, limit=request.limit)
        return curation_pb2.DiffVersionsResponse(
            before=to_version(found.before),
            after=to_version(found.after),
            added=found.pictures.added,
            removed=found.pictures.removed,
            reannotated=found.pictures.reannotated,
            retagged=found.pictures.retagged,
            unchanged=found.pictures.unchanged,
            classes=[
                curation_pb2.ClassDifference(class_name=name, boxes_before=before, boxes_after=after)
                for name, before, after in found.classes
            ],
            class_changes=[
                curation_pb2.ClassChange(raw_name=raw, before=before, after=after)
                for raw, before, after in found.class_changes
            ],
            pictures=[
                curation_pb2.PictureDifference(digest=one.digest, names=one.names, kind=one.kind)
                for one in found.pictures.shown
            ],
        )

    async def GetLineage(
        self, request: curation_pb2.GetLineageRequest, context: Context
    ) -> curation_pb2.GetLineageResponse:
        """Shows where a version comes from and what came from it."""
        found = await self._curation.lineage(await self._gate.caller(context), request.project, request.dataset)
        return curation_pb2.GetLineageResponse(
            id=found.id,
            up=[_edge(edge, found) for edge in found.up],
            down=[_edge(edge, found) for edge in found.down],
        )

    async def FindLeaks(
        self, request: curation_pb2.FindLeaksRequest, context: Context
    ) -> curation_pb2.FindLeaksResponse:
        """Finds what versions share."""
        names, found = await self._curation.leaks(
            await self._gate.caller(context),
            request.project,
            tuple(request.datasets),
            distance=request.distance if request.HasField("distance") else None,
            limit=request.limit,
        )
        return _leaks(names, found)

    async def SetHidden(
        self, request: curation_pb2.SetHiddenRequest, context: Context
    ) -> curation_pb2.SetHiddenResponse:
        """Hides a dataset, or shows it again."""
        caller = await self._gate.caller(context)
        sight = await self._sharing.hide(
            caller, request.project, request.dataset, hidden=request.hidden, request_id=request.request_id
        )
        return curation_pb2.SetHiddenResponse(dataset=to_dataset(sight))

    async def SetPublic(
        self, request: curation_pb2.SetPublicRequest, context: Context
    ) -> curation_pb2.SetPublicResponse:
        """Lets everybody copy a dataset, or its members alone."""
        caller = await self._gate.caller(context)
        sight = await self._sharing.publish(
            caller, request.project, request.dataset, public=request.public, request_id=request.request_id
        )
        return curation_pb2.SetPublicResponse(dataset=to_dataset(sight))

    async def ListPublicDatasets(
        self, request: curation_pb2.ListPublicDatasetsRequest, context: Context
    ) -> curation_pb2.ListPublicDatasetsResponse:
        """Lists what is public."""
        await self._gate.caller(context)
        limit = page_size(request.page_size)
        found = await self._sharing.public(after_id=request.page_token, limit=limit + 1)
        more = found[limit - 1].dataset.dataset.id if len(found) > limit else ""
        return curation_pb2.ListPublicDatasetsResponse(
            datasets=[
                curation_pb2.PublicDataset(dataset=to_dataset(one.dataset), project_name=one.project_name)
                for one in found[:limit]
            ],
            next_page_token=more,
        )

    async def ComputeSignals(
        self, request: curation_pb2.ComputeSignalsRequest, context: Context
    ) -> curation_pb2.ComputeSignalsResponse:
        """Starts to measure what was not measured yet."""
        found = await self._measuring.measure(
            await self._gate.caller(context), request.project, tuple(request.datasets), request_id=request.request_id
        )
        return curation_pb2.ComputeSignalsResponse(task_id=found.task_id, missing=found.pictures)

    async def MakeThumbnails(
        self, request: curation_pb2.MakeThumbnailsRequest, context: Context
    ) -> curation_pb2.MakeThumbnailsResponse:
        """Starts to make thumbnails where there are none."""
        started = await self._thumbnails.make(
            await self._gate.caller(context),
            request.project,
            tuple(request.datasets),
            digests=tuple(request.picture_digests),
            request_id=request.request_id,
        )
        return curation_pb2.MakeThumbnailsResponse(task_id=started.task_id, missing=started.pictures)

    async def AnalyzeDatasets(
        self, request: curation_pb2.AnalyzeDatasetsRequest, context: Context
    ) -> curation_pb2.AnalyzeDatasetsResponse:
        """Starts an analysis."""
        task_id = await self._measuring.analyze(
            await self._gate.caller(context),
            request.project,
            tuple(request.datasets),
            prediction_set_ids=tuple(request.prediction_set_ids),
            request_id=request.request_id,
        )
        return curation_pb2.AnalyzeDatasetsResponse(task_id=task_id)


def _edge(edge: Edge, lineage: Lineage) -> curation_pb2.LineageEdge:
    def node(one: Node) -> curation_pb2.LineageNode:
        sight = lineage.nodes.get(one, NodeSight())
        return curation_pb2.LineageNode(
            type=one.type, id=one.id, name=sight.name, class_map_revision=sight.class_revision
        )

    return curation_pb2.LineageEdge(parent=node(edge.parent), child=node(edge.child), role=edge.role)


def _leaks(names: tuple[str, ...], found: Leaks) -> curation_pb2.FindLeaksResponse:
    def leak(one: Leak) -> curation_pb2.Leak:
        return curation_pb2.Leak(
            first=names[one.first],
            second=names[one.second],
            first_digest=one.first_digest,
            second_digest=one.second_digest,
            first_name=one.first_name,
            second_name=one.second_name,
            distance=one.distance,
        )

    return curation_pb2.FindLeaksResponse(
        counts=[
            curation_pb2.LeakCount(
                first=names[one.first], second=names[one.second], identical=one.identical, alike=one.alike
            )
            for one in found.counts
        ],
        leaks=map(leak, found.shown),
    )
