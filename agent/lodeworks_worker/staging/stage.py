"""Makes /in and /out of a run: fetch, lay out, render; appears by one rename, so that it is whole or not there."""

import contextlib
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lodeworks_formats.errors import FormatError
from lodeworks_formats.pictures import Picture
from lodeworks_formats.protocol import (
    Environment,
    ExportFormat,
    asset_path,
    render_config,
    render_environment,
    render_index,
)

from lodeworks_worker.cache import Cache
from lodeworks_worker.control_plane import BlobTransfer, Scope
from lodeworks_worker.errors import InputError
from lodeworks_worker.grant import Grant, Input
from lodeworks_worker.putting_down import in_thread
from lodeworks_worker.staging import plan
from lodeworks_worker.staging.annotations import AnnotationWriter, annotation_writer
from lodeworks_worker.staging.pictures import asset_name, place_picture, scaled
from lodeworks_worker.staging.place import place

_BATCH = 2000
_OPEN_TO_ALL = 0o777


@dataclass(frozen=True, slots=True)
class Stager:
    """Stages runs from one cache and one controller."""

    cache: Cache
    transfer: BlobTransfer

    async def stage(self, grant: Grant, *, roots: plan.Roots, read_only_in: bool) -> None:
        """Makes `roots.folder/in` and `/out`. May be repeated: it begins anew.

        Raises:
            InputError: An input is not what its role says, or a setting is wrong.
            BlobError: A blob did not arrive.
        """
        making = roots.folder / "in.making"
        await in_thread(_fresh, roots.folder, making)
        scope = Scope(grant.task_id, grant.lease_epoch)
        try:
            files = {one.digest: one.size_bytes for one in grant.run.inputs}
            await self.cache.ensure(files, owner=grant.name, scope=scope, transfer=self.transfer)
            run = _Staging(grant=grant, roots=roots, making=making, read_only_in=read_only_in, cache=self.cache)
            await in_thread(run.lay_out)
            await self._place_views(run, scope)
            await in_thread(run.finish)
        except FormatError as error:
            raise InputError(str(error)) from error
        finally:
            self.cache.release(grant.name)

    async def _place_views(self, run: "_Staging", scope: Scope) -> None:
        for view in plan.views(run.grant):
            pictures = await in_thread(run.pictures_of, view)
            number = 0
            while batch := await in_thread(lambda: list(islice(pictures, _BATCH))):  # noqa: B023 - awaited here
                owner = f"{run.grant.name}/{view.role}/{number}"
                wanted = {one.upright_digest: 0 if one.derived_digest else one.size_bytes for one in batch}
                try:
                    await self.cache.ensure(wanted, owner=owner, scope=scope, transfer=self.transfer)
                    await in_thread(run.place_pictures, view.role, batch)
                finally:
                    self.cache.release(owner)
                number += 1


@dataclass(frozen=True, slots=True)
class _Staging:
    """One /in in the making; everything here blocks and runs in a thread."""

    grant: Grant
    roots: plan.Roots
    making: Path
    read_only_in: bool
    cache: Cache

    def lay_out(self) -> None:
        """Writes all but the pictures."""
        for folder in ("assets", "annotations", "models"):
            (self.making / folder).mkdir()
        for one in self.grant.run.inputs:
            self._place_input(one)
        operations = plan.protocol_operations(self.grant)
        environment = Environment.at(
            self.grant.task_id,
            operations=operations,
            input_root=self.roots.seen_in,
            output_root=self.roots.seen_out,
        )
        (self.making / "env.yaml").write_text(render_environment(environment), encoding="utf-8")
        config = plan.config(self.grant, roots=self.roots)
        (self.making / "config.yaml").write_text(render_config(config), encoding="utf-8")
        roles = {one.role for one in plan.views(self.grant)}
        for role in roles:
            self._index_file(role)

    def pictures_of(self, view: Input) -> Iterator[Picture]:
        """Reads a view."""
        from lodeworks_formats.segments import read_pictures  # noqa: PLC0415 - an idle worker has no pyarrow

        return read_pictures(self.cache.path(view.digest))

    def place_pictures(self, role: str, pictures: Sequence[Picture]) -> None:
        """Places pictures of a view, annotates them and appends their index lines."""
        lines: list[tuple[str, str | None]] = []
        writer = self._annotations()
        for original in pictures:
            picture = self._sized(original)
            relative = asset_path(asset_name(picture))
            target = self.making / "assets" / relative
            if not target.exists():
                place_picture(
                    original,
                    source=self.cache.path(original.upright_digest),
                    target=target,
                    read_only_in=self.read_only_in,
                    size_px=None if picture is original else (picture.width, picture.height),
                )
            seen = f"{self.roots.seen_in}/assets/{relative}"
            note = writer.write(picture, seen_asset=seen) if plan.annotated(role) else None
            lines.append((seen, None if note is None else f"{self.roots.seen_in}/annotations/{note}"))
        index = self._index_file(role)
        if index is not None:
            with index.open("a", encoding="utf-8") as file:
                file.write(render_index(lines))

    def finish(self) -> None:
        """Writes what needs every picture, and lets /in appear."""
        views = [one for one in plan.views(self.grant) if plan.annotated(one.role)]
        if views:
            self._annotations().finish(self._sized(picture) for view in views for picture in self.pictures_of(view))
        self.making.rename(self.roots.folder / "in")

    def _annotations(self) -> AnnotationWriter:
        wanted = ExportFormat.parse(plan.export_format(self.grant, plan.settings_of(self.grant)))
        folder = self.making / "annotations"
        return annotation_writer(wanted, folder=folder, class_names=self.grant.run.class_names)

    def _sized(self, picture: Picture) -> Picture:
        return scaled(picture, longest_side_px=plan.longest_side_px(self.grant))

    def _index_file(self, role: str) -> Path | None:
        name = plan.index_name(role)
        if name is None:
            return None
        path = self.making / name
        path.touch()
        return path

    def _place_input(self, one: Input) -> None:
        source = self.cache.path(one.digest)
        model = plan.below(one.role, "model")
        if model is not None:
            place(source, self.making / "models" / model, read_only_in=self.read_only_in)
        if one.role == plan.CHECKPOINT:
            _unpack(source, self.making / "lode" / plan.CHECKPOINT)
        elif self.grant.run.kind != "image" or one.role.startswith(f"{plan.CHECKPOINT}/"):
            place(source, self.making / "lode" / plan.safe_role(one.role), read_only_in=self.read_only_in)


def _fresh(folder: Path, making: Path) -> None:
    for leftover in (making, folder / "in", folder / "out"):
        if leftover.exists():
            shutil.rmtree(leftover)
    making.mkdir(parents=True)
    out = folder / "out"
    for path in (out, out / "models", out / "tensorboard", out / "lode"):
        path.mkdir()
        path.chmod(_OPEN_TO_ALL)


def _unpack(source: Path, folder: Path) -> None:
    """Unpacks a checkpoint: plain files of one folder, nothing else."""
    folder.mkdir(parents=True)
    with contextlib.closing(tarfile.open(source)) as tar:
        for member in _plain(tar):
            taken = tar.extractfile(member)
            if taken is not None:
                with taken, (folder / member.name).open("wb") as file:
                    shutil.copyfileobj(taken, file, 1 << 20)


def _plain(tar: tarfile.TarFile) -> Iterable[tarfile.TarInfo]:
    for member in tar:
        if not member.isfile() or "/" in member.name or member.name in {"", ".", ".."}:
            raise InputError(f"the checkpoint holds {member.name!r}, which is no plain file")
        yield member
