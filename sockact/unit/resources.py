"""Value types of what a process may use: limits, priorities, processors, capabilities (systemd.exec(5), "Process Properties",
"Scheduling", "Capabilities", "Security")."""

from __future__ import annotations

from math import ceil, inf

from sockact.net import addresses
from sockact.record import TYPE_CHECKING, Record
from sockact.unit.diagnostics import Invalid
from sockact.unit.values import RESET, SIZE, Kind, choice, seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sockact.unit.specifiers import Context

UNLIMITED = (1 << 64) - 1
"""RLIM_INFINITY."""


class Limit(Record):
    """A soft and a hard limit (setrlimit(2))."""

    soft: int
    hard: int

    def __str__(self) -> str:
        soft, hard = ("infinity" if value == UNLIMITED else str(value) for value in (self.soft, self.hard))
        return soft if soft == hard else f"{soft}:{hard}"


def _limit(name: str, grammar: str, read: Callable[[str], int | Invalid]) -> Kind:
    """A limit whose values are read like that; `infinity` always means none."""

    def one(text: str) -> int | Invalid:
        return UNLIMITED if text == "infinity" else read(text)

    def both(text: str, context: Context) -> object:
        soft_text, colon, hard_text = text.partition(":")
        soft, hard = one(soft_text), one(hard_text if colon else soft_text)
        if isinstance(soft, Invalid):
            return soft
        if isinstance(hard, Invalid):
            return hard.replace(start=hard.start + len(soft_text) + 1)
        return Limit(soft, hard) if soft <= hard else Invalid("the soft limit is above the hard one")

    return Kind(name, f"{grammar}, or infinity; SOFT:HARD for both limits", both, str)


def _count(text: str) -> int | Invalid:
    value = addresses.integer(text)
    return value if isinstance(value, Invalid) or 0 <= value < UNLIMITED else Invalid(f"not a number of something: '{text}'")


def _size(text: str) -> int | Invalid:
    value: Any = SIZE.read(text, None)  # type: ignore[arg-type] # a size has no specifiers
    return value if isinstance(value, Invalid) else int(value)


def _seconds(text: str) -> int | Invalid:
    value = seconds(text)
    return value if isinstance(value, Invalid) else UNLIMITED if value == inf else ceil(value)


def _microseconds(text: str) -> int | Invalid:
    value = seconds(f"{text}us" if text.isascii() and text.isdigit() else text)
    return value if isinstance(value, Invalid) else UNLIMITED if value == inf else round(value * 1e6)


def _nice_limit(text: str) -> int | Invalid:
    """A nice value with its sign, or the kernel's number, in which 20 is nice 0 (getrlimit(2), RLIMIT_NICE)."""
    value = addresses.integer(text.removeprefix("+"))
    if isinstance(value, Invalid):
        return value
    if text[:1] in "+-":
        return 20 - value if -20 <= value <= 19 else Invalid(f"{text} is not between -20 and +19")
    return max(value, 1) if 0 <= value <= 40 else Invalid(f"{value} is not between 0 and 40", hint="a nice value needs its sign")


COUNT_LIMIT = _limit("limit", "a number", _count)
SIZE_LIMIT = _limit("size limit", "bytes, or with K, M, G, T, P, E", _size)
SECONDS_LIMIT = _limit("time limit", "seconds, or a time span such as 1min", _seconds)
MICROSECONDS_LIMIT = _limit("fine time limit", "microseconds, or a time span such as 50ms", _microseconds)
NICE_LIMIT = _limit("nice limit", "-20 to +19 with the sign, or 0 to 40", _nice_limit)


# Priorities


def within(name: str, low: int, high: int) -> Kind:
    """An integer of a range; nothing to leave things as they are."""

    def read(text: str, context: Context) -> object:
        value = addresses.integer(text.removeprefix("+")) if text else RESET
        if isinstance(value, Invalid) or value is RESET:
            return value
        assert isinstance(value, int)
        return value if low <= value <= high else Invalid(f"{value} is not between {low} and {high}")

    return Kind(name, f"{low} to {high}", read)


POLICIES = {"other": 0, "fifo": 1, "rr": 2, "batch": 3, "idle": 5}
IO_CLASSES = {"none": 0, "realtime": 1, "best-effort": 2, "idle": 3}


def named(table: dict[str, int]) -> Kind:
    """One of these words, or its number; the value is the word."""
    numbered = {str(number): word for word, number in table.items()}
    words = {word: word for word in table}
    plain = choice(words)
    return plain.replace(read=lambda text, context: numbered.get(text) or plain.read(text, context))


def _nanoseconds(text: str, context: Context) -> object:
    digits = text.rstrip("nsec ")
    if digits.isascii() and digits.isdigit() and len(digits) < 20 and text[len(digits) :].strip() in ("", "ns", "nsec"):
        value: float | Invalid = int(digits)
    else:
        span = seconds(text)
        value = span if isinstance(span, Invalid) else span * 1e9
    if isinstance(value, Invalid):
        return value if text else RESET
    return round(value) if value < 1 << 63 else Invalid(f"'{text}' is too long a time")


TIMER_SLACK = Kind("fine time", "nanoseconds, or a time span such as 50us", _nanoseconds)

MOST_PROCESSORS = 8192
"""CONFIG_NR_CPUS of the largest kernels."""


def _processors(text: str, context: Context) -> object:
    if text == "numa":
        return Invalid("'numa' is not applied: sockact sets no NUMA policy", known=True)
    found: list[int] = []
    for word in text.replace(",", " ").split():
        first, dash, last = word.partition("-")
        low, high = addresses.integer(first), addresses.integer(last if dash else first)
        if isinstance(low, Invalid) or isinstance(high, Invalid) or not 0 <= low <= high < MOST_PROCESSORS:
            start = text.index(word)
            return Invalid(f"not processors: '{word}'", start, start + len(word), "write for example 0-3,6")
        found += range(low, high + 1)
    return tuple(found) or RESET


PROCESSORS = Kind(
    "processors", "indices and ranges of them, as in 0-3,6", _processors, lambda all_: sorted(set(all_)), appends=True
)

MAPPINGS = {
    **{"private-anonymous": 1, "shared-anonymous": 2, "private-file-backed": 4, "shared-file-backed": 8, "elf-headers": 16},
    **{"private-huge": 32, "shared-huge": 64, "private-dax": 128, "shared-dax": 256, "default": 0x33, "all": 0x1FF},
}
"""core(5), "Controlling which mappings are written to the core dump"."""


def _mask(table: dict[str, int], base: int, most: int) -> Callable[[str, Context], object]:
    """Words of a table, or numbers of this base."""

    def read(text: str, context: Context) -> object:
        found: list[int] = []
        for word in text.split():
            digits = word.removeprefix("0x") if base == 16 else word
            number = table.get(word, _number(digits, base))
            if not 0 <= number <= most:
                start = text.index(word)
                return Invalid(f"not one of {', '.join(table)}: '{word}'", start, start + len(word))
            found.append(number)
        return tuple(found) or RESET

    return read


def _number(text: str, base: int) -> int:
    digits = "0123456789abcdef"[:base]
    return int(text, base) if text and len(text) < 16 and all(c in digits for c in text.lower()) else -1


def together(masks: tuple[int, ...]) -> int:
    """One mask out of several."""
    mask = 0
    for part in masks:
        mask |= part
    return mask


COREDUMP_FILTER = Kind(
    "mappings",
    f"{', '.join(MAPPINGS)}, or hexadecimal masks",
    _mask(MAPPINGS, 16, (1 << 60) - 1),
    lambda masks: f"0x{together(masks):x}",
    appends=True,
)


# Control groups


class Amount(Record):
    """So much of something, or a share of what the machine has, in ten-thousandths."""

    number: int = 0
    share: int = 0

    def __str__(self) -> str:
        if self.share:
            return percentage(self.share)
        return "infinity" if self.number == UNLIMITED else str(self.number)


def percentage(share: int) -> str:
    """Ten-thousandths as a percentage."""
    whole, part = divmod(share, 100)
    return f"{whole}.{part:02}%" if part else f"{whole}%"


def _percentage(text: str) -> int | Invalid:
    """In ten-thousandths."""
    whole, _, part = text.removesuffix("%").partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) < 8 and len(part) < 3 and (part or "0").isdigit()):
        return Invalid(f"not a percentage: '{text}'", hint="write for example 50%")
    return int(whole) * 100 + int(part.ljust(2, "0"))


def _amount(name: str, grammar: str, least: int, read: Callable[[str], int | Invalid]) -> Kind:
    def amount(text: str, context: Context) -> object:
        if text.endswith("%"):
            share = _percentage(text)
            if isinstance(share, Invalid):
                return share
            return Amount(share=share) if 0 < share <= 10000 else Invalid(f"{text} is not between 0.01% and 100%")
        number = UNLIMITED if text == "infinity" else read(text) if text else RESET
        if isinstance(number, Invalid) or number is RESET:
            return number
        assert isinstance(number, int)
        return Amount(number) if number >= least else Invalid(f"'{text}' leaves nothing")

    return Kind(name, f"{grammar}, infinity, or a percentage of what the machine has", amount, str)


MEMORY = _amount("memory", "bytes, or with K, M, G, T", 0, _size)
SOME_MEMORY = _amount("some memory", "bytes, or with K, M, G, T", 1, _size)
TASKS = _amount("tasks", "a number", 1, _count)


def _cpu_time(text: str, context: Context) -> object:
    if not text:
        return RESET
    share = _percentage(text) if text.endswith("%") else Invalid(f"not a percentage: '{text}'", hint="write for example 50%")
    return share or Invalid(f"'{text}' leaves nothing")


CPU_TIME = Kind("processor time", "a percentage, above 100% for several processors", _cpu_time, percentage)

WEIGHT = within("weight", 1, 10000)
IDLE_WEIGHT = 0


def _cpu_weight(text: str, context: Context) -> object:
    return IDLE_WEIGHT if text == "idle" else WEIGHT.read(text, context)


CPU_WEIGHT = Kind("processor weight", f"{WEIGHT.grammar}, or idle", _cpu_weight, lambda weight: weight or "idle")


# Privileges

SECURE_BITS = {
    **{"noroot": 1, "noroot-locked": 2, "no-setuid-fixup": 4, "no-setuid-fixup-locked": 8},
    **{"keep-caps": 16, "keep-caps-locked": 32},
}
"""include/uapi/linux/securebits.h."""

SECURE = Kind(
    "bits",
    ", ".join(SECURE_BITS),
    _mask(SECURE_BITS, 10, 63),
    lambda masks: [word for word, bit in SECURE_BITS.items() if together(masks) & bit],
    appends=True,
)

_NAMES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST
NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE
SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"""
CAPABILITIES = tuple(f"CAP_{name}" for name in _NAMES.split())
"""include/uapi/linux/capability.h, in the order of their numbers."""
ALL_CAPABILITIES = (1 << 64) - 1


class Capabilities(Record):
    """One assignment: the capabilities it names, and whether all but those are meant."""

    mask: int
    inverted: bool


def _capabilities(text: str, context: Context) -> object:
    inverted, mask = text.startswith("~"), 0
    for word in text.removeprefix("~").split():
        name = word.upper()
        number = CAPABILITIES.index(name) if name in CAPABILITIES else _number(word, 10)
        if not 0 <= number <= 62:
            start = text.index(word)
            return Invalid(f"not a capability: '{word}'", start, start + len(word), "write for example CAP_NET_BIND_SERVICE")
        mask |= 1 << number
    return (Capabilities(mask, inverted),)


def capabilities(given: tuple[Capabilities, ...], initial: int) -> int:
    """What several assignments come to. The first replaces what is there, as one does that names nothing; a later one adds,
    or with ~ takes away."""
    found = initial
    for one in given:
        if not one.mask or found == initial:
            found = ALL_CAPABILITIES & ~one.mask if one.inverted else one.mask
        else:
            found = found & ~one.mask if one.inverted else found | one.mask
    return found


def _capability_set(initial: int) -> Kind:
    def show(given: tuple[Capabilities, ...]) -> list[str]:
        found = capabilities(given, initial)
        return [name for number, name in enumerate(CAPABILITIES) if found >> number & 1]

    grammar = "names of capabilities(7); ~ in front means all but these, and nothing means none"
    return Kind("capabilities", grammar, _capabilities, show, appends=True)


BOUNDING = _capability_set(ALL_CAPABILITIES)
AMBIENT = _capability_set(0)
