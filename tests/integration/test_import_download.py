"""Sources behind addresses and on the worker's disk: what a stranger's address may reach, over real connections."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from lodeworks_builtin.ingesting.download import Limits, allowed_address, download
from lodeworks_builtin.ingesting.location import Policy, allowed_path
from lodeworks_formats.errors import FormatError

CONTENT = bytes(range(256)) * 20_000
HERE = Limits(private=True)


class Answers(BaseHTTPRequestHandler):
    """A small site: /whole, /broken (breaks off until it is asked for the rest), /loop, /away, /gone, /large."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        if self.path in ("/loop", "/away", "/hop"):
            self.send_response(302)
            targets = {"/loop": "/loop", "/hop": "/whole", "/away": "http://169.254.169.254/latest/meta-data/"}
            self.send_header("Location", targets[self.path])
            self.end_headers()
            return
        if self.path == "/gone":
            self.send_error(404)
            return
        start = int(self.headers["Range"][6:-1]) if self.headers.get("Range") else 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(1 << 50 if self.path == "/large" else len(CONTENT) - start))
        self.end_headers()
        if self.path != "/large":
            self.wfile.write(CONTENT[start : start + 3_000_000] if self.path == "/broken" else CONTENT[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def fetched(site, path, folder, *, limits=HERE, host="127.0.0.1"):
    url = f"http://{host}:{site.server_port}{path}"
    download(url, folder / "got", limits=limits, progress=lambda *_: None)
    return (folder / "got").read_bytes()


@pytest.mark.parametrize("path", ["/whole", "/hop", "/broken"])
def test_what_is_fetched_is_whole(site, tmp_path, path):
    assert fetched(site, path, tmp_path) == CONTENT
    if path == "/broken":
        assert site.asked == [("/broken", None), ("/broken", "bytes=3000000-")]


@pytest.mark.parametrize(
    ("path", "limits", "reason"),
    [
        ("/loop", HERE, "TOO_MANY_REDIRECTS"),
        ("/gone", HERE, "DOWNLOAD_FAILED"),
        ("/large", HERE, "DOWNLOAD_TOO_LARGE"),
        ("/whole", Limits(private=True, max_bytes=1000), "DOWNLOAD_TOO_LARGE"),
        ("/whole", Limits(), "ADDRESS_NOT_ALLOWED"),
    ],
)
def test_what_is_refused(site, tmp_path, path, limits, reason):
    with pytest.raises(FormatError) as caught:
        fetched(site, path, tmp_path, limits=limits)
    assert caught.value.reason == reason
    if not limits.private:
        assert site.asked == []


def test_a_redirect_is_checked_like_the_first_address(site, tmp_path):
    there = {"site.example": "127.0.0.1"}
    with pytest.raises(FormatError) as caught:
        download(
            f"http://site.example:{site.server_port}/away",
            tmp_path / "got",
            limits=Limits(),
            progress=lambda *_: None,
            resolve=lambda host, _: [there.get(host, host)],
        )
    assert caught.value.reason == "ADDRESS_NOT_ALLOWED"


INSIDE = "127.0.0.1 10.1.2.3 192.168.0.1 169.254.169.254 ::1 fd00::1 0.0.0.0 ::ffff:10.0.0.1"
STRANGE = "100.64.0.1 224.0.0.1 2002:a00:1:: fe80::1%eth0"


@pytest.mark.parametrize("address", [*INSIDE.split(), *STRANGE.split()])
def test_no_address_of_the_inside_is_reached_by_any_spelling(address):
    for found in ([address], ["93.184.216.34", address]):
        with pytest.raises(FormatError, match="import_private_addresses"):
            allowed_address("x.example", 80, resolve=lambda *_, found=found: found, private=False)
    assert allowed_address("x.example", 80, resolve=lambda *_: [address], private=True) == address
    assert allowed_address("x.example", 80, resolve=lambda *_: ["93.184.216.34"], private=False) == "93.184.216.34"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "http://", "http://u:p@a/", "http://[/", "nothing"])
def test_what_is_no_address(tmp_path, url):
    with pytest.raises(FormatError) as caught:
        download(url, tmp_path / "got", limits=HERE, progress=lambda *_: None)
    assert caught.value.reason == "BAD_URL"


def test_paths_stay_below_the_roots(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "in", outside):
        folder.mkdir(parents=True)
    (root / "link").symlink_to(outside)
    policy = Policy.of({"LODE_IMPORT_ROOTS": str(root), "LODE_IMPORT_MAX_BYTES": "5"})
    assert policy.limits == Limits(max_bytes=5)
    assert allowed_path(str(root / "in"), roots=policy.roots) == root / "in"
    for path, reason in {
        str(outside): "SOURCE_NOT_ALLOWED",
        str(root / "link"): "SOURCE_NOT_ALLOWED",
        f"{root}/in/../../outside": "SOURCE_NOT_ALLOWED",
        "in": "SOURCE_NOT_ALLOWED",
        f"{root}x": "SOURCE_NOT_ALLOWED",
        str(root / "none"): "SOURCE_NOT_FOUND",
    }.items():
        with pytest.raises(FormatError) as caught:
            allowed_path(path, roots=policy.roots)
        assert caught.value.reason == reason
    with pytest.raises(FormatError, match="it allows none"):
        allowed_path(str(root), roots=Policy.of({}).roots)
