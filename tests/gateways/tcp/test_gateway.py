"""The TCP gateway over real sockets, with clients of every kind: quick, slow, silent, wrong, and too many."""

import signal
import socket
import struct
import threading
from pathlib import Path
from time import sleep

import pytest
from support.chronicle import CLEAR, GET, PING, SET, Chronicle, request
from support.doors import AccessFiles
from support.running import eventually, run_kvd

from kvd.limits import IN_FLIGHT_MAX, MIB, TCP_REPLIES_BYTES_MAX


@pytest.fixture
def kv(daemon):
    """Return a client of the test's own daemon, not of the one that the tests of HTTP share."""
    with daemon.client() as client:
        yield client


@pytest.fixture
def gateway(daemon, make_gateway):
    return make_gateway("tcp", daemon.commands)


@pytest.fixture
def wide(daemon, make_gateway):
    return make_gateway("tcp", daemon.commands, "--width", "u32")


@pytest.fixture
def chronicle(gateway):
    with Chronicle(gateway) as client:
        yield client


def resident(gateway) -> int:
    """Return the bytes of memory that a gateway takes."""
    return int(Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1]) * 4096


class TestDialect:
    def test_each_line_of_it(self, chronicle):
        assert chronicle.ask(GET, b"city") == (1, b"Key not found")
        assert chronicle.ask(SET, b"city", b"Ahmedabad") == (0, b"city")
        assert chronicle.ask(GET, b"city") == (0, b"Ahmedabad")
        assert chronicle.ask(CLEAR, b"city") == (0, b"Ahmedabad")
        assert chronicle.ask(CLEAR, b"city") == (0, b"")
        assert chronicle.ask(GET, b"city") == (1, b"Key not found")
        assert chronicle.ask(PING, b"") == (0, b"PONG")
        assert chronicle.ask(PING, b"hello\0\xff") == (0, b"hello\0\xff")
        assert chronicle.ask(SET, b"empty", b"") == (0, b"empty")
        assert chronicle.ask(GET, b"empty") == (0, b"")

    def test_the_wide_form_has_characters_for_statuses(self, wide):
        with Chronicle(wide, wide=True) as client:
            assert client.ask(SET, b"city", b"Surat") == (ord("0"), b"city")
            assert client.ask(GET, b"none") == (ord("1"), b"Key not found")

    def test_what_the_daemon_refuses_is_said_and_the_connection_stays(self, chronicle):
        status, why = chronicle.ask(SET, b"", b"x")
        assert (status, why[:13]) == (1, b"BAD_ARGUMENT:")
        assert chronicle.ask(GET, b"")[0] == 1
        assert chronicle.ask(PING, b"still here") == (0, b"still here")

    def test_a_value_of_the_most_bytes(self, chronicle):
        value = bytes(range(256)) * (16 * MIB // 256)
        assert chronicle.ask(SET, b"large", value) == (0, b"large")
        assert chronicle.ask(GET, b"large") == (0, value)


SESSION = [(SET, b"a", b"1"), (GET, b"a"), (PING, b""), (SET, b"a", b"2"), (CLEAR, b"a"), (GET, b"a"), (CLEAR, b"a")]
REPLIES = [b"a", b"1", b"PONG", b"a", b"2", b"Key not found", b""]


class TestSegments:
    @pytest.mark.parametrize("width", ["gateway", "wide"])
    def test_byte_by_byte_and_split_at_every_offset(self, width, request):
        gateway = request.getfixturevalue(width)
        with Chronicle(gateway, wide=width == "wide") as client:
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            whole = b"".join(client.bytes_of(*each) for each in SESSION)
            for at in range(len(whole)):
                client.sock.sendall(whole[:at])
                client.sock.sendall(whole[at:])
                assert [client.reply()[1] for _ in SESSION] == REPLIES
            for byte in whole:
                client.sock.sendall(bytes([byte]))
            assert [client.reply()[1] for _ in SESSION] == REPLIES

    def test_thousands_in_flight_are_answered_in_order(self, chronicle):
        count = 5_000
        sent = b"".join(
            request(SET, b"k%d" % (n % 7), b"%d" % n) + request(GET, b"k%d" % (n % 7)) + request(PING, b"%d" % n)
            for n in range(count)
        )
        sender = threading.Thread(target=chronicle.sock.sendall, args=(sent,))
        sender.start()
        for n in range(count):
            got = [chronicle.reply() for _ in range(3)]
            assert got == [(0, b"k%d" % (n % 7)), (0, b"%d" % n), (0, b"%d" % n)]
        sender.join()

    def test_reads_of_many_connections_do_not_see_what_their_client_writes_later(self, gateway):
        """Coalesced GETs are refused together because of one key; then, too, each reflects its own time."""
        clients = [Chronicle(gateway) for _ in range(20)]
        for each, client in enumerate(clients):
            key = b"own%d" % each
            client.sock.sendall(b"".join(request(GET, key) + request(SET, key, b"%d" % n) for n in range(50)))
        for client in clients:
            got = [client.reply()[1] for _ in range(100)][::2]
            assert got == [b"Key not found", *[b"%d" % n for n in range(49)]]
            client.sock.close()

    def test_who_sends_no_more_gets_all_replies_then_the_end(self, chronicle):
        chronicle.sock.sendall(b"".join(request(SET, b"k", b"%d" % n) for n in range(500)))
        chronicle.sock.shutdown(socket.SHUT_WR)
        assert [chronicle.reply() for _ in range(500)] == [(0, b"k")] * 500
        assert chronicle.is_closed()


class TestMalformed:
    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"\1\0\0", b"a request must begin with the byte 0, not with 1"),
            (b"\0\0\x09", b"there is no command 9: the commands are 0 to 3"),
            (b"\0\0\1\0\0\0\1k\1\0\0\1", b"the value of SET is 16777217 bytes; at most 16777216 are allowed"),
            (b"\0\0\0\xff\xff\xff\xff", b"the key of GET is 4294967295 bytes; at most 4096 are allowed"),
        ],
    )
    def test_it_is_said_after_what_came_before_and_the_connection_ends(self, chronicle, data, why):
        chronicle.sock.sendall(request(SET, b"k", b"v") + request(GET, b"k") + data + b"more of it" * 10_000)
        assert [chronicle.reply() for _ in range(3)] == [(0, b"k"), (0, b"v"), (1, why)]
        assert chronicle.is_closed()

    def test_a_request_that_ends_early(self, chronicle):
        chronicle.sock.sendall(request(GET, b"key")[:-1])
        chronicle.sock.shutdown(socket.SHUT_WR)
        assert chronicle.reply() == (1, b"the request is incomplete")
        assert chronicle.is_closed()

    def test_large_strings_have_to_find_room_beside_those_of_others(self, gateway):
        """Only the lengths are sent: the gateway waits for 16 of 16 MiB, and refuses the next at once."""
        begun = [Chronicle(gateway) for _ in range(16)]
        for client in begun:
            client.sock.sendall(request(SET, b"k", b"")[:-4] + struct.pack(">I", 16 * MIB))
            assert client.sock.sendall(b"x") is None
        with Chronicle(gateway) as probe:
            eventually(lambda: is_string_refused(gateway))
            assert probe.ask(PING, b"") == (0, b"PONG")
        assert resident(gateway) < 100 * MIB
        for client in begun:
            client.sock.close()
        eventually(lambda: not is_string_refused(gateway))


def is_string_refused(gateway) -> bool:
    """Return whether a large string is refused now."""
    with Chronicle(gateway, timeout=0.3) as client:
        client.sock.sendall(request(SET, b"k", b"")[:-4] + struct.pack(">I", 16 * MIB))
        try:
            return client.reply()[1].startswith(b"BUSY: no memory for 16777216 bytes")
        except TimeoutError:
            return False


def unread(gateway, size: int, count: int) -> None:
    """Ask for a value again and again, and never read."""
    with Chronicle(gateway) as client:
        assert client.ask(SET, b"v", b"x" * size) == (0, b"v")
    before = resident(gateway)
    deaf = Chronicle(gateway, timeout=1)
    with pytest.raises(TimeoutError):
        for _ in range(count):
            deaf.sock.sendall(request(GET, b"v") * 10_000)
    with Chronicle(gateway) as client:
        assert client.ask(PING, b"") == (0, b"PONG")
    assert resident(gateway) - before < 64 * MIB + 8 * size  # the first window, each in the frame and in the reply
    deaf.sock.close()


class TestBounds:
    def test_a_client_that_never_reads_costs_little_and_is_read_no_more(self, gateway):
        unread(gateway, MIB, 1_000)

    def test_all_clients_that_never_read_cost_little_together_and_keep_nobody_out(self, gateway):
        size = 4 * MIB
        with Chronicle(gateway) as client:
            assert client.ask(SET, b"v", b"x" * size) == (0, b"v")
            before = resident(gateway)
            deaf = [Chronicle(gateway) for _ in range(100)]
            for each in deaf:
                each.sock.sendall(request(GET, b"v") * 4)
            sleep(2)
            assert resident(gateway) - before < TCP_REPLIES_BYTES_MAX + 64 * MIB
            for each in deaf[:-1]:
                each.sock.close()
            assert client.ask(PING, b"") == (0, b"PONG")
            assert [deaf[-1].reply() for _ in range(4)] == [(0, b"x" * size)] * 4
            deaf[-1].sock.close()

    @pytest.mark.long
    def test_who_takes_nothing_for_long_is_ended_and_who_takes_little_is_not(self, gateway):
        with Chronicle(gateway) as client, Chronicle(gateway) as deaf, Chronicle(gateway) as slow:
            assert client.ask(SET, b"v", b"x" * 16 * MIB) == (0, b"v")
            deaf.send(GET, b"v")
            slow.send(GET, b"v")
            for _ in range(40):
                assert slow.sock.recv(300_000)
                sleep(1)
            with pytest.raises((EOFError, ConnectionError)):
                deaf.reply()
            slow.sock.settimeout(1)
            slow.exactly(MIB)

    def test_many_large_values_that_come_as_a_surprise(self, gateway):
        """After small values, the gateway expects small ones: an unexpectedly large one is BUSY, in order."""
        size = 16 * MIB
        with Chronicle(gateway) as client:
            assert client.ask(SET, b"large", b"x" * size) == (0, b"large")
            assert client.ask(GET, b"small") == (1, b"Key not found")
            before = resident(gateway)
            client.sock.sendall(request(PING, b"first") + request(GET, b"large") * 60 + request(PING, b"last"))
            sleep(2)
            assert resident(gateway) - before < TCP_REPLIES_BYTES_MAX + 128 * MIB
            assert client.reply() == (0, b"first")
            got = [client.reply() for _ in range(60)]
            assert {status for status, _ in got} <= {0, 1}
            assert {text[:5] for status, text in got if status} <= {b"BUSY:"}
            assert client.reply() == (0, b"last")
            assert client.ask(GET, b"large") == (0, b"x" * size)

    @pytest.mark.long
    @pytest.mark.parametrize("size", [0, 100, 10_000, MIB, 16 * MIB])
    def test_a_client_that_never_reads_values_of_any_size(self, gateway, size):
        unread(gateway, size, 100_000)

    def test_500_half_open_connections_keep_nobody_out(self, gateway):
        half = [Chronicle(gateway) for _ in range(500)]
        for number, client in enumerate(half):
            client.sock.sendall(request(SET, b"half", b"value")[: number % 17])
        with Chronicle(gateway) as client:
            assert client.ask(SET, b"k", b"v") == (0, b"k")
        for client in half:
            client.sock.close()
        with Chronicle(gateway) as client:
            assert client.ask(GET, b"half") == (1, b"Key not found")

    def test_one_connection_too_many_is_told_so(self, daemon, make_gateway):
        gateway = make_gateway("tcp", daemon.commands, "--connections", "2")
        first, second = Chronicle(gateway), Chronicle(gateway)
        assert first.ask(PING, b"") == second.ask(PING, b"") == (0, b"PONG")
        with Chronicle(gateway) as third:
            third.send(PING, b"")
            assert third.reply() == (1, b"the gateway has 2 connections and accepts no more: try again")
            assert third.is_closed()
        first.sock.close()
        eventually(lambda: is_taken(gateway))
        assert second.ask(PING, b"") == (0, b"PONG")
        second.sock.close()

    def test_requests_of_all_connections_share_what_is_under_way(self, gateway):
        clients = [Chronicle(gateway) for _ in range(40)]
        each = 2 * IN_FLIGHT_MAX // 40
        for client in clients:
            client.sock.sendall(request(PING, b"x") * each)
        for client in clients:
            assert [client.reply() for _ in range(each)] == [(0, b"x")] * each
            client.sock.close()


def is_taken(gateway) -> bool:
    """Return whether another connection is accepted."""
    with Chronicle(gateway) as client:
        return client.ask(PING, b"") == (0, b"PONG")


class TestDaemon:
    def test_away_is_said_at_once_and_the_connection_stays(self, daemon, chronicle):
        assert chronicle.ask(SET, b"k", b"v") == (0, b"k")
        daemon.kill()
        eventually(lambda: chronicle.ask(GET, b"k") == (1, b"GET: no daemon answers"))
        assert chronicle.ask(SET, b"k", b"2") == (1, b"SET: no daemon answers")
        daemon.start()
        eventually(lambda: chronicle.ask(GET, b"k") == (0, b"v"))

    def test_roles_are_those_of_the_gateways_key(self, make_daemon, make_gateway, tmp_path):
        doors = AccessFiles(tmp_path)
        doors.write(root={"role": "admin"}, gate={"role": "write", "prefixes": ["open:"]})
        daemon = make_daemon(*doors.options)
        daemon.keys = doors.keys("root")
        daemon.start()
        with daemon.client() as kv:
            kv.set("secret", "x")
        own = ["--key", str(doors.make("gate")), "--server-key", str(tmp_path / "daemon.key")]
        gateway = make_gateway("tcp", daemon.commands, *own)
        with Chronicle(gateway) as client:
            client.sock.sendall(
                request(SET, b"open:k", b"v")
                + request(GET, b"open:k")
                + request(GET, b"secret")
                + request(GET, b"open:k")
            )
            assert [client.reply()[0] for _ in range(4)] == [0, 0, 1, 0]
            client.sock.sendall(request(GET, b"open:k") + request(GET, b"secret") + request(CLEAR, b"open:k"))
            assert client.reply() == (0, b"v")
            assert client.reply()[1].startswith(b"DENIED: ")
            assert client.reply() == (0, b"v")


class TestLife:
    def test_sigterm_under_load_answers_or_closes_and_nothing_twice(self, daemon, kv, gateway):
        clients = [Chronicle(gateway) for _ in range(20)]
        answers = [0] * len(clients)

        def load(at: int) -> None:
            client = clients[at]
            try:
                for n in range(100_000):
                    client.send(SET, b"load%d" % at, b"%d" % n)
                    assert client.reply() == (0, b"load%d" % at)
                    answers[at] = n + 1
            except (EOFError, ConnectionError):
                client.sock.close()

        threads = [threading.Thread(target=load, args=(at,)) for at in range(len(clients))]
        for thread in threads:
            thread.start()
        eventually(lambda: min(answers) > 5)
        gateway.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert gateway.process.wait(60) == 0
        assert "Traceback" not in gateway.log.read_text()
        for at, answered in enumerate(answers):
            assert int(kv.get(f"load{at}")) == answered - 1  # what was not answered was not begun

    def test_sigterm_with_many_in_flight_answers_a_whole_beginning(self, kv, gateway):
        client = Chronicle(gateway)
        sender = threading.Thread(target=send_on, args=(client,))
        sender.start()
        assert client.reply() == (0, b"n")
        gateway.process.send_signal(signal.SIGTERM)
        count = 1
        with pytest.raises((EOFError, ConnectionError)):
            while client.reply() == (0, b"n"):
                count += 1
        client.sock.close()
        sender.join()
        assert gateway.process.wait(60) == 0
        assert kv.entry("n").revision == count

    def test_a_unix_socket_and_its_end(self, daemon, make_gateway, tmp_path):
        path = tmp_path / "tcp.sock"
        gateway = make_gateway("tcp", daemon.commands, listen=f"unix:{path}")
        with Chronicle(gateway) as client:
            assert client.ask(PING, b"") == (0, b"PONG")
        assert path.stat().st_mode & 0o777 == 0o600
        assert gateway.stop() == 0
        assert not path.exists()

    def test_a_second_one_at_the_same_path_leaves_the_first_alone(self, daemon, make_gateway, tmp_path):
        path, other = tmp_path / "tcp.sock", tmp_path / "other.sock"
        gateway = make_gateway("tcp", daemon.commands, listen=f"unix:{path}")
        both = ["--listen", f"unix:{other}", "--listen", f"unix:{path}"]
        done = run_kvd("gateway", "tcp", "--url", daemon.commands, *both)
        assert done.returncode == 69
        assert f"unix:{path} is in use by another program" in done.stderr
        assert not other.exists()
        with Chronicle(gateway) as client:
            assert client.ask(PING, b"") == (0, b"PONG")
        path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(path))
            assert gateway.stop() == 0
            assert path.exists()

    def test_an_endpoint_that_is_none(self):
        done = run_kvd("gateway", "tcp", "--url", "foo")
        assert done.returncode == 78
        assert done.stderr.startswith("kvd: 'foo' is not an endpoint")

    def test_others_reach_it_only_when_that_is_said(self, daemon):
        done = run_kvd("gateway", "tcp", "--url", daemon.commands, "--listen", "0.0.0.0:0")
        assert done.returncode == 78
        assert (
            "This protocol does not identify clients: listen on 127.0.0.1 or unix:PATH, or give --insecure."
            in done.stderr
        )


def send_on(client) -> None:
    """Send SETs until the connection ends."""
    try:
        while True:
            client.sock.sendall(request(SET, b"n", b"1") * 100)
    except OSError:
        pass
