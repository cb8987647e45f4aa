"""Writes what is derived from the command classes and kept in files. `make generate` runs it.

    kvd/features.py                  the names of new commands and arguments, with this release
    docs/protocol.md                 rows for new commands, in both tables
    man/kvd-protocol.7               a row for each new feature
    man/kvd-commands.7               the whole page (kvd/commands/manual.py)
    kvd/gateways/grpc/kvd_v1.proto   the whole file (kvd/gateways/grpc/proto.py); protoc then writes kvd_v1_pb2.py
    tests/golden/*.txt               lines for new commands and error codes (tests/test_golden.py)

Existing rows and lines are contracts: they stay as they are, and a golden line that would change is an error.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from kvd.commands import COMMANDS, Command, syntax_of
from kvd.commands.manual import describe_result
from kvd.commands.syntax import Parameter, Shape
from kvd.features import FEATURES, FIRST_RELEASE
from kvd.version import VERSION

FEATURES_FILE = Path("kvd/features.py")
PROTOCOL_PAGE = Path("docs/protocol.md")
PROTOCOL_MANUAL = Path("man/kvd-protocol.7")
PROTO = Path("kvd/gateways/grpc")
NAME_COLUMNS = 25


def main() -> None:
    """Write all files."""
    features = dict(find_features())
    rewrite(FEATURES_FILE, lambda text: add_features(text, features))
    rewrite(PROTOCOL_PAGE, lambda text: add_feature_rows(add_command_rows(text), features))
    rewrite(PROTOCOL_MANUAL, lambda text: add_manual_rows(text, features))
    run("-m", "kvd.commands.manual")
    run("-m", "kvd.gateways.grpc.proto")
    run("-m", "grpc_tools.protoc", f"-I{PROTO}", f"--python_out={PROTO}", "kvd_v1.proto", "kvs2.proto")
    run("tests/test_golden.py")


def rewrite(path: Path, change) -> None:  # noqa: ANN001  # Callable[[str], str]
    """Write a file with a change."""
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def run(*arguments: str) -> None:
    """Run Python; exit if it fails."""
    if code := subprocess.run([sys.executable, *arguments], check=False).returncode:
        sys.exit(code)


def find_features() -> Iterator[tuple[str, str]]:
    """Yield each command and argument that is not a feature yet, with an explanation."""
    for name, command in COMMANDS.items():
        syntax = syntax_of(command)
        if name not in FIRST_RELEASE.split() and name not in FEATURES:
            yield name, f"a command: {syntax.summary[0].lower()}{syntax.summary[1:].removesuffix('.')}"
        for parameter in syntax.parameters[len(syntax.parameters) - command.added :]:
            if f"{name}.{parameter.field}" not in FEATURES:
                yield f"{name}.{parameter.field}", f"an argument: {parameter.text()}"


def add_features(source: str, features: dict[str, str]) -> str:
    """Return features.py with new entries at the end."""
    return source.removesuffix("}\n") + "".join(f'    "{name}": "{VERSION}",\n' for name in features) + "}\n"


def add_command_rows(page: str) -> str:
    """Return docs/protocol.md with a row for each command, new ones behind the command before them."""
    before = ""
    for name, command in COMMANDS.items():
        if not re.search(rf"^\| `{name}\b", page, re.MULTILINE):
            row = f"| `{wire_usage(command)}` | {describe_result(command)} |"
            page = re.sub(
                rf"^(\| `{before}\b.*)$", lambda found, row=row: f"{found[1]}\n{row}", page, count=1, flags=re.MULTILINE
            )
        before = name
    return page


def wire_usage(command: type[Command]) -> str:
    """Return the wire's array of a command as the table shows it: `GETEX key [ttl] [at]`."""
    syntax = syntax_of(command)
    return " ".join([syntax.name, *map(wire_field, syntax.parameters)])


def wire_field(parameter: Parameter) -> str:
    """Return a field of this array."""
    forms = {Shape.MANY: f"[{parameter.kind}, ...]", Shape.PAIRS: "[[key, value], ...]"}
    form = forms.get(parameter.shape, parameter.field)
    return form if parameter.required else f"[{form}]"


def add_feature_rows(page: str, features: dict[str, str]) -> str:
    """Return docs/protocol.md with a row for each new feature at the end of their table."""
    head, title, rest = page.partition("### Wire 1, additions by release\n")
    rows = list(re.finditer(r"^\| [\d.]+ \| .*\n", rest, re.MULTILINE))
    end = rows[-1].end()
    added = "".join(f"| {VERSION} | `{name}` | {text} |\n" for name, text in features.items())
    return head + title + rest[:end] + added + rest[end:]


def add_manual_rows(page: str, features: dict[str, str]) -> str:
    """Return kvd-protocol(7) with a row for each new feature at the end of their table."""
    head, title, rest = page.partition(".Sh WIRE 1, ADDITIONS BY RELEASE\n")
    end = rest.index(".Ed\n")
    added = "".join(f"{VERSION}  {name:{NAME_COLUMNS - 1}} {text}\n" for name, text in features.items())
    return head + title + rest[:end] + added + rest[end:]


if __name__ == "__main__":
    main()
