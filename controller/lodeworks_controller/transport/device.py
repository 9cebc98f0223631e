"""What people call about devices."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from lodeworks.api.device.v1 import device_pb2, device_pb2_grpc

from lodeworks_controller.domain.device import DesiredAlgorithm, DesiredPhase, DeviceState, reported_algorithms
from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.service.deployment import DeploymentService, Wish, package_id_of
from lodeworks_controller.service.device import DeviceService, ShownDevice
from lodeworks_controller.transport.wire import from_duration, page_size, to_time

Context = grpc.aio.ServicerContext[Any, Any]
CallerOf = Callable[[Context], Awaitable[Principal]]

_STATES = {state: device_pb2.DeviceState.Value(f"DEVICE_STATE_{state.name}") for state in DeviceState}


@dataclass(frozen=True, slots=True)
class DeviceServices:
    """What is done with devices."""

    devices: DeviceService
    deployments: DeploymentService


class DeviceServicer(device_pb2_grpc.DeviceServiceServicer):
    """Serves ``lodeworks.api.device.v1.DeviceService``."""

    def __init__(self, services: DeviceServices, *, caller: CallerOf, ca_fingerprint: str) -> None:
        self._devices = services.devices
        self._deployments = services.deployments
        self._caller = caller
        self._ca_fingerprint = ca_fingerprint

    async def AddDevice(self, request: device_pb2.AddDeviceRequest, context: Context) -> device_pb2.AddDeviceResponse:
        """Announces a device and makes its one-time token."""
        lifetime = from_duration(request.token_lifetime)
        announced = await self._devices.add(
            await self._caller(context),
            request.project,
            request.name,
            labels=dict(request.labels),
            lifetime=timedelta(seconds=lifetime) if lifetime else None,
            request_id=request.request_id,
        )
        return device_pb2.AddDeviceResponse(
            device=to_device(announced.shown), token=announced.token, ca_fingerprint=self._ca_fingerprint
        )

    async def GetDevice(self, request: device_pb2.GetDeviceRequest, context: Context) -> device_pb2.GetDeviceResponse:
        """Shows one device; may wait for news."""
        found = await self._devices.get(
            await self._caller(context),
            request.project,
            request.device,
            after_revision=request.after_revision,
            wait_s=from_duration(request.wait),
        )
        return device_pb2.GetDeviceResponse(device=to_device(found))

    async def ListDevices(
        self, request: device_pb2.ListDevicesRequest, context: Context
    ) -> device_pb2.ListDevicesResponse:
        """Lists the devices of a project."""
        limit = page_size(request.page_size)
        page = await self._devices.list(
            await self._caller(context),
            request.project,
            labels=dict(request.labels),
            after_name=request.page_token,
            limit=limit,
        )
        return device_pb2.ListDevicesResponse(
            devices=[to_device(one) for one in page.devices], next_page_token=page.next_name
        )

    async def DeployAlgorithm(
        self, request: device_pb2.DeployAlgorithmRequest, context: Context
    ) -> device_pb2.DeployAlgorithmResponse:
        """Wants a release to run on devices."""
        wish = Wish(
            devices=tuple(request.devices),
            algorithm=request.algorithm,
            variant=request.variant,
            confidence=_confidence(request),
            unfit_allowed=request.force,
        )
        found = await self._deployments.deploy(
            await self._caller(context), request.project, wish, request_id=request.request_id
        )
        return device_pb2.DeployAlgorithmResponse(devices=[to_device(one) for one in found])

    async def SetAlgorithm(
        self, request: device_pb2.SetAlgorithmRequest, context: Context
    ) -> device_pb2.SetAlgorithmResponse:
        """Changes the settings of an algorithm on a device."""
        found = await self._deployments.configure(
            await self._caller(context),
            request.project,
            request.device,
            request.algorithm,
            confidence=_confidence(request),
            request_id=request.request_id,
        )
        return device_pb2.SetAlgorithmResponse(device=to_device(found))

    async def StartAlgorithm(
        self, request: device_pb2.StartAlgorithmRequest, context: Context
    ) -> device_pb2.StartAlgorithmResponse:
        """Wants a stopped algorithm to run."""
        found = await self._phase(request, context, DesiredPhase.RUNNING)
        return device_pb2.StartAlgorithmResponse(device=to_device(found))

    async def StopAlgorithm(
        self, request: device_pb2.StopAlgorithmRequest, context: Context
    ) -> device_pb2.StopAlgorithmResponse:
        """Wants an algorithm to stop."""
        found = await self._phase(request, context, DesiredPhase.STOPPED)
        return device_pb2.StopAlgorithmResponse(device=to_device(found))

    async def UndeployAlgorithm(
        self, request: device_pb2.UndeployAlgorithmRequest, context: Context
    ) -> device_pb2.UndeployAlgorithmResponse:
        """Wants an algorithm to leave the device."""
        found = await self._phase(request, context, DesiredPhase.ABSENT)
        return device_pb2.UndeployAlgorithmResponse(device=to_device(found))

    async def RollbackAlgorithm(
        self, request: device_pb2.RollbackAlgorithmRequest, context: Context
    ) -> device_pb2.RollbackAlgorithmResponse:
        """Wants the release that was committed before."""
        found = await self._deployments.rollback(
            await self._caller(context),
            request.project,
            request.device,
            request.algorithm,
            request_id=request.request_id,
        )
        return device_pb2.RollbackAlgorithmResponse(device=to_device(found))

    async def LabelDevice(
        self, request: device_pb2.LabelDeviceRequest, context: Context
    ) -> device_pb2.LabelDeviceResponse:
        """Sets and removes labels."""
        found = await self._devices.label(
            await self._caller(context),
            request.project,
            request.device,
            labels=dict(request.set),
            remove=tuple(request.remove),
            request_id=request.request_id,
        )
        return device_pb2.LabelDeviceResponse(device=to_device(found))

    async def RevokeDevice(
        self, request: device_pb2.RevokeDeviceRequest, context: Context
    ) -> device_pb2.RevokeDeviceResponse:
        """Ends a device's certificate."""
        found = await self._devices.revoke(
            await self._caller(context), request.project, request.device, request_id=request.request_id
        )
        return device_pb2.RevokeDeviceResponse(device=to_device(found))

    async def DeleteDevice(
        self, request: device_pb2.DeleteDeviceRequest, context: Context
    ) -> device_pb2.DeleteDeviceResponse:
        """Forgets a device and ends its certificate."""
        await self._devices.delete(
            await self._caller(context), request.project, request.device, request_id=request.request_id
        )
        return device_pb2.DeleteDeviceResponse()

    async def _phase(self, request: Any, context: Context, phase: DesiredPhase) -> ShownDevice:
        return await self._deployments.set_phase(
            await self._caller(context),
            request.project,
            request.device,
            request.algorithm,
            phase=phase,
            request_id=request.request_id,
        )


def to_device(shown: ShownDevice) -> device_pb2.Device:
    """Returns a device as a message."""
    device = shown.device
    reported = device.reported
    capabilities = reported.get("capabilities")
    return device_pb2.Device(
        id=device.id,
        project_id=device.project_id,
        name=device.name,
        state=_STATES[shown.state],
        labels=device.labels,
        generation=device.generation,
        observed_generation=device.observed_generation,
        desired=[_to_desired(entry) for entry in device.desired],
        reported=[_to_reported(name, told) for name, told in sorted(reported_algorithms(reported).items())],
        capabilities_json=json.dumps(capabilities, sort_keys=True) if capabilities else "",
        reported_json=json.dumps(reported, sort_keys=True) if reported else "",
        version=device.version,
        last_seen_time=to_time(device.last_seen_at),
        certificate_end_time=to_time(shown.certificate_end_at),
        revision=device.revision,
        http_address=_text(reported.get("http_address")),
    )


def _to_desired(entry: DesiredAlgorithm) -> device_pb2.DesiredAlgorithm:
    return device_pb2.DesiredAlgorithm(
        name=entry.name,
        release_name=entry.release_name,
        release_id=entry.release_id,
        package_id=entry.package_id,
        variant=entry.variant,
        state=entry.phase.value,
        confidence=entry.confidence,
    )


def _to_reported(name: str, told: Mapping[str, Any]) -> device_pb2.ReportedAlgorithm:
    """Returns what a device says of an algorithm; what it says malformed is left out."""
    gate = told.get("gate")
    return device_pb2.ReportedAlgorithm(
        name=name,
        phase=_text(told.get("phase")),
        desired_package_id=package_id_of(told.get("desired")),
        active_package_id=package_id_of(told.get("active")),
        previous_package_id=package_id_of(told.get("previous")),
        active_release=_text(told.get("active_release")),
        reason=_text(told.get("reason")),
        message=_text(told.get("message")),
        attempts=int(_number(told.get("attempts"))),
        since_time=_time(told.get("since_time") or told.get("since")),
        fps=_number(told.get("fps")),
        latency_ms=_number(told.get("latency_ms")),
        gate_json=json.dumps(gate, sort_keys=True) if gate else "",
    )


def _confidence(request: Any) -> float | None:
    return float(request.confidence) if request.HasField("confidence") else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _time(value: Any) -> Timestamp | None:
    try:
        return to_time(datetime.fromisoformat(value)) if isinstance(value, str) and value else None
    except (ValueError, OverflowError):
        return None
