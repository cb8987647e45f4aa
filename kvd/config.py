"""How a daemon is set up: one frozen value. Each option is written once, as a field of `Config`.

Its flag, its line in the file, its environment variable, its line in the manual and what CONFIG tells are made from
that field or tested against it. A flag goes before the environment, that before the file, that before the default.
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
RELOADED = {"reload": True}  # SIGHUP takes such an option up; the others want a restart

MISTAKES_MAX = 20


class Config(Struct, frozen=True):
    """Where the data is, where clients come in, and what a commit waits for."""

    data: Annotated[Path, Meta(description="Directory of the data; made if missing.")] = Path("/var/lib/kvd")
    listen: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="Endpoints for commands, tcp://ADDRESS:PORT or ipc://PATH; several are fine."),
    ] = (LISTEN,)
    publish: Annotated[
        tuple[str, ...], Meta(min_length=1, description="Endpoints for changes; clients take the one like their own.")
    ] = (PUBLISH,)
    group: Annotated[
        str | None, Meta(description="Group that may use ipc sockets, too; if left out, their owner alone.")
    ] = None
    fsync: Annotated[
        Fsync,
        Meta(description="When a commit is made durable: before its reply, within 100 ms, or when the system likes."),
    ] = "always"
    backups: Annotated[
        Path | None, Meta(description="Folder into which BACKUP writes; if left out, backups in the data directory.")
    ] = None
    key: Annotated[
        Path | None, Meta(description="Who this daemon is: its certificate with the secret key (kvd keygen).")
    ] = None
    access: Annotated[
        Path | None, Meta(description="Whom it lets in, and to what: a TOML file, read again on SIGHUP.")
    ] = None
    kept_changes: Annotated[
        int, Meta(ge=1, description="How many changes the journal keeps for watchers.", extra=RELOADED)
    ] = JOURNAL_KEPT_CHANGES
    kept_bytes: Annotated[
        int, Meta(ge=MIB, description="How many bytes of changes the journal keeps at most.", extra=RELOADED)
    ] = JOURNAL_KEPT_BYTES
    slow_us: Annotated[
        int,
        Meta(
            ge=-1, description="A command that takes so many microseconds comes into SLOWLOG; -1: none.", extra=RELOADED
        ),
    ] = SLOW_US
    slow_kept: Annotated[int, Meta(ge=1, le=SLOW_LISTED_MAX, description="How many of them are kept.")] = SLOW_KEPT
    log_level: Annotated[LogLevel, Meta(description="What is logged: this and what is worse.", extra=RELOADED)] = "info"
    log_format: Annotated[
        LogFormat,
        Meta(description="How: logfmt, json (an object a line), or auto, which is logfmt as journald likes it."),
    ] = "auto"

    def mistakes(self) -> Iterator[str]:
        """Yield a sentence for each thing that does not fit together."""
        if (self.key is None) != (self.access is None):
            yield "key and access go together: who this daemon is, and whom it lets in (kvd keygen makes keys)"
        endpoints = [*self.listen, *self.publish]
        for endpoint in sorted({each for each in endpoints if endpoints.count(each) > 1 and not each.endswith(":*")}):
            yield f"{endpoint} is named twice: each endpoint needs its own address"


class Option(NamedTuple):
    """An option as its field says. `choices` are those of a Literal; `is_many` means that it may be repeated."""

    name: str
    type: Any
    default: Any
    help: str
    reloads: bool
    choices: tuple[str, ...]
    is_many: bool

    @property
    def flag(self) -> str:
        """Return its flag."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Return its environment variable."""
        return f"KVD_{self.name.upper()}"


def _option_of(info: msgspec.structs.FieldInfo) -> Option:
    """Return the option that a field is."""
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
    """A configuration, and where each option that is not at its default comes from."""

    config: Config
    sources: dict[str, str]

    def as_map(self) -> dict[str, dict[str, Any]]:
        """Return what CONFIG tells: by option its value, its source and whether SIGHUP takes a change up."""
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
    """Return what flags, environment and file say together. Raises BadConfiguration with a line for each mistake."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    mistakes: list[str] = []
    for source, name, found in (*_in_file(file, mistakes), *_in_environment(environment)):
        values.pop(name, None)
        try:
            values[name] = convert(name, found, strict=not source.startswith("KVD_"))
            sources[name] = source
        except Unfit as error:
            mistakes.append(f"{source}: {name}: {error}")
    for name, found in flags.items():
        if found not in (None, ()):
            values[name], sources[name] = found, OPTIONS[name].flag
    for name in ("listen", "publish"):
        try:
            values[name] = tuple(map(_in_utf8, values.get(name, OPTIONS[name].default)))
        except Unfit as error:
            values.pop(name, None)
            mistakes.append(f"{sources[name]}: {name}: {error}")
    config = Config(**values)
    mistakes += config.mistakes()
    if mistakes:
        raise BadConfiguration("\n".join(sorted(mistakes, key=_line_first)[:MISTAKES_MAX]))
    return Settings(config, sources)


def _in_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    """Yield source, option and value; several endpoints are separated by blanks."""
    for name, option in OPTIONS.items():
        found = environment.get(option.variable)
        if found:
            yield option.variable, name, found.split() if option.is_many else found


def _in_file(path: Path | None, mistakes: list[str]) -> list[tuple[str, str, Any]]:
    """Return source (path and line), option and value for each option in a file; what is wrong goes to `mistakes`."""
    if path is None:
        return []
    try:
        text = path.read_text(encoding="utf-8")
        read = tomllib.loads(text)
    except OSError as error:
        mistakes.append(f"cannot read {path}: {error.strerror}")
    except UnicodeDecodeError:
        mistakes.append(f"{path} is no UTF-8")
    except tomllib.TOMLDecodeError as error:
        what = str(error).partition(" (at")[0].replace("Invalid value", "invalid value; text stands in quotes")
        mistakes.append(f"{path}:{_line_of_error(str(error), text)}: {what}")
    else:
        lines = text.splitlines()
        mistakes += [f"{path}:{_line_of(name, lines)}: {unknown(name)}" for name in read if name not in OPTIONS]
        return [(f"{path}:{_line_of(name, lines)}", name, found) for name, found in read.items() if name in OPTIONS]
    return []


def _line_of_error(message: str, text: str) -> int:
    """Return the line that a message of tomllib names; the last one if it says that the document ended."""
    found = re.search(r"at line (\d+)", message)
    return int(found[1]) if found else max(1, len(text.splitlines()))


def _line_of(name: str, lines: list[str]) -> int:
    """Return the line in which an option stands, or the head of a table. tomllib tells no places."""
    start = re.compile(rf"""\s*\[*\s*["']?{re.escape(name)}["']?\s*[=.\]]""")
    return next((number for number, line in enumerate(lines, 1) if start.match(line)), 1)


def _line_first(mistake: str) -> tuple[bool, int]:
    """Return by what mistakes are sorted: those of the file in the order of its lines, then the others."""
    found = re.match(r"\S+:(\d+): ", mistake)
    return found is None, int(found[1]) if found else 0


def unknown(name: str) -> str:
    """Return what to say of an option that there is not."""
    close = get_close_matches(name.replace("-", "_").lower(), OPTIONS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(OPTIONS)}"
    return f"{name}: unknown option; {hint}"


class Unfit(ValueError):
    """A value that an option cannot have; the message says what it has to be."""


def convert(name: str, found: Any, *, strict: bool) -> Any:
    """Return a value as its field's type; raises Unfit. A value that is not strict is text, of whatever it means."""
    if Path in (OPTIONS[name].type, *get_args(OPTIONS[name].type)):
        return _path_of(found)
    try:
        value = msgspec.convert(found, FIELDS[name].type, strict=strict)
    except msgspec.ValidationError:
        raise Unfit(_misfit(found if strict else _number_or_text(found), OPTIONS[name])) from None
    if value == "":
        raise Unfit("it is empty")
    return value


def _path_of(found: Any) -> Path:
    """Return a path for a text; raises Unfit."""
    if isinstance(found, str) and found:
        return Path(found)
    raise Unfit("it has to be a path in quotes")


def _in_utf8(endpoint: str) -> str:
    """Return an endpoint as libzmq takes it, whatever the encoding of the locale; raises Unfit."""
    try:
        return os.fsencode(endpoint).decode("utf-8")
    except UnicodeDecodeError:
        raise Unfit(f"{_printable(endpoint)} is not UTF-8, which an endpoint has to be") from None


def _printable(path: str | Path) -> str:
    r"""Return a path as text: bytes that are no UTF-8 as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _number_or_text(found: Any) -> Any:
    """Return the number that a text of the environment is, or the text."""
    return int(found) if isinstance(found, str) and re.fullmatch(r"-?[0-9]{1,30}", found) else found


WANTED: dict[type, str] = {str: "text in quotes", int: "a whole number", list: f'a list, as ["{LISTEN}"]'}
GOT: dict[type, str] = {**WANTED, bool: "true or false", dict: "a table", list: "a list"}


def _misfit(found: Any, option: Option) -> str:
    """Return what a value has to be, which msgspec has refused."""
    if option.choices:
        return f"it has to be one of {', '.join(option.choices)}"
    fault = first_fault(found, type_of(FIELDS[option.name].type))
    assert isinstance(fault, Fault)  # no option is a struct
    place = "".join(f" {int(step) + 1} of the list" for step in fault.path)
    wanted = f"{f'item{place}' if place else 'it'} has to be {WANTED[fault.expected]}"
    if fault.problem is Problem.TYPE:
        return f"{wanted}, not {GOT.get(fault.got, fault.got.__name__)}"
    length = " of length" if fault.expected is list else ""
    return f"{wanted}{length} {'>=' if fault.problem is Problem.MIN else '<='} {fault.bound}"


def plain(value: Any) -> Any:
    """Return a value as TOML and MessagePack have it."""
    return msgspec.to_builtins(value, enc_hook=_printable)


def as_toml(value: Any) -> str:
    """Return a value as TOML writes it. JSON's strings and lists of them are TOML's as well."""
    return msgspec.json.encode(plain(value)).decode()


def to_toml(found: Settings) -> Iterator[str]:
    """Yield the lines of a file that sets all this, each with where it comes from."""
    for name in OPTIONS:
        value, source = getattr(found.config, name), found.sources.get(name, "default")
        yield f"# {name} is left out" if value is None else f"{name} = {as_toml(value)}  # {source}"


def template() -> Iterator[str]:
    """Yield the lines of conf/kvd.toml: every option at its default, as a comment."""
    yield "# kvd.toml: how kvd is set up; see kvd.toml(5). Each option stands here as a comment, at its default."
    yield "# `kvd serve --check-config --config FILE` tells what is wrong, --print-config what counts in the end."
    yield "# After a change: systemctl reload kvd; the options that want a restart say so in the log."
    for name, option in OPTIONS.items():
        value = "..." if option.default is None else option.default
        yield ""
        yield f"# {option.help}{' Taken up on reload.' if option.reloads else ''}"
        if option.choices:
            yield f"# One of {', '.join(option.choices)}."
        yield f"# {name} = {as_toml(value)}"
