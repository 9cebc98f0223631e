"""Algorithms and their releases: candidates are signed, and stay as they are for ever."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Protocol

from lodeworks_controller.domain.algorithm import Algorithm, Package, Release, ReleaseState, check_algorithm_name
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.task.task import ObjectRef
from lodeworks_controller.errors import ConflictError, InvalidError, NotFoundError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.events import object_ready
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.named import reference_or_id
from lodeworks_controller.service.package import PackageIntake
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.release import ReleasedPackage, Releases, SignedRelease
from lodeworks_controller.service.store import Store, Transaction

_ALL = 10_000


class AlgorithmRows(Protocol):
    """The algorithms as one transaction sees them. No method commits."""

    async def find(self, project_id: str, name_or_id: str) -> Algorithm | None:
        """Returns the algorithm of that name or id in a project."""
        ...

    async def insert(self, algorithm: Algorithm) -> None:
        """Stores a new algorithm."""
        ...

    async def put(self, algorithm: Algorithm) -> None:
        """Stores how an algorithm stands."""
        ...

    async def list(self, project_id: str, *, after_name: str, limit: int) -> Sequence[Algorithm]:
        """Returns the algorithms of a project by name."""
        ...

    async def count_releases(self, algorithm_id: str) -> int:
        """Returns how many releases and candidates there are."""
        ...

    async def insert_release(self, release: Release) -> None:
        """Stores a new release."""
        ...

    async def put_release(self, release: Release) -> None:
        """Stores how a release stands."""
        ...

    async def delete_release(self, release_id: str) -> None:
        """Removes a release."""
        ...

    async def release(self, release_id: str) -> Release:
        """Returns a release, or raises NotFoundError."""
        ...

    async def numbered(self, algorithm_id: str, number: int) -> Release | None:
        """Returns the release of a number."""
        ...

    async def newest(self, algorithm_id: str) -> Release | None:
        """Returns the newest signed release."""
        ...

    async def releases(self, algorithm_id: str, *, before_number: int | None, limit: int) -> Sequence[Release]:
        """Returns the releases and candidates of an algorithm, newest first."""
        ...


@dataclass(frozen=True, slots=True)
class ListedAlgorithm:
    """An algorithm with its newest signed release and how many releases it has."""

    algorithm: Algorithm
    latest: Release | None
    release_count: int


async def next_release(tx: Transaction, project_id: str, name: str, *, ids: Ids) -> Algorithm:
    """Returns the algorithm of a name, made if it is new, with the number of its next release taken."""
    found = await tx.algorithms.find(project_id, check_algorithm_name(name))
    if found is None:
        algorithm = Algorithm(ids(), project_id, name, tx.now(), last_number=1)
        await tx.algorithms.insert(algorithm)
        return algorithm
    algorithm = replace(found, last_number=found.last_number + 1)
    await tx.algorithms.put(algorithm)
    return algorithm


async def find_release(tx: Transaction, project_id: str, text: str) -> Release:
    """Returns the release that ``name``, ``name@2`` or an id means; without a number the newest signed one."""
    reference = reference_or_id(text, field="algorithm")
    algorithm = await tx.algorithms.find(project_id, reference.name)
    if algorithm is None:
        return await _by_id(tx, project_id, reference.name)
    if reference.number is not None:
        numbered = await tx.algorithms.numbered(algorithm.id, reference.number)
        if numbered is None:
            raise NotFoundError("RELEASE_NOT_FOUND", f"{algorithm.name} has no release {reference.number}", name=text)
        return numbered
    newest = await tx.algorithms.newest(algorithm.id)
    if newest is None:
        message = f"{algorithm.name} has no signed release yet; see `lode algorithm show {algorithm.name}`"
        raise ConflictError("RELEASE_NOT_SIGNED", message, name=algorithm.name)
    return newest


async def _by_id(tx: Transaction, project_id: str, text: str) -> Release:
    try:
        release = await tx.algorithms.release(text)
        if release.project_id == project_id:
            return release
    except NotFoundError:
        pass
    names = [algorithm.name for algorithm in await tx.algorithms.list(project_id, after_name="", limit=_ALL)]
    near = get_close_matches(text, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has: {', '.join(names) or 'none yet'}"
    raise NotFoundError("ALGORITHM_NOT_FOUND", f"the project has no algorithm {text!r}; {hint}", name=text)


class ReleaseSigner:
    """Puts releases into the repository that devices trust."""

    def __init__(self, releases: Releases, blobs: BlobStore) -> None:
        self._releases = releases
        self._blobs = blobs

    async def sign(self, release: Release, packages: Sequence[Package]) -> SignedRelease:
        """Signs a release with these packages. Not inside a transaction; the same release again changes nothing."""
        return await self._releases.add_release(
            release.repository_name,
            release.number,
            packages=[
                ReleasedPackage(
                    manifest=await self._blobs.read(package.id),
                    target=package.target,
                    precision=package.precision,
                    statement=package.statement,
                )
                for package in packages
            ],
        )


class AlgorithmService:
    """Shows algorithms, signs candidates, takes in packages that were built elsewhere."""

    def __init__(self, store: Store, *, signer: ReleaseSigner, intake: PackageIntake, ids: Ids) -> None:
        self._store = store
        self._signer = signer
        self._intake = intake
        self._ids = ids

    async def list(
        self, principal: Principal, project: str, *, after_name: str, limit: int
    ) -> Sequence[ListedAlgorithm]:
        """Returns the algorithms of a project by name."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            found = await tx.algorithms.list(project_id, after_name=after_name, limit=limit)
            return [await _listed(tx, algorithm) for algorithm in found]

    async def get(self, principal: Principal, project: str, text: str) -> tuple[ListedAlgorithm, Release]:
        """Returns an algorithm and the release that a name means; the newest of any state where none is signed."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            reference = reference_or_id(text, field="algorithm")
            algorithm = await tx.algorithms.find(project_id, reference.name)
            release: Release | None = None
            if algorithm is not None and reference.number is None:
                newest = await tx.algorithms.releases(algorithm.id, before_number=None, limit=1)
                release = await tx.algorithms.newest(algorithm.id) or (newest[0] if newest else None)
            release = release or await find_release(tx, project_id, text)
            algorithm = algorithm or await tx.algorithms.find(project_id, release.algorithm_id)
            assert algorithm is not None
            return await _listed(tx, algorithm), release

    async def releases(
        self, principal: Principal, project: str, name: str, *, before_number: int | None, limit: int
    ) -> Sequence[Release]:
        """Returns the releases and candidates of an algorithm, newest first."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            algorithm = await tx.algorithms.find(project_id, name)
            if algorithm is None:
                raise NotFoundError("ALGORITHM_NOT_FOUND", f"the project has no algorithm {name!r}", name=name)
            return await tx.algorithms.releases(algorithm.id, before_number=before_number, limit=limit)

    async def sign(self, principal: Principal, project: str, text: str, *, request_id: str = "") -> Release:
        """Turns a candidate into a release that devices accept."""
        once = Once(principal.actor, "algorithm.sign", request_id)
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.OWNER)).id
            made = await once.result(tx)
            if made is not None:
                return await tx.algorithms.release(made)
            candidate = await find_release(tx, project_id, text)
        candidate.require_candidate()
        signed = await self._signer.sign(candidate, candidate.packages)
        async with self._store.transaction() as tx:
            now = await tx.algorithms.release(candidate.id)
            if now.state is ReleaseState.RELEASED and now.target_path == signed.path:
                return now  # a repeat was faster
            release = now.released(path=signed.path, at=tx.now())
            await tx.algorithms.put_release(release)
            await object_ready(tx, ObjectRef("release", release.id, release.full_name), project_id=release.project_id)
            await once.keep(tx, release.id)
            await tx.audit.add(
                "release.sign", release.id, actor=principal.actor, project_id=project_id, detail={"path": signed.path}
            )
            return release

    async def add(
        self, principal: Principal, project: str, name: str, *, archives: Sequence[str], request_id: str = ""
    ) -> Release:
        """Registers packages that were built elsewhere as a signed release; they are proved, not measured."""
        once = Once(principal.actor, "release.add", request_id)
        check_algorithm_name(name)
        if not archives:
            raise InvalidError("PACKAGE_INVALID", "name at least one package", field="package_digests")
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.OWNER)).id
            made = await once.result(tx)
            if made is not None:
                return await tx.algorithms.release(made)
            seen = await tx.blobs.referenced(project_scope(project_id), archives)
        for digest in archives:
            if digest not in seen:
                raise NotFoundError(
                    "BLOB_NOT_FOUND", f"the project has no blob {digest}; upload it first", digest=digest
                )
        taken = [await self._intake.from_archive(digest) for digest in archives]
        packages = tuple(one.package for one in taken)
        async with self._store.transaction() as tx:
            algorithm = await next_release(tx, project_id, name, ids=self._ids)
            draft = Release(
                id=self._ids(),
                algorithm_id=algorithm.id,
                project_id=project_id,
                name=algorithm.name,
                number=algorithm.last_number,
                state=ReleaseState.CREATING,
                model_name="",
                model_version_id="",
                created_by=principal.user_id,
                created_at=tx.now(),
                class_names=taken[0].class_names,
            ).candidate(packages, report={}, report_digest="", card_digest="")
            await tx.algorithms.insert_release(draft)
            await tx.blobs.reference(project_scope(project_id), blobs_of(packages))
            await once.keep(tx, draft.id)
            await tx.audit.add("release.add", draft.id, actor=principal.actor, project_id=project_id)
        signed = await self._signer.sign(draft, packages)
        async with self._store.transaction() as tx:
            release = draft.released(path=signed.path, at=tx.now())
            await tx.algorithms.put_release(release)
            told = ObjectRef("release", release.id, release.full_name)
            await object_ready(tx, told, project_id=release.project_id)
            return release

    async def delete(self, principal: Principal, project: str, text: str, *, request_id: str = "") -> None:
        """Deletes a release or candidate that no device wants."""
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.OWNER)).id
            once = Once(principal.actor, "release.delete", request_id)
            if await once.result(tx) is not None:
                return
            release = await find_release(tx, project_id, text)
            devices = await tx.devices.list(project_id, after_name="", limit=_ALL)
            users = [device.name for device in devices if any(it.release_id == release.id for it in device.desired)]
            if users:
                message = f"{release.full_name} is wanted on: {', '.join(users)}; undeploy it there first"
                raise ConflictError("RELEASE_IN_USE", message, id=release.id)
            if release.state is ReleaseState.CREATING:
                raise ConflictError("RELEASE_IN_USE", f"cancel its task {release.task_id} first", id=release.id)
            await tx.algorithms.delete_release(release.id)
            await once.keep(tx, release.id)
            await tx.audit.add("release.delete", release.id, actor=principal.actor, project_id=project_id)


def blobs_of(packages: Sequence[Package]) -> list[str]:
    """Returns the digests of all that packages consist of, their archives included."""
    return [
        digest for package in packages for digest in (*(blob.digest for blob in package.blobs), package.archive_digest)
    ]


async def _listed(tx: Transaction, algorithm: Algorithm) -> ListedAlgorithm:
    latest = await tx.algorithms.newest(algorithm.id)
    return ListedAlgorithm(algorithm, latest, await tx.algorithms.count_releases(algorithm.id))
