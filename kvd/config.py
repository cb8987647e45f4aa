"""The daemon's configuration as one frozen value. Each option is defined once, as a field of `Config`.

Its flag, its key in the file, its environment variable, its text in the manual and its row in CONFIG are derived from
that field, or tested against it. A flag takes precedence over the environment, then the file, then the default.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta, Struct

from kvd.commands.diagnosis import Fault, Problem, first_fault
from kvd.commands.type_info import type_of
from kvd.errors import BadConfiguration
from kvd.limits import JOURNAL_KEPT_BYTES, JOURNAL_KEPT_CHANGES, MIB, SLOW_KEPT, SLOW_LISTED_MAX, SLOW_US

Fsync = Literal["always", "interval", "never"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "logfmt", "json"]

LISTEN = "tcp://127.0.0.1:7411"
PUBLISH = "tcp://127.0.0.1:7412"
RELOADED = {"reload": True}  # SIGHUP applies a change of such an option; the others need a restart

MISTAKES_MAX = 20


class Config(Struct, frozen=True):
    """The options of a daemon."""

    data: Annotated[Path, Meta(description="Data directory; created if missing.")] = Path("/var/lib/kvd")
    listen: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="Endpoints for commands, tcp://ADDRESS:PORT or ipc://PATH; may be repeated."),
    ] = (LISTEN,)
    publish: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="Endpoints for changes; a client uses the one with its own transport."),
    ] = (PUBLISH,)
    group: Annotated[str | None, Meta(description="Group that may use ipc sockets; if left out, only their owner.")] = (
        None
    )
    fsync: Annotated[
        Fsync,
        Meta(description="When a commit is fsynced: before its reply, within 100 ms, or when the OS writes it."),
    ] = "always"
    backups: Annotated[
        Path | None, Meta(description="Directory where BACKUP writes; if left out, backups in the data directory.")
    ] = None
    key: Annotated[Path | None, Meta(description="The daemon's certificate with its secret key (kvd keygen).")] = None
    access: Annotated[Path | None, Meta(description="TOML file of clients and their rights, read again on SIGHUP.")] = (
        None
    )
    kept_changes: Annotated[
        int, Meta(ge=1, description="Number of changes the journal keeps for watchers.", extra=RELOADED)
    ] = JOURNAL_KEPT_CHANGES
    kept_bytes: Annotated[
        int, Meta(ge=MIB, description="Bytes of changes the journal keeps at most.", extra=RELOADED)
    ] = JOURNAL_KEPT_BYTES
    slow_us: Annotated[
        int,
        Meta(
            ge=-1,
            description="Commands that take at least this many microseconds are in SLOWLOG; -1: none.",
            extra=RELOADED,
        ),
    ] = SLOW_US
    slow_kept: Annotated[int, Meta(ge=1, le=SLOW_LISTED_MAX, description="Number of commands SLOWLOG keeps.")] = (
        SLOW_KEPT
    )
    log_level: Annotated[LogLevel, Meta(description="Lowest level that is logged.", extra=RELOADED)] = "info"
    log_format: Annotated[
        LogFormat,
        Meta(description="Format of the log: logfmt, json (an object a line), or auto, logfmt adapted to journald."),
    ] = "auto"

    def mistakes(self) -> Iterator[str]:
        """Yield a sentence for each combination of options that is invalid."""
        if (self.key is None) != (self.access is None):
            yield "key and access go together: the daemon's keys, and the file of its clients (see kvd keygen)"
        endpoints = [*self.listen, *self.publish]
        for endpoint in sorted({each for each in endpoints if endpoints.count(each) > 1 and not each.endswith(":*")}):
            yield f"{endpoint} is listed twice: each endpoint needs its own address"


class Option(NamedTuple):
    """An option as its field defines it. `choices` are those of a Literal; `is_many` options may be repeated."""

    name: str
    type: Any
    default: Any
    help: str
    reloads: bool
    choices: tuple[str, ...]
    is_many: bool

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Return the name of its environment variable."""
        return f"KVD_{self.name.upper()}"


def _option_of(info: msgspec.structs.FieldInfo) -> Option:
    """Return the option that a field defines."""
    kind, meta = get_args(info.type)
    return Option(
        info.name,
        kind,
        info.default,
        meta.description,
        bool((meta.extra or {}).get("reload")),
        get_args(kind) if kind in (Fsync, LogLevel, LogFormat) else (),
        kind == tuple[str, ...],
    )


FIELDS = {info.name: info for info in msgspec.structs.fields(Config)}
OPTIONS = {name: _option_of(info) for name, info in FIELDS.items()}


class Settings(NamedTuple):
    """A configuration, and the source of each option that is not at its default."""

    config: Config
    sources: dict[str, str]

    def as_map(self) -> dict[str, dict[str, Any]]:
        """Return the result of CONFIG: for each option its value, its source and whether SIGHUP applies a change."""
        return {
            name: {
                "value": plain(getattr(self.config, name)),
                "source": self.sources.get(name, "default"),
                "reload": option.reloads,
            }
            for name, option in OPTIONS.items()
        }


def settings(
    flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ, file: Path | None = None
) -> Settings:
    """Return the settings from flags, environment and file. Raises BadConfiguration with one line for each mistake."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    mistakes: list[str] = []
    for source, name, raw in (*_read_file(file, mistakes), *_read_environment(environment)):
        values.pop(name, None)
        try:
            values[name] = convert(name, raw, strict=not source.startswith("KVD_"))
            sources[name] = source
        except InvalidValue as error:
            mistakes.append(f"{source}: {name}: {error}")
    for name, raw in flags.items():
        if raw not in (None, ()):
            values[name], sources[name] = raw, OPTIONS[name].flag
    for name in ("listen", "publish"):
        try:
            values[name] = tuple(map(_to_utf8, values.get(name, OPTIONS[name].default)))
        except InvalidValue as error:
            values.pop(name, None)
            mistakes.append(f"{sources[name]}: {name}: {error}")
    config = Config(**values)
    mistakes += config.mistakes()
    if mistakes:
        raise BadConfiguration("\n".join(sorted(mistakes, key=_line_order)[:MISTAKES_MAX]))
    return Settings(config, sources)


def _read_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    """Yield source, option and value; several endpoints are separated by blanks."""
    for name, option in OPTIONS.items():
        raw = environment.get(option.variable)
        if raw:
            yield option.variable, name, raw.split() if option.is_many else raw


def _read_file(path: Path | None, mistakes: list[str]) -> list[tuple[str, str, Any]]:
    """Return source (path and line), option and value for each option in a file; append errors to `mistakes`."""
    if path is None:
        return []
    try:
        text = path.read_text(encoding="utf-8")
        read = tomllib.loads(text)
    except OSError as error:
        mistakes.append(f"cannot read {path}: {error.strerror}")
    except UnicodeDecodeError:
        mistakes.append(f"{path} is not UTF-8")
    except tomllib.TOMLDecodeError as error:
        what = str(error).partition(" (at")[0].replace("Invalid value", "invalid value; text needs quotes")
        mistakes.append(f"{path}:{_line_of_error(str(error), text)}: {what}")
    else:
        lines = text.splitlines()
        mistakes += [
            f"{path}:{_line_of(name, lines)}: {describe_unknown(name)}" for name in read if name not in OPTIONS
        ]
        return [(f"{path}:{_line_of(name, lines)}", name, raw) for name, raw in read.items() if name in OPTIONS]
    return []


def _line_of_error(message: str, text: str) -> int:
    """Return the line in a message of tomllib, or the last line if the document is incomplete."""
    match = re.search(r"at line (\d+)", message)
    return int(match[1]) if match else max(1, len(text.splitlines()))


def _line_of(name: str, lines: list[str]) -> int:
    """Return the line of an option or table. tomllib does not report lines."""
    start = re.compile(rf"""\s*\[*\s*["']?{re.escape(name)}["']?\s*[=.\]]""")
    return next((number for number, line in enumerate(lines, 1) if start.match(line)), 1)


def _line_order(mistake: str) -> tuple[bool, int]:
    """Return the sort key of a mistake: those in the file by line, then the others."""
    match = re.match(r"\S+:(\d+): ", mistake)
    return match is None, int(match[1]) if match else 0


def describe_unknown(name: str) -> str:
    """Return the sentence for an unknown option."""
    close = get_close_matches(name.replace("-", "_").lower(), OPTIONS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the options are {', '.join(OPTIONS)}"
    return f"{name}: unknown option; {hint}"


class InvalidValue(ValueError):
    """A value is invalid for an option; the message says what is required."""


def convert(name: str, raw: Any, *, strict: bool) -> Any:
    """Return a value as its field's type; raises InvalidValue. With `strict` off, the value is text for any type."""
    if Path in (OPTIONS[name].type, *get_args(OPTIONS[name].type)):
        return _path_of(raw)
    try:
        value = msgspec.convert(raw, FIELDS[name].type, strict=strict)
    except msgspec.ValidationError:
        raise InvalidValue(_requirement_of(raw if strict else _number_or_text(raw), OPTIONS[name])) from None
    if value == "":
        raise InvalidValue("it is empty")
    return value


def _path_of(raw: Any) -> Path:
    """Return a path for a text; raises InvalidValue."""
    if isinstance(raw, str) and raw:
        return Path(raw)
    raise InvalidValue("it must be a path in quotes")


def _to_utf8(endpoint: str) -> str:
    """Return an endpoint as UTF-8, which libzmq requires, whatever the locale; raises InvalidValue."""
    try:
        return os.fsencode(endpoint).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidValue(f"{_printable(endpoint)} is not UTF-8, which an endpoint must be") from None


def _printable(path: str | Path) -> str:
    r"""Return a path as text, with bytes that are not UTF-8 as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _number_or_text(raw: Any) -> Any:
    """Return the number in a text from the environment, or the text."""
    return int(raw) if isinstance(raw, str) and re.fullmatch(r"-?[0-9]{1,30}", raw) else raw


EXPECTED: dict[type, str] = {str: "text in quotes", int: "a whole number", list: f'a list, as ["{LISTEN}"]'}
GOT: dict[type, str] = {**EXPECTED, bool: "true or false", dict: "a table", list: "a list"}


def _requirement_of(raw: Any, option: Option) -> str:
    """Return what is required of a value that msgspec refused."""
    if option.choices:
        return f"it must be one of {', '.join(option.choices)}"
    fault = first_fault(raw, type_of(FIELDS[option.name].type))
    assert isinstance(fault, Fault)  # an option is never a struct
    place = "".join(f" {int(step) + 1} of the list" for step in fault.path)
    requirement = f"{f'item{place}' if place else 'it'} must be {EXPECTED[fault.expected]}"
    if fault.problem is Problem.TYPE:
        return f"{requirement}, not {GOT.get(fault.got, fault.got.__name__)}"
    length = " of length" if fault.expected is list else ""
    return f"{requirement}{length} {'>=' if fault.problem is Problem.MIN else '<='} {fault.bound}"


def plain(value: Any) -> Any:
    """Return a value in types of TOML and MessagePack."""
    return msgspec.to_builtins(value, enc_hook=_printable)


def as_toml(value: Any) -> str:
    """Return a value in TOML. JSON's strings and lists of them are valid TOML."""
    return msgspec.json.encode(plain(value)).decode()


def to_toml(current: Settings) -> Iterator[str]:
    """Yield the lines of a file with these settings and their sources."""
    for name in OPTIONS:
        value, source = getattr(current.config, name), current.sources.get(name, "default")
        yield f"# {name} is left out" if value is None else f"{name} = {as_toml(value)}  # {source}"


def template() -> Iterator[str]:
    """Yield the lines of conf/kvd.toml: every option at its default, as a comment."""
    yield "# kvd.toml: the configuration of kvd; see kvd.toml(5). Each option is a comment here, at its default."
    yield "# `kvd serve --check-config --config FILE` reports mistakes, --print-config prints the effective options."
    yield "# After a change: systemctl reload kvd; the log lists changed options that need a restart."
    for name, option in OPTIONS.items():
        value = "..." if option.default is None else option.default
        yield ""
        yield f"# {option.help}{' Applied on reload.' if option.reloads else ''}"
        if option.choices:
            yield f"# One of {', '.join(option.choices)}."
        yield f"# {name} = {as_toml(value)}"
