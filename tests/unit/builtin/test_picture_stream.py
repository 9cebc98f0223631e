import threading

from builtin_world import BuiltinWorld
from lodeworks_builtin.pace import Pace
from lodeworks_builtin.picture_stream import PictureStream
from lodeworks_runtime import load_onnx
from made_network import save_network


def test_it_looks_ahead_no_further_than_it_must(tmp_path):
    world = BuiltinWorld(tmp_path)
    pictures = world.view("candidate", range(40))
    network = save_network(tmp_path / "made.onnx")
    stream = PictureStream([load_onnx(network), load_onnx(network)], assets=world.given / "assets")
    taken = 0

    def source():
        nonlocal taken
        for picture in pictures:
            taken += 1
            yield picture

    order = []
    for seen in stream.look(source(), lambda algorithm, image: threading.get_ident()):
        order.append(seen.picture.digest)
        assert taken <= len(order) + 10
    assert order == [picture.digest for picture in pictures]


def test_one_algorithm_is_never_used_by_two_threads_at_once(tmp_path):
    world = BuiltinWorld(tmp_path)
    pictures = world.view("candidate", range(20))
    network = save_network(tmp_path / "made.onnx")
    busy, clashes = set(), []

    def measure(algorithm, image):
        if id(algorithm) in busy:
            clashes.append(algorithm)
        busy.add(id(algorithm))
        algorithm.predict([image])
        busy.discard(id(algorithm))

    stream = PictureStream([load_onnx(network) for _ in range(3)], assets=world.given / "assets")
    assert len(list(stream.look(pictures, measure))) == 20
    assert clashes == []


def test_the_pace_is_told_about_once_a_second():
    told = []
    now = iter(x * 0.4 for x in range(100))
    pace = Pace(
        10, progress=lambda share, message: told.append((share, message)), span=(0.5, 1.0), timer=lambda: next(now)
    )
    assert list(pace.through(range(10), what="mined")) == list(range(10))
    assert [share for share, _ in told] == [0.65, 0.8, 0.95, 1.0]
    assert told[0][1] == "mined: 3 of 10 pictures, 2.5 a second, 3 s left"
