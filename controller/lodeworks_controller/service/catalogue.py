"""The installation's catalogue: ranges of ids, segments of assets, views, and what was made from what."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from lodeworks_formats.manifest import SegmentRef

from lodeworks_controller.domain.lineage import Edge, Node
from lodeworks_controller.domain.view import View

AIDS, RECS = "aid", "rec"
"""Names of the ranges: pictures, and records of boxes."""

CATALOGUE_SCOPE = "catalogue"
"""The scope of what the installation keeps whoever made it: the segments that say which picture has which id."""


class CatalogueRows(Protocol):
    """Ranges, segments of assets and views as one transaction sees them. No method commits."""

    async def reserve(self, name: str, count: int) -> int:
        """Returns the first of so many new ids in a row; nobody else gets them."""
        ...

    async def asset_generation(self) -> int:
        """Returns a number that grows with each new segment of assets."""
        ...

    async def asset_segments(self) -> Sequence[SegmentRef]:
        """Returns all segments of assets of the installation, by their ids."""
        ...

    async def add_asset_segment(self, segment: SegmentRef) -> None:
        """Notes a new segment of assets."""
        ...

    async def signal_segments(self, *, algorithm_version: int) -> Sequence[SegmentRef]:
        """Returns all segments of signals of one version of the algorithms, by their ids."""
        ...

    async def add_signal_segment(self, segment: SegmentRef, *, algorithm_version: int) -> None:
        """Notes a new segment of signals; the same again is harmless."""
        ...

    async def thumbnail_segments(self) -> Sequence[SegmentRef]:
        """Returns all segments that say which thumbnail is whose, by their ids."""
        ...

    async def add_thumbnail_segment(self, segment: SegmentRef) -> None:
        """Notes a new segment of thumbnails; the same again is harmless."""
        ...

    async def view(self, key: str) -> View | None:
        """Returns the view that was built for a key."""
        ...

    async def put_view(self, key: str, view: View) -> None:
        """Notes a view; the same key twice is the same view."""
        ...


class LineageRows(Protocol):
    """What was made from what, as one transaction sees it. No method commits."""

    async def add(self, edges: Iterable[Edge]) -> None:
        """Notes edges; one that is there already stays."""
        ...

    async def up(self, node: Node) -> Sequence[Edge]:
        """Returns all edges that lead up from the node, through all generations."""
        ...

    async def down(self, node: Node) -> Sequence[Edge]:
        """Returns all edges that lead down from the node, through all generations."""
        ...
