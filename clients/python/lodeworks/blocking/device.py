"""Devices: what they shall run and what they say they run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration
from lodeworks.api.device.v1 import device_pb2 as pb
from lodeworks.api.device.v1.device_pb2_grpc import DeviceServiceStub
from lodeworks.blocking.paging import pages
from lodeworks.connection import Connection, new_request_id
from lodeworks.errors import LodeError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_POLL_WAIT_S = 20
_REFUSED = frozenset({"FAILED", "ROLLED_BACK"})


class Device:
    """A device.

    Args:
        connection: Where it lives.
        project: Id of its project.
        data: What the server says of it.
    """

    def __init__(self, connection: Connection, project: str, data: pb.Device) -> None:
        self._connection = connection
        self._project = project
        self.data = data

    @property
    def id(self) -> str:
        """Returns the id."""
        return self.data.id

    @property
    def name(self) -> str:
        """Returns the name."""
        return self.data.name

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """Returns what the device says it can do."""
        document: Mapping[str, Any] = json.loads(self.data.capabilities_json or "{}")
        return document

    def __repr__(self) -> str:
        """Returns one line for people."""
        phases = ", ".join(f"{entry.name} {entry.phase}" for entry in self.data.reported) or "nothing reported"
        return f"<device {self.name}: {phases}>"

    def reported(self, algorithm: str) -> pb.ReportedAlgorithm:
        """Returns what the device says of an algorithm; an empty report if it says nothing."""
        for entry in self.data.reported:
            if entry.name == algorithm:
                return entry
        return pb.ReportedAlgorithm(name=algorithm, phase="IDLE")

    def desired(self, algorithm: str) -> pb.DesiredAlgorithm:
        """Returns what the device shall run. Raises NotFoundError."""
        for entry in self.data.desired:
            if entry.name == algorithm:
                return entry
        raise NotFoundError(f"{algorithm} is not deployed on {self.name}", reason="ALGORITHM_NOT_DEPLOYED")

    def refresh(self, *, wait_s: float = 0.0) -> Device:
        """Looks at the device again; waits up to so many seconds for news."""
        request = pb.GetDeviceRequest(project=self._project, device=self.id)
        if wait_s > 0:
            request.after_revision = self.data.revision
            request.wait.CopyFrom(Duration(nanos=0, seconds=max(1, int(wait_s))))
        response: pb.GetDeviceResponse = self._connection.call(
            DeviceServiceStub, "GetDevice", request, timeout_s=wait_s + 30.0
        )
        self.data = response.device
        return self

    def set(self, algorithm: str, *, confidence: float | None = None) -> Device:
        """Changes the settings of an algorithm on this device."""
        request = pb.SetAlgorithmRequest(
            project=self._project,
            device=self.id,
            algorithm=algorithm,
            confidence=confidence,
            request_id=new_request_id(),
        )
        return self._changed("SetAlgorithm", request)

    def start(self, algorithm: str) -> Device:
        """Wants a stopped algorithm to run."""
        request = pb.StartAlgorithmRequest(
            project=self._project, device=self.id, algorithm=algorithm, request_id=new_request_id()
        )
        return self._changed("StartAlgorithm", request)

    def stop(self, algorithm: str) -> Device:
        """Wants an algorithm to stop; its package stays on the device."""
        request = pb.StopAlgorithmRequest(
            project=self._project, device=self.id, algorithm=algorithm, request_id=new_request_id()
        )
        return self._changed("StopAlgorithm", request)

    def undeploy(self, algorithm: str) -> Device:
        """Wants an algorithm to leave the device."""
        request = pb.UndeployAlgorithmRequest(
            project=self._project, device=self.id, algorithm=algorithm, request_id=new_request_id()
        )
        return self._changed("UndeployAlgorithm", request)

    def rollback(self, algorithm: str) -> Deployment:
        """Wants the release that was committed before."""
        request = pb.RollbackAlgorithmRequest(
            project=self._project, device=self.id, algorithm=algorithm, request_id=new_request_id()
        )
        self._changed("RollbackAlgorithm", request)
        return Deployment([self], algorithm)

    def label(self, set: Mapping[str, str], *, remove: Sequence[str] = ()) -> Device:
        """Sets and removes labels."""
        request = pb.LabelDeviceRequest(
            project=self._project, device=self.id, set=dict(set), remove=remove, request_id=new_request_id()
        )
        return self._changed("LabelDevice", request)

    def revoke(self) -> Device:
        """Ends the device's certificate; it keeps serving but gets nothing new."""
        request = pb.RevokeDeviceRequest(project=self._project, device=self.id, request_id=new_request_id())
        return self._changed("RevokeDevice", request)

    def _changed(self, method: str, request: Any) -> Device:
        response: pb.SetAlgorithmResponse = self._connection.call(DeviceServiceStub, method, request)
        self.data = response.device
        return self


class Deployment:
    """A wish for an algorithm on some devices; its result is there once all have committed it.

    Args:
        devices: Where; as the server saw them right after the wish.
        algorithm: Name of the algorithm.
    """

    def __init__(self, devices: list[Device], algorithm: str) -> None:
        self.devices = devices
        self.algorithm = algorithm
        self._wanted = {device.id: device.desired(algorithm).package_id for device in devices}

    def watch(self) -> Iterator[Device]:
        """Yields a device whenever it reports something new, until all have committed or refused."""
        for device in self.devices:
            yield device
            while not self._settled(device):
                device.refresh(wait_s=_POLL_WAIT_S)
                yield device

    def result(self) -> list[Device]:
        """Waits until every device has committed the wished package.

        Raises:
            LodeError: A device refused it and keeps what it had; the message says why.
        """
        for device in self.watch():
            entry = device.reported(self.algorithm)
            if self._settled(device) and entry.phase != "COMMITTED":
                raise LodeError(
                    f"{device.name} refused {self.algorithm}: {entry.message or entry.reason}; "
                    f"{entry.active_release or 'nothing'} goes on serving",
                    reason=entry.reason,
                )
        return self.devices

    def _settled(self, device: Device) -> bool:
        entry = device.reported(self.algorithm)
        if device.data.observed_generation < device.data.generation:
            return False
        wanted = self._wanted[device.id]
        if entry.phase == "COMMITTED":
            return entry.active_package_id == wanted
        return entry.phase in _REFUSED and entry.desired_package_id == wanted


class Devices:
    """The devices of a project.

    Args:
        connection: Where they live.
        project: Name or id of the project.
    """

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def add(self, name: str, *, labels: Mapping[str, str] | None = None) -> pb.AddDeviceResponse:
        """Announces a device; the response carries its one-time token. Raises ExistsError."""
        request = pb.AddDeviceRequest(
            project=self._project, name=name, labels=dict(labels or {}), request_id=new_request_id()
        )
        response: pb.AddDeviceResponse = self._connection.call(DeviceServiceStub, "AddDevice", request)
        return response

    def get(self, name: str) -> Device:
        """Returns a device by name or id. Raises NotFoundError."""
        response: pb.GetDeviceResponse = self._connection.call(
            DeviceServiceStub, "GetDevice", pb.GetDeviceRequest(project=self._project, device=name)
        )
        return Device(self._connection, self._project, response.device)

    def list(self, *, labels: Mapping[str, str] | None = None) -> Iterator[Device]:
        """Yields the devices, sorted by name; only those with all of the labels."""
        request = pb.ListDevicesRequest(project=self._project, labels=dict(labels or {}))
        for data in pages(self._connection, DeviceServiceStub, "ListDevices", request, items="devices"):
            yield Device(self._connection, self._project, data)

    def deploy(
        self,
        algorithm: str,
        devices: Sequence[str],
        *,
        variant: str = "",
        confidence: float | None = None,
        force: bool = False,
    ) -> Deployment:
        """Wants a release (``name``, ``name@2`` or an id) to run on devices.

        Args:
            algorithm: The release.
            devices: Names or ids.
            variant: Which package; empty = the fastest measured one that fits.
            confidence: Boxes below are not answered; None = the package's own.
            force: True sends also what seems not to fit.
        """
        request = pb.DeployAlgorithmRequest(
            project=self._project,
            devices=devices,
            algorithm=algorithm,
            variant=variant,
            confidence=confidence,
            force=force,
            request_id=new_request_id(),
        )
        response: pb.DeployAlgorithmResponse = self._connection.call(DeviceServiceStub, "DeployAlgorithm", request)
        found = [Device(self._connection, self._project, data) for data in response.devices]
        wanted = next(
            entry.name
            for entry in found[0].data.desired
            if algorithm in {entry.name, entry.release_name, entry.release_id}
        )
        return Deployment(found, wanted)

    def delete(self, name: str) -> None:
        """Forgets a device and ends its certificate."""
        request = pb.DeleteDeviceRequest(project=self._project, device=name, request_id=new_request_id())
        self._connection.call(DeviceServiceStub, "DeleteDevice", request)
