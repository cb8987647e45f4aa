"""The hint behind the cursor: the rest of the syntax line, shorter with each word."""

from kvsh.grammar.vocabulary import Mistake, lookup, vocabulary
from kvsh.grammar.walk import Walk
from kvsh.words import Unbalanced, Word, cut


def hint(line: bytes) -> str:
    """Return the hint for a line that ends at the cursor; empty where the line is wrong or within quotes."""
    try:
        before, typed = cut(line)
        if typed.quoted and line[-1:] not in (b'"', b"'"):
            return ""
        return _hint_of(before, typed)
    except (Mistake, Unbalanced):
        return ""


def _hint_of(before: list[Word], typed: Word) -> str:
    """Return the hint. Raises Mistake where the line is wrong."""
    if not before:
        return _name_hint(typed)
    walk = Walk(lookup(before[0].value)).take_all(before[1:])
    if not typed.end > typed.start:
        return walk.parameters_left()
    rest = _keyword_rest(walk.innermost, typed)
    if rest:
        typed = typed._replace(value=typed.value + rest.encode())
    walk.take(typed)
    return f"{rest} {walk.parameters_left()}".rstrip()


def _name_hint(typed: Word) -> str:
    """Return the hint for a command's name; it completes the name if only one fits."""
    name = typed.value.upper()
    if not name:
        return ""
    names = [name] if name in vocabulary() else [key for key in vocabulary() if key.startswith(name)]
    if len(names) != 1:
        return ""
    rest = same_case(names[0][len(name) :].decode(), typed.value)
    return f"{rest} {Walk(lookup(names[0])).parameters_left()}".rstrip()


def _keyword_rest(walk: Walk, typed: Word) -> str:
    """Return the end of a half-typed option if only one fits."""
    name = typed.value.upper().decode(errors="replace")
    if typed.quoted or walk.place is not None:
        return ""
    words = [option.word for _, option in walk.options() if option.word.startswith(name)]
    return same_case(words[0][len(name) :], typed.value) if len(words) == 1 else ""


def same_case(text: str, typed: bytes) -> str:
    """Return a keyword in the case of its typed beginning."""
    return text.lower() if typed.islower() else text
