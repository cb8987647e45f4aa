"""GET /kv/k through the HTTP gateway beside a route of Starlette that answers a constant (ROUNDS as argument).

Both run under uvicorn with uvloop and httptools, each in a process of its own; wrk asks by 50 connections. Rounds
alternate, and what is told are medians and their ratio. It needs wrk (apt-get install wrk).
"""

import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvicorn
from daemons import process
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvd.client import Client

GATEWAY_PORT, CONSTANT_PORT = 17480, 17481
CONNECTIONS, SECONDS = 50, 3
VALUE = b"v" * 100


async def constant(request: Request) -> Response:  # noqa: ARG001
    """Answer what the gateway would."""
    return Response(VALUE, headers={"ETag": '"1"'}, media_type="application/octet-stream")


def asked(port: int) -> float:
    """Return the replies a second that wrk counts."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}", f"http://127.0.0.1:{port}/kv/k"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in told:
        raise SystemExit(told)
    found = re.search(r"Requests/sec:\s+([\d.]+)", told)
    if found is None:
        raise SystemExit(told)
    return float(found[1])


def compare(rounds: int) -> None:
    """Measure both, alternating, and print."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvd-bench-")))
        url = f"ipc://{folder}/c"
        kvd = [sys.executable, "-m", "kvd"]
        ends = ["--listen", url, "--publish", f"ipc://{folder}/p", "--log-level", "error"]
        stack.enter_context(process([*kvd, "serve", "--data", folder / "data", *ends]))
        stack.enter_context(process([*kvd, "gateway", "http", "--url", url, "--listen", f"127.0.0.1:{GATEWAY_PORT}"]))
        stack.enter_context(process([sys.executable, __file__, "--constant"]))
        with Client(url) as kv:
            kv.set("k", VALUE)
        pairs = [(asked(GATEWAY_PORT), asked(CONSTANT_PORT)) for _ in range(rounds)]
    gateway, plain = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(
        f"GET {gateway:,.0f}/s  constant {plain:,.0f}/s  ratio {ratio:.2f}  ({rounds} rounds of {CONNECTIONS} clients)"
    )


def main() -> None:
    """Be what the arguments say."""
    if sys.argv[1:2] == ["--constant"]:
        app = Starlette(routes=[Route("/kv/{key:path}", constant)])
        uvicorn.run(app, port=CONSTANT_PORT, log_level="error", access_log=False, loop="uvloop", http="httptools")
    else:
        compare(int(sys.argv[1]) if len(sys.argv) > 1 else 5)


if __name__ == "__main__":
    main()
