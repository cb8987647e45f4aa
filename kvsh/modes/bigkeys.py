"""`kvsh --bigkeys`: how much keys and values take, the largest, and the prefixes that hold most. It only reads.

It walks by SCAN VALUES, though all values come over the wire: 550 k entries/s were measured with values of 100
bytes, and what the daemon keeps in its cache stays there. SCAN and an ENTRY for each key makes 74 k/s, reads each
value from disk twice (SCAN checks it too) and pushes everything else out of the cache.
"""

from typing import Any

from kvd.client import Stream
from kvd.client.stream import ok
from kvd.client.walk import pages
from kvd.commands.server import Info
from kvsh.modes.progress import progress_of
from kvsh.modes.report import bar, row_text, size_text
from kvsh.modes.sizes import Sizes
from kvsh.render.data import document
from kvsh.ui.outcome import INTERRUPTED, OK
from kvsh.ui.output import Output
from kvsh.ui.progress import Progress, columns
from kvsh.ui.settings import Settings
from kvsh.words import as_word


def run(settings: Settings, output: Output, argument: Any) -> int:  # noqa: ARG001  # every mode is given one
    """Go through all entries and write what was found, also after Ctrl-C; return the exit code. Raises KvdError."""
    sizes = Sizes()
    progress = progress_of(settings)
    code = OK
    try:
        with Stream(**settings.stream) as stream:
            walk(stream, sizes, progress)
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        progress.clear()
    if code == INTERRUPTED:
        output.message(f"kvsh: interrupted: this is of the first {sizes.keys:,} keys only")
    if not settings.quiet:
        found = {"complete": code == OK, **sizes.document()}
        output.data(TEXTS.get(settings.form, _machine_text)(found, settings.form))
        output.flush()
    return code


def walk(stream: Stream, sizes: Sizes, progress: Progress) -> None:
    """Take all entries in. Raises KvdError."""
    stream.send(Info("store"))
    [(_, outcome)] = stream.receive()
    total = ok(outcome).result["store"]["keys"]
    for page in pages(stream, b"", values=True):
        sizes.add(page)
        if progress.is_due():
            progress.draw(f"{sizes.keys:,} of {total:,} keys, {size_text(sizes.key_bytes + sizes.value_bytes)}")


def _terminal_text(found: dict[str, Any], _: str) -> bytes:
    """Return it for reading."""
    held = f"{size_text(found['key_bytes'])} in keys and {size_text(found['value_bytes'])} in values"
    lines = [f"{found['keys']:,} keys hold {held}"]
    if found["keys"]:
        lines[0] += f", {size_text(round(found['mean_value_bytes']))} a value on average"
        lines += ["", "largest values"]
        lines += [f"{size_text(each['bytes']):>11}  {as_word(each['key'])}" for each in found["largest"]]
        lines += ["", "prefixes that hold most, in keys and values"]
        lines += [_prefix_line(each) for each in found["prefixes"]]
        lines += ["", "values by size in bytes", *_size_lines(found["sizes"])]
    return "\n".join([*lines, ""]).encode()


def _prefix_line(group: dict[str, Any]) -> str:
    """Return the line of a prefix."""
    name = "(keys without : or /)" if group["prefix"] is None else as_word(group["prefix"])
    return f"{size_text(group['bytes']):>11}  {group['keys']:>13,} keys  {name}"


def _size_lines(sizes: list[dict[str, int]]) -> list[str]:
    """Return the histogram of sizes, as wide as the terminal."""
    labels = [f"{each['from']:>10,} - {each['to']:<10,}  {each['keys']:>13,}  " for each in sizes]
    most = max(each["keys"] for each in sizes)
    room = max(columns(1) - 1 - max(map(len, labels)), 1)
    return [(label + bar(each["keys"], most, room)).rstrip() for label, each in zip(labels, sizes, strict=True)]


def _json_text(found: dict[str, Any], _: str) -> bytes:
    """Return it as one document."""
    return document(found)


def _machine_text(found: dict[str, Any], form: str) -> bytes:
    """Return rows: `name value`, `largest bytes key`, `prefix bytes keys prefix`, `size from to keys`.

    The prefix of keys without separator is `-` in raw (no prefix is: it ends with a separator) and empty in CSV.
    """
    rows = [[name, value] for name, value in found.items() if not isinstance(value, list)]
    rows += [["largest", each["bytes"], each["key"]] for each in found["largest"]]
    rows += [["prefix", each["bytes"], each["keys"], each["prefix"]] for each in found["prefixes"]]
    rows += [["size", each["from"], each["to"], each["keys"]] for each in found["sizes"]]
    return b"".join([row_text(form, fields) for fields in rows])


TEXTS = {"terminal": _terminal_text, "json": _json_text}
