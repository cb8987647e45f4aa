"""The wire as any ZeroMQ client in any language sees it: pyzmq and msgpack, nothing of ours."""

import msgspec
import pytest
import zmq

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode


@pytest.fixture
def context():
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def plain(context, daemon):
    """Make a connected plain socket."""

    def make(kind, endpoint=None, **options):
        sock = context.socket(kind)
        sock.set(zmq.RCVTIMEO, 60_000)
        sock.set(zmq.LINGER, 0)
        for name, value in options.items():
            sock.set(getattr(zmq, name), value)
        sock.connect(endpoint or daemon.commands)
        return sock

    return make


def ask(req, *command):
    req.send(encode(command))
    return decode(req.recv())


def test_req_sets_gets_clears_and_hears_errors(plain):
    req = plain(zmq.REQ)
    assert ask(req, "SET", b"city", b"Ahmedabad") == ["OK", 1, None]
    assert ask(req, "GET", b"city") == ["OK", 1, b"Ahmedabad"]
    assert ask(req, "MULTIGET", [b"city", b"none"]) == ["OK", 1, [b"Ahmedabad", None]]
    assert ask(req, "CLEAR", [b"city", b"none"]) == ["OK", 2, 1]
    assert ask(req, "GET", b"city") == ["OK", 2, None]
    code = ask(req, "FROBNICATE")
    assert code[:2] == ["ERROR", "UNKNOWN_COMMAND"]
    assert code[3] == {"outcome": "not executed"}


def test_req_with_correlation(plain):
    req = plain(zmq.REQ, REQ_CORRELATE=1, REQ_RELAXED=1)
    assert ask(req, "PING") == ["OK", 0, b"PONG"]
    assert ask(req, "PING", b"again") == ["OK", 0, b"again"]


@pytest.mark.parametrize("envelope", [[], [b"id"], [b"one", b"two", b"three"], [b"%d" % n for n in range(8)]])
def test_a_dealers_envelope_comes_back_untouched(plain, envelope):
    dealer = plain(zmq.DEALER)
    dealer.send_multipart([*envelope, b"", encode(["PING"])])
    *frames, body = dealer.recv_multipart()
    assert frames == [*envelope, b""]
    assert decode(body) == ["OK", 0, b"PONG"]


@pytest.mark.parametrize(
    "frames", [[b"no empty frame"], [b"a", b"b"], [b"%d" % n for n in range(1, 10)] + [b"", b"x"], [b"x"] * 1000]
)
def test_a_message_without_the_empty_frame_is_counted_and_dropped(plain, frames):
    dealer = plain(zmq.DEALER)
    dealer.send_multipart(frames)
    dealer.send_multipart([b"", encode(["INFO", "traffic"])])
    reply = decode(dealer.recv_multipart()[-1])
    assert reply[2]["traffic"]["malformed"] == 1


@pytest.mark.parametrize("rest", [[], [b"one", b"two"]])
def test_after_the_empty_frame_comes_one_body(plain, rest):
    dealer = plain(zmq.DEALER)
    dealer.send_multipart([b"id", b"", *rest])
    *frames, body = dealer.recv_multipart()
    assert frames == [b"id", b""]
    assert decode(body)[:2] == ["ERROR", "BAD_REQUEST"]
    dealer.send_multipart([b"", encode(["PING"])])
    assert decode(dealer.recv_multipart()[-1]) == ["OK", 0, b"PONG"]


def test_an_empty_frame_at_the_end_does_not_eat_the_next_message(plain):
    hostile, good = plain(zmq.DEALER), plain(zmq.REQ)
    for _ in range(50):
        hostile.send_multipart([b""])
        assert ask(good, "PING") == ["OK", 0, b"PONG"]


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x80", encode(["GET"]), encode("GET"), encode([1]), b"\x91" * 100_000]
)
def test_junk_gets_an_error_that_says_not_executed(plain, body):
    req = plain(zmq.REQ)
    req.send(body)
    reply = decode(req.recv())
    assert reply[0] == "ERROR"
    assert reply[1] in ("BAD_REQUEST", "BAD_ARGUMENT")
    assert reply[3]["outcome"] == "not executed"


def test_commands_of_one_connection_run_in_order_and_answer_in_order(plain):
    dealer = plain(zmq.DEALER)
    for number in range(2000):
        dealer.send_multipart([b"%d" % number, b"", encode(["INCR", b"n"])])
    replies = [dealer.recv_multipart() for _ in range(2000)]
    assert [frames[0] for frames in replies] == [b"%d" % number for number in range(2000)]
    assert [decode(frames[-1]) for frames in replies] == [["OK", n, n] for n in range(1, 2001)]


def test_a_subscriber_sees_its_prefix_only_and_all_of_it(plain, daemon):
    sub, req = plain(zmq.SUB, daemon.changes), plain(zmq.REQ)
    sub.set(zmq.SUBSCRIBE, b"kuser:")
    sub.set(zmq.SUBSCRIBE, b"c")
    topic, body = sub.recv_multipart()
    assert (topic, decode(body)[0]) == (b"c", "HEARTBEAT")
    for number in range(100):
        ask(req, "SET", b"user:%d" % number, b"v")
        ask(req, "SET", b"other:%d" % number, b"v")
    ask(req, "CLEAR", [b"user:7"])
    seen = []
    while len(seen) < 101:
        topic, body = sub.recv_multipart()
        if topic != b"c":
            seen.append((topic, decode(body)))
    assert [topic for topic, _ in seen] == [b"kuser:%d" % number for number in range(100)] + [b"kuser:7"]
    assert [change[:6] for _, change in seen[:2]] == [
        ["SET", 1, b"user:0", b"v", 0, None],
        ["SET", 3, b"user:1", b"v", 0, None],
    ]
    assert seen[-1][1][:6] == ["CLEAR", 201, b"user:7", None, 15, None]


def test_each_new_subscription_to_control_gets_a_heartbeat_at_once(plain, daemon):
    for _ in range(20):
        sub = plain(zmq.SUB, daemon.changes, RCVTIMEO=900)  # less than the second between heartbeats
        sub.set(zmq.SUBSCRIBE, b"c")
        assert decode(sub.recv_multipart()[1])[0] == "HEARTBEAT"
        sub.close()


def test_compact_is_told_to_control(plain, daemon):
    sub, req = plain(zmq.SUB, daemon.changes), plain(zmq.REQ)
    sub.set(zmq.SUBSCRIBE, b"c")
    sub.recv_multipart()
    for _ in range(5):
        ask(req, "INCR", b"n")
    assert ask(req, "COMPACT", 3) == ["OK", 5, 3]
    while (control := decode(sub.recv_multipart()[1]))[0] == "HEARTBEAT":
        pass
    assert control == ["COMPACTED", 3]
    assert ask(req, "CHANGES", 2)[:2] == ["ERROR", "COMPACTED"]
    assert ask(req, "CHANGES", 2)[3]["compacted"] == 3


def test_changes_with_wait_parks_without_blocking_others(plain):
    waiting, other, late = plain(zmq.REQ), plain(zmq.REQ), plain(zmq.REQ)
    waiting.send(encode(["CHANGES", 0, b"a", None, 30_000]))
    late.send(encode(["CHANGES", 0, b"zzz", None, 300]))
    assert ask(other, "SET", b"b", b"1") == ["OK", 1, None]
    assert ask(other, "PING")[2] == b"PONG"
    assert waiting.poll(50) == 0
    ask(other, "SET", b"a1", b"2")
    status, revision, changes = decode(waiting.recv())
    assert (status, revision, [change[:4] for change in changes]) == ("OK", 2, [["SET", 2, b"a1", b"2"]])
    assert decode(late.recv()) == ["OK", 2, []]


def test_an_expired_key_is_gone_at_once_and_told_within_a_second(plain, daemon):
    sub, req = plain(zmq.SUB, daemon.changes), plain(zmq.REQ)
    sub.set(zmq.SUBSCRIBE, b"k")
    sub.set(zmq.SUBSCRIBE, b"c")
    sub.recv_multipart()
    ask(req, "SET", b"a", b"1", 30)
    changes = []
    while len(changes) < 2:
        topic, body = sub.recv_multipart()
        if topic != b"c":
            changes.append(decode(body))
    (_, _, _, _, _, expires, _), (kind, revision, key, value, previous, none, time) = changes
    assert (kind, revision, key, value, previous, none) == ("EXPIRED", 2, b"a", None, 1, None)
    assert 0 <= time - expires <= 1000
    assert ask(req, "GET", b"a") == ["OK", 2, None]


def test_a_command_over_the_limit_is_told_so(plain):
    req = plain(zmq.REQ)
    assert ask(req, "SET", b"k", b"x" * (16 * 1024 * 1024 + 1))[:2] == ["ERROR", "TOO_LARGE"]
    assert ask(req, "SET", b"k" * 4097, b"")[:2] == ["ERROR", "TOO_LARGE"]
    assert ask(req, "SET", b"k", b"x" * (33 * 1024 * 1024))[:2] == ["ERROR", "TOO_LARGE"]
    assert ask(req, "SET", b"k", b"x" * (16 * 1024 * 1024)) == ["OK", 1, None]
    assert len(ask(req, "GET", b"k")[2]) == 16 * 1024 * 1024
