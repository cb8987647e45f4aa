r"""Splits a line into words, and prints a value so that it pastes back as the same bytes.

The rules are redis-cli's. Blanks separate words. `"..."` knows `\n \r \t \b \a \\ \" \xHH`, and a backslash before
anything else is dropped; `'...'` knows only `\'`. A quote may open inside a word; a closing quote is followed by a
blank or the end. `""` is a value. Every other byte stands for itself. A line is a comment if its first byte that is not
blank is `#`.

Pure, and independent of the commands. Lines and values are bytes; printed forms are text.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

BARE = re.compile(rb"\S+")
# A quoted part, also for the patterns of other modules. It is possessive, so backtracking never ends it at a `\'`.
QUOTED = rb"""(?:"(?:[^"\\]++|\\.)*+"|'(?:\\'|\\|[^\\']++)*+')"""
# One word: bare characters, then an optional quoted part.
WORD = re.compile(rb"""\s*+(?P<bare>[^\s"']*+)(?P<quoted>%b)?""" % QUOTED, re.DOTALL)
ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
BARE_END = re.compile(rb"\S*\Z")
HALF_ESCAPE = re.compile(rb"(?<!\\)\\(x.?)?\Z", re.DOTALL)
ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}
# A word that needs no quotes: no blanks, no quotes, no character with a meaning of its own.
SAFE_BARE = re.compile(r"""[^\s"'#|>][^\s"']*""")
WORDS_MAX = 100_000  # a command has 10,000 keys or pairs at most
PIECE = 64 * 1024
CHARACTER_BYTES_MAX = 4
CONTINUATION, CRLF = 0x80, b"\r\n"
# Zero-width joiners: invisible, and needed between letters of Persian and Hindi and within many emoji.
JOINER = re.compile("([\u200c\u200d])")
SURROGATES = range(0xDC80, 0xDD00)


class Word(NamedTuple):
    """A word of a line: its value, whether it has quotes (then it is data), and its place (`line[start:end]`)."""

    value: bytes
    quoted: bool = False
    start: int = 0
    end: int = 0


class Unbalanced(ValueError):
    """A quote is not closed, or is closed in the middle of a word; `position` is where."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class TooManyWords(Unbalanced):
    """A line has more words than any command takes; `position` is the start of the first extra word."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the line has more than {WORDS_MAX} words, which is more than any command takes", position)


class Cut(NamedTuple):
    """A line up to the cursor: the complete words, and the word being typed (empty if there is none)."""

    before: list[Word]
    typed: Word


def is_comment(line: bytes) -> bool:
    """Return whether the line is blank or a comment."""
    stripped = line.lstrip()
    return not stripped or stripped.startswith(b"#")


def split(line: bytes) -> list[Word]:
    """Return the words of a line. Raises Unbalanced, TooManyWords."""
    if b'"' not in line and b"'" not in line:
        matches = islice(BARE.finditer(line), WORDS_MAX + 1)
        return _check_count([Word._make((match[0], False, *match.span())) for match in matches])
    words: list[Word] = []
    position, end = 0, len(line.rstrip())
    while position < end and len(words) <= WORDS_MAX:
        word = _word_at(line, position)
        words.append(word)
        position = word.end
    return _check_count(words)


def _check_count(words: list[Word]) -> list[Word]:
    """Return the words. Raises TooManyWords. To split 100 MB into 50 million words takes a minute and over 6 GB."""
    if len(words) > WORDS_MAX:
        raise TooManyWords(words[WORDS_MAX].start)
    return words


def _word_at(line: bytes, position: int) -> Word:
    """Return the word that begins at or after a position. Raises Unbalanced."""
    match = WORD.match(line, position)
    assert match  # every part may be empty
    quoted, after = match["quoted"], line[match.end() : match.end() + 1]
    if after in (b'"', b"'") and quoted is None:
        raise Unbalanced(f"this quote is not closed: {line[match.end() :][:20].decode(errors='replace')}", match.end())
    if after.strip():
        raise Unbalanced("a closing quote is followed by a blank or the end of the line", match.end())
    value = match["bare"] + _unquote(quoted) if quoted else match["bare"]
    return Word(value, quoted is not None, match.start("bare"), match.end())


def _unquote(text: bytes) -> bytes:
    """Return the value of a quoted text; the quotes are included in `text`."""
    if text.startswith(b"'"):
        return text[1:-1].replace(b"\\'", b"'")
    return ESCAPE.sub(_unescape_byte, text[1:-1])


def _unescape_byte(match: re.Match[bytes]) -> bytes:
    name = match[1]
    return bytes([int(name[1:], 16)]) if len(name) > 1 else ESCAPED.get(name, name)


def cut(line: bytes) -> Cut:
    """Return the complete words before the cursor at the end of the line, and the word being typed.

    An open quote is not an error here. Raises Unbalanced when a quote is closed in the middle of a word.
    """
    try:
        words = split(line)
    except Unbalanced as error:
        return _cut_open(line, error)
    if words and words[-1].end == len(line):
        return Cut(words[:-1], words[-1])
    return Cut(words, Word(b"", start=len(line), end=len(line)))


def _cut_open(line: bytes, error: Unbalanced) -> Cut:
    """Return the cut of a line that ends within quotes."""
    position = error.position
    quote = line[position : position + 1]
    if quote not in (b'"', b"'"):
        raise error
    start = position - len(BARE_END.findall(line[:position])[0])
    value = _unquote(quote + HALF_ESCAPE.sub(b"", line[position + 1 :]) + quote)
    return Cut(split(line[:start]), Word(line[start:position] + value, quoted=True, start=start, end=len(line)))


class Escapes(dict[int, str]):
    """A table for `str.translate`, filled on demand. A Python loop over the characters is ten times slower."""

    def __init__(self, names: dict[str, str]) -> None:
        super().__init__((ord(character), name) for character, name in names.items())

    def __missing__(self, code: int) -> str:
        self[code] = text = _visible(chr(code))
        return text


PRINTED = Escapes({"\n": r"\n", "\r": r"\r", "\t": r"\t", "\b": r"\b", "\a": r"\a", '"': r"\"", "\\": r"\\"})
SHOWN = Escapes({"\n": "\n", "\t": "\t"})


def quote(value: bytes) -> str:
    """Return a value in double quotes. Nothing in it moves a cursor; pasted back it is the same bytes."""
    return f'"{_escape(value, PRINTED)}"'


def as_word(value: bytes, reserved: frozenset[bytes] = frozenset()) -> str:
    """Return a value as it is typed: bare if that is safe, else in quotes. `reserved` words are never bare."""
    text = value.decode(errors="surrogateescape")
    if (
        SAFE_BARE.fullmatch(text)
        and "".join(split_at_joiners(text)[::2]).isprintable()
        and value.upper() not in reserved
    ):
        return text
    return quote(value)


def display_form(value: bytes) -> str:
    """Return a text for a terminal: lines stay lines, and everything else that acts on a terminal is escaped."""
    return _escape(value, SHOWN)


def quote_pieces(value: bytes) -> Iterator[str]:
    """Yield the text that `quote` returns in pieces, so the beginning of 16 MiB is available at once."""
    yield '"'
    for piece in pieces(value):
        yield _escape(piece, PRINTED)
    yield '"'


def display_pieces(value: bytes) -> Iterator[str]:
    """Yield the text that `display_form` returns in pieces."""
    for piece in pieces(value):
        yield _escape(piece, SHOWN)


def pieces(value: bytes, size: int = PIECE) -> Iterator[bytes]:
    """Yield a value in pieces. No character and no CR LF is split between two pieces."""
    start = 0
    while len(value) - start > size:
        end = start + size
        while end > start + size - CHARACTER_BYTES_MAX and (
            _is_within_character(value, end) or value[end - 1 : end + 1] == CRLF
        ):
            end -= 1
        yield value[start:end]
        start = end
    yield value[start:]


def _is_within_character(value: bytes, position: int) -> bool:
    """Return whether the byte at a position may continue a UTF-8 character."""
    return value[position] & 0xC0 == CONTINUATION


def _escape(value: bytes, escapes: Escapes) -> str:
    r"""Return bytes as text: named characters by their name, printable ones unchanged, others as `\xHH`."""
    text = value.decode(errors="surrogateescape")
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    # In pieces: a single call for 16 MiB would block all other threads for a second.
    return "".join([_escape_part(text[at : at + PIECE], escapes) for at in range(0, len(text), PIECE)])


def _escape_part(text: str, escapes: Escapes) -> str:
    """Return a text with its characters escaped, except joiners between letters."""
    parts = split_at_joiners(text)
    parts[::2] = [part.translate(escapes) for part in parts[::2]]
    return "".join(parts)


def split_at_joiners(text: str) -> list[str]:
    """Return a text split at the joiners between letters: every second part is a joiner."""
    parts = JOINER.split(text)
    if len(parts) == 1:
        return parts
    merged: list[str] = []
    run = parts[:1]
    for joiner, after in zip(parts[1::2], parts[2::2], strict=True):
        if _joins(run[-1][-1:], after[:1]):
            merged += ["".join(run), joiner]
            run = [after]
        else:
            run += [joiner, after]
    return [*merged, "".join(run)]


def _joins(before: str, after: str) -> bool:
    """Return whether a joiner has letters on both sides, one beyond ASCII; elsewhere it is hidden."""
    sides = before + after
    return len(sides) == 2 and sides.isprintable() and " " not in sides and not sides.isascii()  # noqa: PLR2004


def _visible(character: str) -> str:
    r"""Return a character if it is printable, else its bytes as `\xHH`."""
    if character.isprintable():
        return character
    if ord(character) in SURROGATES:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return "".join(f"\\x{byte:02x}" for byte in character.encode())
