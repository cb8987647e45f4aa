"""Where there was no compiler the plain forms serve, in the same files."""

import sys

import pytest

PROGRAM = """
import sys
sys.modules.update({"kvd.native._native": None})  # as if they had not been built
from kvd.cli import main
sys.argv = ["kvd", *sys.argv[1:]]
main()
"""


@pytest.fixture
def plain(make_daemon):
    daemon = make_daemon()
    daemon.compiled, daemon.program = daemon.program, [sys.executable, "-c", PROGRAM, "serve"]
    return daemon.start()


def test_a_daemon_that_is_not_compiled_serves_and_says_so(plain):
    with plain.client() as kv:
        told = kv.info("server")["server"]
        assert (told["core"], told["frames"]) == ("plain", "plain")
        assert "core=plain" in next(line for line in plain.log.read_text().splitlines() if "event=ready" in line)
        with kv.pipeline() as pipeline:
            for number in range(200):
                pipeline.set(f"key:{number}", f"{number}", ttl=3600 if number % 7 == 0 else None)
        assert kv.multiget(*[f"key:{number}" for number in range(201)]) == [*[b"%d" % n for n in range(200)], None]
        assert kv.clear("key:3", "key:4", "none") == 2
        assert len(kv.changes(0, "key:")) == 202


def test_what_one_form_wrote_and_was_killed_over_the_other_reads(plain):
    for number in range(6):
        with plain.client() as kv:
            assert kv.incr("n") == number + 1
            kv.multiset({f"{number}:{place}": "x" * place for place in range(300)})
            assert kv.get(f"{number}:299") == b"x" * 299
        plain.kill()
        plain.compiled, plain.program = plain.program, plain.compiled
        plain.start()
    with plain.client() as kv:
        assert kv.count() == 6 * 300 + 1
        assert [len(value) for value in kv.multiget(*[f"0:{place}" for place in range(300)])] == list(range(300))
        kv.check()
