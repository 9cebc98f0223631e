"""The page on the format on disk keeps its word: its queries, with DuckDB and nothing of ours, read what we show."""

import re
from pathlib import Path

import duckdb
import pytest
from curation_world import CurationWorld
from dataset_world import box, picture
from lodeworks_controller.domain.curation import TagChange
from lodeworks_controller.domain.operation import Filter
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_controller.storage.segments.session import SCHEMAS

PAGE = Path(__file__).resolve().parents[2] / "docs/dataset-format.md"
BLOCK = re.compile(r"<!-- sql(?:: (\w+))? -->\n```sql\n(.*?)```", re.DOTALL)
CAME = [
    picture(1, box("RBC", 1, 2, 3, 4), box("WBC", 5.5, 6.25, 7, 8), tags=("night",), split="train"),
    picture(2, box("WBC")),
    picture(3),
    picture(4, annotated=False),
    picture(5, box("RBC"), width=1280, names=("b.jpg", "5.jpg")),
]


@pytest.fixture(scope="session")
def pool():
    running = Pool(processes=1).start()
    yield running
    running.close()


@pytest.fixture
async def world(tmp_path, pool):
    opened = await CurationWorld(tmp_path, pool).open()
    await opened.project()
    await opened.imported("cells", "first", CAME)
    await opened.imported("cells", "second", [picture(6, box("WBC")), CAME[0]])
    yield opened
    await opened.close()


def queries() -> dict[str, str]:
    return {name or "files": text for name, text in BLOCK.findall(PAGE.read_text("utf-8"))}


async def rows_of(world, dataset: str, name: str):
    """Runs the page's preparation and one of its queries on a version."""
    _, found = await world.datasets.get(world.administrator, "cells", dataset)
    digest = found.version.content.manifest_digest
    place = (await world.blobs.locate(digest)).path
    assert place.name == digest
    with duckdb.connect() as plain:

        def run(text: str):
            told = text.replace("BLOBS", str(place.parent.parent)).replace("DIGEST", digest).replace("XX", digest[:2])
            return plain.execute(told)

        run(queries()["files"])
        return run(queries()[name]).fetchall()


@pytest.mark.parametrize("dataset", ["first", "second", "merged", "tagged", "few"])
async def test_the_queries_of_the_page_read_every_kind_of_version(world, dataset):
    ada = world.administrator
    await world.operations.merge(ada, "cells", ["first", "second"], to="merged")
    change = TagChange(add=("seen",), boxes=True, classes=("WBC",))
    await world.curation.tag(ada, "cells", "merged", change=change, to="tagged")
    await world.operations.filter(ada, "cells", "tagged", which=Filter(classes=("WBC",)), to="few")

    shown = await world.pictures("cells", dataset)

    read = await rows_of(world, dataset, "pictures")
    plain = [(tuple(tag for tag in row[4] if not tag.startswith("split:")), *row[:4], row[5]) for row in read]
    assert plain == [
        (entry.tags, entry.digest, entry.width, entry.height, entry.boxes is not None, min(entry.names))
        for entry in shown
    ]
    assert await rows_of(world, dataset, "boxes") == [
        (entry.digest, one.class_name, one.x, one.y, one.w, one.h, list(one.tags))
        for entry in shown
        for one in entry.boxes or ()
    ]
    _, found = await world.datasets.get(ada, "cells", dataset)
    raw = found.version.content.statistics.raw
    counted = [(rid, count.boxes, count.pictures) for rid, count in sorted(raw.items())]
    assert [tuple(map(int, row)) for row in await rows_of(world, dataset, "counts")] == counted


def test_the_page_names_every_kind_and_column():
    page = PAGE.read_text("utf-8")
    for kind, schema in SCHEMAS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{kind}` |")]
        missing = [name for name in schema.names if f"`{name}`" not in row]
        assert not missing, f"{kind}: the page says nothing of {missing}"
