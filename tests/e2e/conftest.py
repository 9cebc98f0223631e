"""Whole installations of real processes."""

from __future__ import annotations

import pytest
from local_installation import LocalWorld


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory):
    """An installation of its own for the tests of one module."""
    world = LocalWorld(tmp_path_factory.mktemp("world"))
    world.up()
    yield world
    world.down()
