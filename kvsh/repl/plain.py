"""A plain line reader, for terminals on which a cursor cannot be moved. The script engine does the work."""

import sys

from kvd.client import Stream
from kvd.errors import ClientError
from kvsh.script.actions import Stop
from kvsh.script.engine import Script
from kvsh.script.lines import Where
from kvsh.script.outcome import WELL, Failure, sentence
from kvsh.script.output import Output
from kvsh.script.sender import Sent
from kvsh.script.settings import Settings


class Talk(Script):
    """A script whose lines a person types: a failure is told and forgotten."""

    def fail(self, failure: Failure, where: Where) -> None:  # noqa: ARG002
        """Tell a failure."""
        self.output.message(f"(error) {sentence(failure, self.endpoint)}")

    def lost(self, error: ClientError, sent: Sent) -> None:
        """Tell that no reply came, and go on."""
        self.fail(error, sent.lines[0])


def run(settings: Settings, output: Output) -> int:
    """Prompt, read, run, until the input ends or QUIT."""
    stream = Stream(**settings.connection)
    talk = Talk(stream, output, form=settings.form)
    try:
        while turn(talk):
            pass
    finally:
        stream.close()
    return WELL


def turn(talk: Talk) -> bool:
    """Read and run one line; return whether to go on."""
    gathered = f"(tx:{len(talk.gathering.commands)})" if talk.gathering else ""
    talk.output.data(f"kvd{gathered}> ".encode())
    talk.output.flush()
    try:
        line = sys.stdin.buffer.readline()
        if not line:
            talk.output.data(b"\n")
            return False
        talk.take(Where("", 0, line.rstrip(b"\r\n")))
        talk.drain()
    except KeyboardInterrupt:
        talk.output.data(b"\n")
    except Stop:
        return False
    finally:
        talk.output.flush()
    return True
