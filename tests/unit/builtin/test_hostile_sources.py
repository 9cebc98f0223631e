"""Every bad input of the corpus: the report line that it must leave, and nothing that dies or swells."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_sources import REFUSED, TAKEN, BadSource, corpus
from ingest_world import taken
from lodeworks_formats.errors import FormatError

CORPUS = corpus()
LEAST = 60
WORLD = Path(__file__).parents[2] / "world"
MOST_MEMORY_BYTES = 500 << 20
MOST_SCRATCH_BYTES = 1200 << 20  # of a packed tar, 200 times its size or 1 GiB is unpacked before it is refused


def test_the_corpus_is_large_and_each_input_has_a_name_of_its_own():
    assert len(CORPUS) >= LEAST
    assert len({bad.name for bad in CORPUS}) == len(CORPUS)


@pytest.mark.parametrize("bad", CORPUS, ids=lambda bad: bad.name)
def test_bad_input(tmp_path, bad: BadSource):
    source = tmp_path / "source"
    bad.write(source)
    if bad.outcome == REFUSED:
        with pytest.raises(FormatError) as caught:
            taken(source, tmp_path, **bad.options)
        assert caught.value.reason == bad.reason, caught.value
        assert caught.value.file == bad.file or not bad.file
        assert not (tmp_path / "out" / "exchange").exists()
        return
    told, rows = taken(source, tmp_path, **bad.options)
    assert (told["pictures"]["accepted"], told["boxes"]["accepted"]) == (bad.pictures, bad.boxes), told["problems"]
    assert len(rows) == bad.pictures
    if bad.outcome == TAKEN:
        assert not [problem for problem in told["problems"] if problem["reason"] != "PICTURE_WITHOUT_ANNOTATION"]
        return
    found = [problem for problem in told["problems"] if problem["reason"] == bad.reason]
    assert [(problem["file"], problem["outcome"]) for problem in found] == [(bad.file, bad.outcome)], told["problems"]
    assert bad.line is None or found[0]["line"] == bad.line


def test_no_bad_input_takes_more_than_a_bounded_share_of_the_machine(tmp_path):
    variables = {**os.environ, "PYTHONPATH": str(WORLD)}
    command = [sys.executable, str(WORLD / "hostile_sources.py"), str(tmp_path), "--import"]
    done = subprocess.run(command, env=variables, check=True, capture_output=True, text=True, timeout=100)
    told = json.loads(done.stdout)
    assert told["sources"] == len(CORPUS)
    assert told["peak_bytes"] <= MOST_MEMORY_BYTES, told
    assert told["scratch_bytes"] <= MOST_SCRATCH_BYTES, told
