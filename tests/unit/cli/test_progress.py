"""Lines about progress: share, rate and time left, in whatever room there is."""

from lodeworks.cli.progress import UploadLine, clock, drawn


def test_an_upload_tells_rate_and_time_left() -> None:
    now = [0.0]
    line = UploadLine("cells.zip", size_bytes=100_000_000, timer=lambda: now[0])
    now[0] = 5.0
    told = line.line(25_000_000, width=120)
    assert "upload cells.zip  [██████" in told
    assert "25% 25.0 of 100.0 MB, 5.0 MB/s, 0:15 left" in told


def test_an_upload_that_sends_more_than_was_counted_is_not_beyond_its_end() -> None:
    now = [0.0]
    line = UploadLine("folder", size_bytes=1000, timer=lambda: now[0])
    assert "  0% 0.0 of 0.0 MB" in line.line(0, width=100)
    now[0] = 1.0
    assert "100% 0.0 of 0.0 MB, 0.0 MB/s, 0:00 left" in line.line(1600, width=100)


def test_where_room_is_short_the_bar_goes_before_the_words() -> None:
    told = "0:09 ETA 0:30  reading: 1,234 of 5,000 pictures, 137.1 a second, 27 s left"
    wide, narrow, tiny = (drawn("import cells", 0.25, told, width=width) for width in (140, 95, 60))
    assert wide == f"import cells  [{'█' * 6}{'·' * 18}]  25% {told}"
    assert narrow == f"import cells  25% {told}"[:94]
    assert "137.1 a second" in narrow
    assert len(tiny) == 59


def test_times() -> None:
    assert [clock(seconds) for seconds in (0, 59.9, 61, 3600)] == ["0:00", "0:59", "1:01", "60:00"]
