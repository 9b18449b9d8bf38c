"""Comparing texts as systemd does: shell patterns (fnmatch(3), glob(7)), versions (the Version Format Specification of the UAPI
Group), and the operators in front of what is compared with. Loaded with the conditions of a unit."""

from __future__ import annotations

from sockact.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Single = Callable[[str], bool]
    """A test of one character."""

# Shell patterns

MAGIC = "*?[\\"
CLASSES: dict[str, Single] = {
    **{"alpha": str.isalpha, "digit": str.isdigit, "alnum": str.isalnum, "upper": str.isupper, "lower": str.islower},
    **{"space": str.isspace, "print": str.isprintable},
    **{"xdigit": lambda c: c in "0123456789abcdefABCDEF", "punct": lambda c: c.isprintable() and not (c.isalnum() or c == " ")},
    **{"blank": lambda c: c in " \t", "cntrl": lambda c: c < " " or c == "\x7f", "graph": lambda c: c.isprintable() and c != " "},
}


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text is of the pattern; all places in the pattern are followed at once, so that it takes no longer with
    many stars."""
    tokens = list(_tokens(pattern))
    places = set(_past_stars({0}, tokens))
    for char in text:
        ahead = {place if tokens[place] is None else place + 1 for place in places if _takes(tokens, place, char)}
        places = set(_past_stars(ahead, tokens))
    return len(tokens) in places


def _takes(tokens: list[Single | None], place: int, char: str) -> bool:
    if place == len(tokens):
        return False
    token = tokens[place]
    return token is None or token(char)


def _past_stars(places: Iterable[int], tokens: list[Single | None]) -> Iterator[int]:
    """The places, and those behind the stars that may stand for nothing."""
    for start in places:
        place = start
        yield place
        while place < len(tokens) and tokens[place] is None:
            place += 1
            yield place


def _tokens(pattern: str) -> Iterator[Single | None]:
    """What the pattern takes, one character after the other; None for a star."""
    at = 0
    while at < len(pattern):
        char, end = pattern[at], at + 1
        if char == "*":
            yield None
        elif char == "?":
            yield lambda _: True
        elif char == "[" and (end := _closing(pattern, at)):
            yield _set(pattern[at + 1 : end - 1])
        else:
            end = at + 2 if char == "\\" and pattern[at + 1 : at + 2] else at + 1
            yield pattern[end - 1].__eq__
        at = end


def _closing(pattern: str, start: int) -> int:
    """The end of the set that starts there; 0 when nothing closes it, and the bracket is a letter."""
    at = start + 1 + (pattern[start + 1 : start + 2] in ("!", "^"))
    first = at
    while at < len(pattern):
        if pattern[at] == "]" and at > first:
            return at + 1
        named = pattern.find(":]", at + 2) if pattern[at : at + 2] == "[:" else -1
        at = named + 2 if named > 0 else at + 1 + (pattern[at] == "\\")
    return 0


def _set(inside: str) -> Single:
    """The test of a set in brackets."""
    refuses = inside[:1] in ("!", "^")
    tests = list(_members(inside[1:] if refuses else inside))
    return lambda char: any(test(char) for test in tests) is not refuses


def _members(inside: str) -> Iterator[Single]:
    at = 0
    while at < len(inside):
        name = inside[at + 2 :].partition(":]")[0] if inside[at : at + 2] == "[:" else ""
        if name:
            yield CLASSES.get(name, lambda _: False)
            at += len(name) + 4
        else:
            low, at = _member(inside, at)
            high = low
            if inside[at : at + 1] == "-" and inside[at + 1 :]:
                high, at = _member(inside, at + 1)
            yield _between(low, high)


def _between(low: str, high: str) -> Single:
    return lambda char: low <= char <= high


def _member(inside: str, at: int) -> tuple[str, int]:
    """The character that stands there, and where the next one does."""
    at += inside[at] == "\\" and at + 1 < len(inside)
    return inside[at], at + 1


def braces(pattern: str) -> list[str]:
    """The patterns that `{a,b}` in a pattern stands for, as in a shell."""
    start, depth, commas = pattern.find("{"), 0, list[int]()
    for at in range(start, len(pattern)) if start >= 0 else ():
        depth += (pattern[at] == "{") - (pattern[at] == "}")
        if depth == 1 and pattern[at] in "{,":
            commas.append(at)
        elif depth == 0:
            cuts = zip(commas, [*commas[1:], at], strict=True)
            options = [pattern[one + 1 : other] for one, other in cuts]
            return [whole for option in options for whole in braces(pattern[:start] + option + pattern[at + 1 :])]
    return [pattern]


# Versions

DIGITS = "0123456789"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
MARKS = "~-^."


def order(one: str, other: str) -> int:
    """Whether the first version is older (-1), the same (0) or newer (1)."""
    while True:
        one, other = _at_something(one), _at_something(other)
        one, other, found = _after(one, other, "~")
        if found or not (one and other):
            return found or bool(one) - bool(other)
        for mark in MARKS[1:]:
            one, other, found = _after(one, other, mark)
            if found:
                return found
        segment = DIGITS if _leading(one, DIGITS) or _leading(other, DIGITS) else LETTERS
        left, right = _leading(one, segment), _leading(other, segment)
        if _weight(left, segment) != _weight(right, segment):
            return 1 if _weight(left, segment) > _weight(right, segment) else -1
        one, other = one[len(left) :], other[len(right) :]


def _at_something(text: str) -> str:
    """The text from the first character on that says something in a version."""
    return next((text[at:] for at, char in enumerate(text) if char in DIGITS + LETTERS + MARKS), "")


def _after(one: str, other: str, mark: str) -> tuple[str, str, int]:
    """What follows a mark; whoever has it alone is the older one."""
    has, have = one.startswith(mark), other.startswith(mark)
    return one[has:], other[have:], have - has


def _leading(text: str, allowed: str) -> str:
    return text[: len(text) - len(text.lstrip(allowed))]


def _weight(segment: str, kind: str) -> tuple[bool, int, str]:
    """By what segments compare: numbers by their value, and no number less than any; letters one by one."""
    number = segment.lstrip("0")
    return (bool(segment), len(number), number) if kind is DIGITS else (False, 0, segment)


# Comparisons

OPERATORS = ("$=", "!$=", "<>", "<=", "<", ">=", ">", "==", "=", "!=")
"""Those which begin alike with the longer one first."""


class Comparison(Record):
    """An operator and what to compare with; `name` is of what, where there is a choice."""

    operator: str
    value: str
    name: str = ""


def operator(text: str) -> str:
    """The operator that the text begins with, if it does."""
    return next((known for known in OPERATORS if text.startswith(known)), "")


def compares(actual: str, comparison: Comparison) -> bool:
    """`=` and `!=` compare texts, `$=` and `!$=` with a pattern, the others versions."""
    value = comparison.value
    match comparison.operator:
        case "$=" | "!$=":
            return matches(value, actual) is (comparison.operator == "$=")
        case "=" | "!=":
            return (actual == value) is (comparison.operator == "=")
    return is_so(order(actual, value), comparison.operator)


def is_so(difference: int, operator: str) -> bool:
    """Whether two things so different compare so."""
    if operator in ("<>", "!="):
        return difference != 0
    return (difference < 0 and "<" in operator) or (difference > 0 and ">" in operator) or (not difference and "=" in operator)
