"""Writes kvd_v1.proto, the kvd.v1 of gRPC: `python -m kvd.gateways.grpc.proto`. See `make generate`.

The committed file is also the record of the numbers that were given. A number of a removed command stays reserved, and
the generator refuses to give a command another number.
"""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from kvd.commands import COMMANDS, Command, syntax_of
from kvd.gateways.grpc.schema import NESTED, Field, fields_of, nested_commands, request_of, rpc_of

UNITS = ("milliseconds", "unix-ms", "revision")
FILE = files("kvd.gateways.grpc").joinpath("kvd_v1.proto")
_NESTED = re.compile(r"^    \w+Request (\w+) = (\d+);$", re.MULTILINE)
_RESERVED = re.compile(r"^  reserved ([\d, ]+);$", re.MULTILINE)

HEAD = """\
// The commands of kvd, and its changes. Printed by `python -m kvd.gateways.grpc.proto` from the command classes.
//
// An error is a gRPC status and a message. The trailing metadata add `kvd-code` (CONFLICT, ...), `kvd-outcome`
// (not executed, failed, or unknown: it may have taken effect), `kvd-details` (a JSON object).
// A required field that is missing is INVALID_ARGUMENT: no field has a default that could lose data.
syntax = "proto3";
package kvd.v1;
"""

REST = """\
message Pair {
  optional bytes key = 1;  // required
  optional bytes value = 2;  // required
}

// The key must be at this revision (0: it must not exist).
message Condition {
  optional bytes key = 1;  // required
  optional uint64 revision = 2;  // required
}

// The result, and the store's revision that it reflects (for a write: its own).
message Reply {
  uint64 revision = 1;
  Value result = 2;
}

message Value {
  oneof kind {
    Nil nil = 1;
    bool bool = 2;
    sint64 integer = 3;
    double number = 4;
    bytes bytes = 5;
    string text = 6;
    List list = 7;
    Map map = 8;
  }
}

enum Nil {
  NIL = 0;
}

message List {
  repeated Value items = 1;
}

// The entries keep the daemon's order.
message Map {
  repeated MapEntry entries = 1;
}

message MapEntry {
  string key = 1;
  Value value = 2;
}

// Selects the changes of keys that begin with one of the prefixes (none: all keys).
message WatchRequest {
  repeated bytes prefixes = 1;
  // The last revision seen: changes after it are sent. If missing, changes from now on.
  optional uint64 since = 2;
  // The history of `since`, from the initial metadata (`kvd-history`). Empty: any.
  string history = 3;
}

message Change {
  enum Kind {
    UNKNOWN = 0;
    SET = 1;
    CLEAR = 2;
    EXPIRED = 3;
    // A heartbeat after 15 s without a change: `revision` is where to resume.
    STILL = 4;
  }
  Kind kind = 1;
  uint64 revision = 2;
  bytes key = 3;
  // The value, for SET.
  optional bytes value = 4;
  // The previous revision of the key (0: it did not exist).
  uint64 previous = 5;
  // When the key expires, in Unix milliseconds; missing: never.
  optional uint64 expires = 6;
  // When the change was made, in Unix milliseconds.
  uint64 time = 7;
}
"""

WATCH = """\
  // Streams changes, complete and in order, also across restarts of the daemon, until the call is cancelled.
  //
  // The initial metadata arrive once the watch is active. They contain `kvd-history` and `kvd-revision`: changes after
  // that revision are sent. To resume after a call has ended, pass the last revision seen and that history.
  // OUT_OF_RANGE: changes in between are no longer stored. FAILED_PRECONDITION: the daemon has another history.
  rpc Watch(WatchRequest) returns (stream Change);
"""


def make_proto(earlier: str) -> str:
    """Return the whole file; `earlier` is its present text. Raises LookupError for a number that changed."""
    return "\n".join([HEAD, _service(), *map(_message_of, COMMANDS.values()), nested_message(earlier), REST])


def _service() -> str:
    rpcs = [
        f"{_comment(command)}  rpc {rpc_of(command)}({request_of(command)}) returns (Reply);\n"
        for command in COMMANDS.values()
    ]
    return "service Kvd {\n" + "\n".join([*rpcs, WATCH]) + "}\n"


def _comment(command: type[Command]) -> str:
    """Return the help of a command as the comment of its rpc."""
    lines = [*syntax_of(command).help.splitlines(), "", f"In the shell: {syntax_of(command).usage()}"]
    return "".join(f"  // {line}".rstrip() + "\n" for line in lines)


def _message_of(command: type[Command]) -> str:
    kinds = [parameter.kind for parameter in syntax_of(command).parameters]
    lines = [f"  {_line_of(field, kind)}\n" for field, kind in zip(fields_of(command), kinds, strict=True)]
    return (
        f"message {request_of(command)} {{\n{''.join(lines)}}}\n" if lines else f"message {request_of(command)} {{}}\n"
    )


def _line_of(field: Field, kind: str) -> str:
    """Return a field's line, with its unit and whether it is needed. Messages always have presence."""
    label = "repeated " if field.is_repeated else "" if field.kind == NESTED else "optional "
    remarks = [kind] if kind in UNITS else []
    remarks += ["required"] if field.is_required and not field.is_repeated else []
    remark = f"  // {', '.join(remarks)}" if remarks else ""
    return f"{label}{field.kind} {field.name} = {field.number};{remark}"


def nested_message(earlier: str) -> str:
    """Return the message of a command inside another one."""
    return "// A command inside of TRANSACTION or ONCE.\nmessage Command {\n" + "".join(_message_lines(earlier)) + "}\n"


def _message_lines(earlier: str) -> Iterator[str]:
    """Yield the lines of that message; the numbers of removed commands stay reserved."""
    numbers = {command.command_name().lower(): number for number, command in nested_commands()}
    given = {name: int(number) for name, number in _NESTED.findall(earlier)}
    removed = {int(number) for line in _RESERVED.findall(earlier) for number in line.split(", ")}
    removed |= {number for name, number in given.items() if name not in numbers}
    _check_record(numbers, given, removed)
    if removed:
        yield f"  reserved {', '.join(map(str, sorted(removed)))};\n"
    yield "  oneof command {\n"
    for number, command in nested_commands():
        yield f"    {request_of(command)} {command.command_name().lower()} = {number};\n"
    yield "  }\n"


def _check_record(numbers: dict[str, int], given: dict[str, int], removed: set[int]) -> None:
    """Raise LookupError for a number that changed, or that a removed command had."""
    for name, number in numbers.items():
        if given.get(name, number) != number:
            raise LookupError(
                f"{name.upper()} has the number {given[name]}, which clients send: it cannot become {number}"
            )
        if number in removed:
            raise LookupError(f"the number {number} of {name.upper()} was another command's: give the next one")


if __name__ == "__main__":
    Path(str(FILE)).write_text(make_proto(FILE.read_text()))
