"""A shell's line to its words, and a value to the text that a shell reads as that value: bash, zsh and fish.

Lines and values are bytes; a line ends at the cursor. A value that depends on running the line (the output of a
command, a variable that is not exported) is unknown, and its word is marked so.

Pure. The words of kvsh itself follow other rules: `kvsh/words.py`.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

CODE = rb"\\(?P<code>[xX][0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{1,4}|U[0-9A-Fa-f]{1,8}|[0-7]{1,3}|[A-Za-z])"
VARIABLE = rb"\$(?P<name>[A-Za-z_]\w*)|\$\{(?P<braced>[A-Za-z_]\w*)\}"
SEPARATOR = rb"(?P<blank>[ \t\n]+)|(?P<redirection>(?:[0-9]+|&)?[<>][<>&|]*)"
NAMES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
NAMED_CODES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"e": b"\33", b"f": b"\f", b"v": b"\v"}
SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")

# The pieces that may follow, by the open quote (none: bare). Each alternative is a group named after a `Reader` method.
POSIX = {
    b"": [SEPARATOR, rb"\\(?P<plain>.)", rb"(?P<open>\$?['\"])", VARIABLE, rb"(?P<text>[^\s<>\\'\"$`&]+|&)"],
    b"'": [rb"(?P<close>')", rb"(?P<text>[^']+)"],
    b'"': [rb'(?P<close>")', rb'\\(?P<plain>[$`"\\\n])', VARIABLE, rb'(?P<text>[^"\\$`]+|\\(?=.))'],
    b"$'": [rb"(?P<close>')", CODE, rb"\\(?P<plain>.)", rb"(?P<text>[^'\\]+)"],
}
FISH = {
    b"": [SEPARATOR, CODE, rb"\\(?P<plain>.)", rb"(?P<open>['\"])", VARIABLE, rb"(?P<text>[^\s<>\\'\"$(&]+|&)"],
    b"'": [rb"(?P<close>')", rb"\\(?P<plain>['\\])", rb"(?P<text>[^'\\]+|\\(?=.))"],
    b'"': [rb'(?P<close>")', rb'\\(?P<plain>[$"\\\n])', VARIABLE, rb'(?P<text>[^"\\$]+|\\(?=.))'],
}


class Typed(NamedTuple):
    """A word: its value, and the quote that is open at its end.

    It is not `is_known` if its value depends on running the line; `is_target` marks the target of a redirection.
    """

    value: bytes = b""
    quote: bytes = b""
    is_known: bool = True
    is_target: bool = False


@cache
def pattern(*alternatives: bytes) -> re.Pattern[bytes]:
    """Return the pattern of one piece. Patterns are compiled on demand, because each takes 0.4 ms."""
    return re.compile(b"|".join([*alternatives, rb"(?P<unknown>.)"]), re.DOTALL)


class Reader:
    """Reads a line as a shell does."""

    def __init__(self, pieces: Mapping[bytes, list[bytes]], environment: Mapping[bytes, bytes]) -> None:
        self.pieces = pieces
        self.environment = environment
        self.words: list[Typed] = []
        self.typed = Typed()
        self.is_begun = False

    def read(self, line: bytes) -> list[Typed]:
        """Return the words of a line; the last is the one being typed, empty if none has begun."""
        position = 0
        while position < len(line):
            piece = pattern(*self.pieces[self.typed.quote]).match(line, position)
            assert piece is not None  # the last alternative matches any byte
            assert piece.lastgroup is not None
            getattr(self, piece.lastgroup)(piece[piece.lastgroup])
            position = piece.end()
        return [*self.words, self.typed]

    def blank(self, _: bytes) -> None:
        """End a word."""
        if self.is_begun:
            self.words.append(self.typed)
            self.typed, self.is_begun = Typed(), False

    def redirection(self, _: bytes) -> None:
        """End a word; the next one is a target."""
        self.blank(b"")
        self.typed = Typed(is_target=True)

    def text(self, text: bytes) -> None:
        """Add literal text; a tilde at the beginning of a word is the home directory."""
        if not self.is_begun and (text == b"~" or text.startswith(b"~/")):
            text = self.environment.get(b"HOME", b"~") + text[1:]
        self.add(text)

    def add(self, data: bytes) -> None:
        """Add to the value."""
        self.typed = self.typed._replace(value=self.typed.value + data)
        self.is_begun = True

    def plain(self, character: bytes) -> None:
        """Add a character after a backslash; an escaped newline is dropped."""
        self.add(character.removesuffix(b"\n"))

    def code(self, code: bytes) -> None:
        r"""Add an escape such as `\n` or `\x41`."""
        if code[:1] in (b"u", b"U") and len(code) > 1:
            self.add(chr(min(int(code[1:], 16), 0x10FFFF)).encode(errors="replace"))
        elif code[:1] in (b"x", b"X") and len(code) > 1:
            self.add(bytes([int(code[1:], 16)]))
        else:
            self.add(bytes([int(code, 8) & 0xFF]) if code.isdigit() else NAMED_CODES.get(code, code))

    def name(self, name: bytes) -> None:
        """Add the value of a variable."""
        value = self.environment.get(name)
        self.add(value) if value is not None else self.unknown(name)

    braced = name

    def unknown(self, _: bytes) -> None:
        """Mark the word's value as unknown."""
        self.add(b"")
        self.typed = self.typed._replace(is_known=False)

    def open(self, quote: bytes) -> None:
        """Open a quote."""
        self.add(b"")
        self.typed = self.typed._replace(quote=b'"' if quote == b'$"' else quote)

    def close(self, _: bytes) -> None:
        """Close the quote."""
        self.typed = self.typed._replace(quote=b"")


def posix_words(line: bytes, environment: Mapping[bytes, bytes]) -> list[Typed]:
    return Reader(POSIX, environment).read(line)


def fish_words(line: bytes, environment: Mapping[bytes, bytes]) -> list[Typed]:
    return Reader(FISH, environment).read(line)


def posix_text(value: bytes, quote: bytes = b"") -> str | None:
    """Return a value as bash and zsh read it, bare or after an open quote; None if it cannot be expressed."""
    if b"\0" in value:
        return None
    characters = [_posix_character(character, quote) for character in value.decode(errors="surrogateescape")]
    if None in characters:
        return None
    text = "".join(filter(None, characters))
    return f"\\{text}" if text.startswith("=") and not quote else text  # or zsh would search for a program


def _posix_character(character: str, quote: bytes) -> str | None:
    """Return one character of `posix_text`. Each is independent, so texts share the prefix that values share."""
    if not character.isprintable():
        codes = NAMES.get(character) or "".join(
            [f"\\x{byte:02x}" for byte in character.encode(errors="surrogateescape")]
        )
        return {b"": f"$'{codes}'", b"$'": codes}.get(quote)
    if quote == b"":
        return character if SAFE.fullmatch(character) or not character.isascii() else f"\\{character}"
    if quote == b"$'":
        return f"\\{character}" if character in "\\'" else character
    if quote == b"'":
        return character if character != "'" else None
    if character == "!":
        return None  # history expansion; a backslash would stay in the value
    return f"\\{character}" if character in '"$`\\' else character


def fish_text(value: bytes) -> str | None:
    """Return a value as fish reads it bare; None for a NUL, tab or newline: fish ends a completion there."""
    if re.search(rb"[\0\t\n]", value):
        return None
    return "".join([_fish_character(character) for character in value.decode(errors="surrogateescape")])


def _fish_character(character: str) -> str:
    """Return one character of `fish_text`."""
    if not character.isprintable():
        return "".join([f"\\X{byte:02x}" for byte in character.encode(errors="surrogateescape")])
    return character if SAFE.fullmatch(character) or not character.isascii() else f"\\{character}"
