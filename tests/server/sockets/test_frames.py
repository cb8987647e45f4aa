"""Both forms of taking in requests and sending replies do the same: over real sockets, for all kinds of messages."""

from importlib import import_module
from pathlib import Path

import pytest
import zmq

from kvd import native
from kvd.server.sockets.frames import CompiledFrames, PlainFrames, frames_of, libzmq_path

FRAMES_MAX = 12
ENOUGH = 1_000_000


WHY = "kvd.native._native was not built: is there a C compiler?"
built = pytest.mark.skipif(native.module is None, reason=WHY)
compiled = pytest.param(CompiledFrames, marks=built)


@pytest.fixture
def sockets():
    """Return a ROUTER and a DEALER that is connected to it as b"ada"."""
    with zmq.Context() as context:
        router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        for each in (router, dealer):
            each.set(zmq.LINGER, 0)
            each.set(zmq.RCVTIMEO, 60_000)
        router.set(zmq.ROUTER_MANDATORY, 1)
        dealer.set(zmq.IDENTITY, b"ada")
        port = router.bind_to_random_port("tcp://127.0.0.1")
        dealer.connect(f"tcp://127.0.0.1:{port}")
        yield router, dealer
        router.close()
        dealer.close()


def exchange(frames, sockets, messages, *bounds):
    """Send messages and receive what the form makes of them."""
    router, dealer = sockets
    for message in messages:
        dealer.send_multipart(message)
    assert router.poll(5000)
    found = ([], [])
    while len(found[0]) + len(found[1]) < len(messages):
        requests, others = frames.receive(*(bounds or (ENOUGH, ENOUGH, FRAMES_MAX)))
        found = (found[0] + requests, found[1] + others)
    return found


@pytest.mark.parametrize("form", [PlainFrames, compiled])
def test_what_is_a_request_and_what_is_none(form, sockets):
    frames = form(sockets[0])
    messages = [
        [b"", b"body"],
        [b"correlation", b"", b"body"],
        [b"a", b"b", b"c", b"", b""],
        [b"", b"\x00" * 100_000],
        [b"body"],
        [b"x", b"y"],
        [b"", b"a", b"b"],
        [b"", b"a", b"", b"b"],
        [b"x"] * 30 + [b"", b"body"],
        [b""],
    ]
    requests, others = exchange(frames, sockets, messages)
    assert requests == [
        ([b"ada", b""], b"body"),
        ([b"ada", b"correlation", b""], b"body"),
        ([b"ada", b"a", b"b", b"c", b""], b""),
        ([b"ada", b""], b"\x00" * 100_000),
    ]
    assert others == [
        [b"ada", b"body"],
        [b"ada", b"x", b"y"],
        [b"ada", b"", b"a", b"b"],
        [b"ada", b"", b"a", b"", b"b"],
        [b"ada"] + [b"x"] * (FRAMES_MAX - 1),
        [b"ada", b""],
    ]


@pytest.mark.parametrize("form", [PlainFrames, compiled])
def test_it_stops_at_its_bounds_and_goes_on_after(form, sockets):
    router, dealer = sockets
    frames = form(router)
    assert frames.receive(ENOUGH, ENOUGH, FRAMES_MAX) == ([], [])
    for number in range(5):
        dealer.send_multipart([b"", b"%d" % number * 10])
    assert router.poll(5000)
    bodies = []
    while len(bodies) < 5:
        requests, _ = frames.receive(2, ENOUGH, FRAMES_MAX)
        assert len(requests) <= 2
        bodies += [body for _, body in requests]
    assert bodies == [b"%d" % number * 10 for number in range(5)]
    for _ in range(5):
        dealer.send_multipart([b"none", b""])  # else a peer that sends no requests could hold the loop for ever
    others = 0
    while others < 5:
        found = frames.receive(2, ENOUGH, FRAMES_MAX)
        assert len(found[1]) <= 2
        others += len(found[1])
    for number in range(5):
        dealer.send_multipart([b"", b"%d" % number * 10])
    sizes = []
    while sum(sizes) < 5:
        sizes.append(len(frames.receive(ENOUGH, 15, FRAMES_MAX)[0]))
        assert sizes[-1] <= 2


@pytest.mark.parametrize("form", [PlainFrames, compiled])
def test_replies_go_back_to_where_their_requests_came_from(form, sockets):
    router, dealer = sockets
    frames = form(router)
    requests, _ = exchange(frames, sockets, [[b"", b"1"], [b"c2", b"", b"2"], [b"c3", b"", b"3"]])
    assert frames.send(requests, [b"one", None, b"three" * 50_000]) == 0
    assert dealer.recv_multipart() == [b"", b"one"]
    assert dealer.recv_multipart() == [b"c3", b"", b"three" * 50_000]
    assert frames.send([([b"nobody", b""], b""), *requests], [b"x", b"one", b"two", None]) == 1
    assert [dealer.recv_multipart()[-1] for _ in range(2)] == [b"one", b"two"]


@pytest.mark.parametrize("form", [PlainFrames, compiled])
def test_a_client_that_does_not_read_loses_replies_and_they_are_counted(form, sockets):
    router, dealer = sockets
    router.set(zmq.SNDHWM, 1)
    frames = form(router)
    requests, _ = exchange(frames, sockets, [[b"", b"1"]])
    count = 3000
    dropped = frames.send(requests * count, [b"x" * 100_000] * count)
    assert 0 < dropped < count
    for _ in range(count - dropped):
        dealer.recv_multipart()
    assert not dealer.poll(50)


@built
@pytest.mark.parametrize("form", [PlainFrames, compiled])
def test_what_is_published_comes_in_order_and_only_to_who_asked(form):
    with zmq.Context() as context, context.socket(zmq.XPUB) as xpub, context.socket(zmq.SUB) as sub:
        for each in (xpub, sub):
            each.set(zmq.LINGER, 0)
            each.set(zmq.RCVTIMEO, 60_000)
        sub.connect(f"tcp://127.0.0.1:{xpub.bind_to_random_port('tcp://127.0.0.1')}")
        sub.subscribe(b"ka")
        assert xpub.recv() == b"\x01ka"
        frames = form(xpub)
        frames.publish([], [])
        frames.publish([b"ka1", b"kb1", b"ka2"], [b"1", b"2", b"x" * 5_000])
        assert [sub.recv_multipart() for _ in range(2)] == [[b"ka1", b"1"], [b"ka2", b"x" * 5_000]]


@built
def test_wrong_arguments_raise_and_do_not_crash(sockets):
    _frames = import_module("kvd.native._native")
    frames = CompiledFrames(sockets[0])
    with pytest.raises(OSError, match="libzmq is not loaded"):
        _frames.load_zmq("/nonexistent/libzmq.so")
    with pytest.raises(OSError, match="has no function zmq_msg_init"):
        _frames.load_zmq(library("libc.so"))
    _frames.load_zmq(libzmq_path())
    for requests in ([1], [()], [(b"",)], [([1], b"")]):
        with pytest.raises(TypeError):
            frames.send(requests, [b""])
    with pytest.raises(IndexError):
        frames.send([([b"ada"], b"")], [])
    for arguments in [(), (frames.address,), ("x", 1, 1, 1, False), (frames.address, 1, 1, "x", False)]:
        with pytest.raises(TypeError):
            _frames.receive(*arguments)


def library(name):
    """Return the path of a library that this process has loaded."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return next(line.split()[-1] for line in lines if name in line)


def test_without_the_compiled_form_the_plain_one_serves(sockets, monkeypatch):
    monkeypatch.setattr(native, "module", None)
    assert frames_of(sockets[0]).name == "plain"


@built
def test_where_libzmq_is_not_found_the_plain_one_serves(sockets, monkeypatch):
    def fail_to_load(self, socket, *, with_users):
        raise OSError

    monkeypatch.setattr(CompiledFrames, "__init__", fail_to_load)
    assert frames_of(sockets[0]).name == "plain"


@pytest.mark.parametrize("form", [PlainFrames, compiled])
def test_a_request_tells_the_user_id_that_the_authenticator_gave(form):
    with zmq.Context() as context:
        public, secret = zmq.curve_keypair()
        zap, router, dealer = (context.socket(kind) for kind in (zmq.ROUTER, zmq.ROUTER, zmq.DEALER))
        for each in (zap, router, dealer):
            each.set(zmq.LINGER, 0)
            each.set(zmq.RCVTIMEO, 60_000)
        zap.bind("inproc://zeromq.zap.01")
        for name, value in (("SERVER", 1), ("SECRETKEY", secret)):
            router.set(getattr(zmq, f"CURVE_{name}"), value)
        router.set(zmq.ZAP_DOMAIN, b"kvd")
        for name, value in zip(("PUBLICKEY", "SECRETKEY", "SERVERKEY"), (*zmq.curve_keypair(), public), strict=True):
            dealer.set(getattr(zmq, f"CURVE_{name}"), value)
        dealer.connect(f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}")
        dealer.send_multipart([b"c", b"", b"body"])
        dealer.send_multipart([b"none"])
        zap.send_multipart([*zap.recv_multipart()[:4], b"200", b"", b"ada", b""])
        assert router.poll(5000)
        frames, found = form(router, with_users=True), []
        while len(found) < 2:
            requests, others = frames.receive(ENOUGH, ENOUGH, FRAMES_MAX)
            found += requests + others
        assert (found[0][1:], found[1][1:]) == ((b"body", "ada"), [b"none"])
        assert frames.send(requests or [found[0]], [b"reply"]) == 0
        assert dealer.recv_multipart() == [b"c", b"", b"reply"]
        for each in (zap, router, dealer):
            each.close()


@pytest.mark.parametrize("form", [PlainFrames, compiled])
def test_where_nobody_gave_a_user_id_it_is_empty(form, sockets):
    requests, _ = exchange(form(sockets[0], with_users=True), sockets, [[b"", b"body"]])
    assert requests == [([b"ada", b""], b"body", "")]
