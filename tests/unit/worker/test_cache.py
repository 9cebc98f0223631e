import asyncio

import pytest
from lodeworks_worker.cache import Cache
from lodeworks_worker.control_plane import Scope
from lodeworks_worker.errors import BlobError
from worker_world import DictionaryTransfer

SCOPE = Scope("t", 1)


async def _cache(folder, limit_bytes=1 << 20):
    cache = Cache(folder, limit_bytes=limit_bytes)
    await cache.open()
    return cache


async def test_what_is_there_is_not_fetched_again_by_the_next_worker(tmp_path):
    transfer = DictionaryTransfer()
    digest = transfer.add(b"bytes")
    first = await _cache(tmp_path)
    await first.ensure({digest: 5}, owner="a", scope=SCOPE, transfer=transfer)
    second = await _cache(tmp_path)
    await second.ensure({digest: 5}, owner="b", scope=SCOPE, transfer=transfer)
    assert second.path(digest).read_bytes() == b"bytes"
    assert transfer.fetched == [digest]


async def test_the_longest_unused_goes_first_and_pinned_blobs_stay(tmp_path):
    transfer = DictionaryTransfer()
    digests = [transfer.add(bytes([number]) * 100) for number in range(4)]
    cache = await _cache(tmp_path, limit_bytes=250)
    await cache.ensure({digests[0]: 100}, owner="pinned", scope=SCOPE, transfer=transfer)
    for digest in digests[1:]:
        await cache.ensure({digest: 100}, owner="run", scope=SCOPE, transfer=transfer)
        cache.release("run")
    assert cache.path(digests[0]).exists()
    assert not cache.path(digests[1]).exists()
    cache.release("pinned")
    await cache.ensure({digests[3]: 100}, owner="run", scope=SCOPE, transfer=transfer)
    assert cache.size_bytes <= 250


async def test_two_runs_that_want_the_same_blob_fetch_it_once(tmp_path):
    transfer = DictionaryTransfer()
    digest = transfer.add(b"bytes")
    cache = await _cache(tmp_path)
    both = [cache.ensure({digest: 5}, owner=owner, scope=SCOPE, transfer=transfer) for owner in "ab"]
    await asyncio.gather(*both)
    assert transfer.fetched == [digest]


async def test_a_blob_that_is_not_there_is_an_error_and_can_be_asked_for_again(tmp_path):
    transfer = DictionaryTransfer()
    cache = await _cache(tmp_path)
    digest = "ab" * 32
    for _ in range(2):
        with pytest.raises(BlobError):
            await cache.ensure({digest: 5}, owner="a", scope=SCOPE, transfer=transfer)
