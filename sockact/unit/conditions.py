"""Conditions of [Unit]: how `Condition…=` and `Assert…=` are written, and whether they hold in a `World` (systemd.unit(5),
"Conditions and Asserts"). Loaded when a unit has one.

What systemd cannot read it takes for not holding, so that the unit never starts: here it is an error when loading. What is no
path it passes over with a warning, and so do we. A word that nobody knows (of an architecture, say) is no mistake, and never
holds: there may be new ones.
"""

from __future__ import annotations

from sockact.net.addresses import absolute, integer
from sockact.record import TYPE_CHECKING, Record
from sockact.unit import words
from sockact.unit.commands import is_variable
from sockact.unit.diagnostics import Invalid
from sockact.unit.matching import Comparison, compares, is_so, matches, operator
from sockact.unit.resources import CAPABILITIES
from sockact.unit.specifiers import Context
from sockact.unit.values import RESET, SIZE, TRUTH

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any, Protocol

    class World(Protocol):
        """What a condition may ask; nothing fails, what cannot be found out is not so. Paths follow symbolic links."""

        environment: Mapping[str, str]

        def exists(self, path: str) -> bool: ...
        def is_directory(self, path: str) -> bool: ...
        def is_symbolic_link(self, path: str) -> bool: ...
        def is_mount_point(self, path: str) -> bool: ...
        def is_socket(self, path: str) -> bool: ...
        def is_executable(self, path: str) -> bool: ...

        def is_read_write(self, path: str) -> bool:
            """Whether something is there, on a file system that is not read-only."""

        def has_content(self, path: str) -> bool:
            """Whether a file has more than no bytes."""

        def has_entries(self, path: str) -> bool:
            """Whether a directory has entries that are neither hidden nor backups."""

        def any_exists(self, pattern: str) -> bool:
            """Whether something has a name of this pattern (glob(7), with braces)."""

        def read(self, path: str) -> str:
            """What a file of the kernel says."""

        def users(self) -> Collection[int]:
            """The ids we run as."""

        def groups(self) -> Collection[int]: ...
        def user_id(self, name: str) -> int | None: ...
        def group_id(self, name: str) -> int | None: ...

        def capabilities(self) -> int:
            """A bit for each capability that we and whom we start may get."""

        def virtualization(self) -> str:
            """As systemd-detect-virt(1) calls it; "none" for none."""

        def is_container(self) -> bool:
            """Whether that is a container, and not a virtual machine."""

        def has_private_users(self) -> bool: ...
        def architecture(self, native: bool) -> str:
            """Of the kernel, or of the programs that run."""

        def host_name(self) -> str: ...
        def kernel_release(self) -> str: ...

        def command_line(self) -> Collection[str]:
            """The words of the kernel's command line, in a container of that of process 1."""

        def os_release(self, name: str) -> str: ...

        def memory(self) -> int:
            """Bytes that there are."""

        def cpus(self) -> int:
            """Processors that we may run on."""

        def cpu_features(self) -> Collection[str]: ...
        def is_on_ac_power(self) -> bool: ...
        def has_security(self, technology: str) -> bool: ...

        def controllers(self) -> Collection[str]:
            """Those of the control groups, and the version of the hierarchy they are in."""


class Condition(Record):
    """One condition; the text is that of the line, with specifiers expanded."""

    kind: str
    parameter: str
    negated: bool = False
    triggering: bool = False
    text: str = ""

    def __str__(self) -> str:
        return self.text


class Question(Record):
    """A kind of condition: what its parameter stands for, and whether that is so."""

    parse: Callable[[str], Any]
    holds: Callable[[Any, World], bool]
    is_path: bool = False


# Reading


def read(prefix: str, kind: str, text: str, context: Context) -> object:
    """The value of `Condition…=` or `Assert…=`; an empty one takes back all that were before, of whatever kind."""
    if not text:
        return RESET
    question = QUESTIONS[kind]
    triggering, negated, rest = _flags(text, question.is_path)
    start = len(text) - len(rest)
    parameter = context.expand(rest)
    if isinstance(parameter, Invalid):
        return parameter.replace(start=parameter.start + start, end=None if parameter.end is None else parameter.end + start)
    parsed = _misplaced(rest) or question.parse(parameter)
    if isinstance(parsed, Invalid):
        return parsed.replace(start=start if rest else 0, end=None)
    parameter = str(parsed) if question.is_path else parameter
    line = f"{prefix}{kind}={'|' if triggering else ''}{'!' if negated else ''}{parameter}"
    return (Condition(kind, parameter, negated, triggering, line),)


def _flags(text: str, is_path: bool) -> tuple[bool, bool, str]:
    """Whether `|` and `!` stand in front, and what is behind them; systemd allows blanks between, but not before a path."""
    triggering = text.startswith("|")
    rest = text[triggering:] if is_path else text[triggering:].lstrip()
    negated = rest.startswith("!")
    return triggering, negated, rest[negated:] if is_path else rest[negated:].lstrip()


def _misplaced(rest: str) -> Invalid | None:
    if not rest:
        return Invalid("nothing to test", hint="write what is tested behind | and !")
    if rest[0] == "|":
        return Invalid("'|' behind '!'", hint="write | first, then !")
    return Invalid("a blank before the path", hint="write | and ! right in front of it") if rest[0] == " " else None


def read_not_applied(prefix: str, kind: str, reason: str, text: str, context: Context) -> object:
    """A condition that is not tested and counts as true. That shows in one that is enough by itself."""
    if not text:
        return RESET
    line = f"{prefix}{kind}={text}"
    kept = (Condition(kind, text[1:], False, True, line),) if text.startswith("|") else None
    return Invalid(f"the condition is not applied: {reason}; it counts as true", known=True, kept=kept)


# Evaluation


def unmet(conditions: tuple[Condition, ...], world: World) -> str:
    """A sentence about the first condition that does not hold, if any: all must, and of those marked with `|` one."""
    for condition in conditions:
        if not condition.triggering and not holds(condition, world):
            return f"{condition} does not hold"
    triggering = [condition for condition in conditions if condition.triggering]
    if not triggering or any(holds(condition, world) for condition in triggering):
        return ""
    lines = ", ".join(map(str, triggering))
    return f"{lines} does not hold" if len(triggering) == 1 else f"none of {lines} holds"


def holds(condition: Condition, world: World) -> bool:
    question = QUESTIONS.get(condition.kind)
    if question is None:
        return True
    return question.holds(question.parse(condition.parameter), world) is not condition.negated


# What is compared


def _as_it_is(text: str) -> str:
    return text


def _versions(text: str) -> tuple[Comparison, ...] | Invalid:
    """Expressions of versions; an operator without a value takes the next word, if it is the first one."""
    split = words.split(text)
    if isinstance(split, Invalid):
        return split
    texts = [word.text.strip() for word in split]
    if len(texts) > 1 and texts[0] and operator(texts[0]) == texts[0]:
        texts[:2] = ["".join(texts[:2])]
    found = [Comparison(operator(one) or "$=", one[len(operator(one)) :].lstrip()) for one in texts]
    if all(one.value for one in found):
        return tuple(found)
    return Invalid(f"an operator without a version: '{text}'", hint='write for example >=6.1, or ">= 6.1" with quotes')


def _releases(text: str) -> tuple[Comparison, ...] | Invalid:
    """NAME, operator and value, as in os-release(5)."""
    split = words.split(text)
    if isinstance(split, Invalid):
        return split
    found = [_named(word.text) for word in split]
    if all(is_variable(one.name) and one.operator and one.value and not one.value[0].isspace() for one in found):
        return tuple(found)
    return Invalid(f"not NAME=VALUE: '{text}'", hint="write for example ID=debian, or VERSION_ID>=12")


def _named(text: str) -> Comparison:
    """A comparison with the name in front of its operator."""
    name = text[: next((at for at, char in enumerate(text) if char in "!<=>$"), len(text))]
    found = operator(text[len(name) :])
    return Comparison(found, text[len(name) + len(found) :], name)


def _number(count: Callable[[str], int | Invalid]) -> Callable[[str], object]:
    """A number to compare with; without an operator there has to be as much."""

    def parse(text: str) -> object:
        found = operator(text)
        number = count(text[len(found) :].strip())
        if isinstance(number, Invalid):
            return number
        return (found or ">=", number) if "$" not in found else Invalid("a number is no pattern", hint="write for example >=4")

    return parse


def _bytes(text: str) -> int | Invalid:
    """A size, or several that add up, each smaller than the one before."""
    found: list[int] = []
    for word in text.removesuffix("B").split() or [text]:
        size = SIZE.read(word, Context({}))
        if isinstance(size, Invalid):
            return size
        found.append(int(size))
    return sum(found) if found == sorted(set(found), reverse=True) else Invalid(f"not a size: '{text}'")


def _count(text: str) -> int | Invalid:
    number = integer(text)
    return number if isinstance(number, Invalid) or 0 <= number < 1 << 32 else Invalid(f"not a number of processors: {text}")


def _compares_number(asked: tuple[str, int], actual: int) -> bool:
    return is_so(actual - asked[1], asked[0])


# What is one of a few


def _truth(text: str) -> bool | Invalid:
    value = TRUTH.get(text.lower())
    return Invalid(f"not a boolean: '{text}'", hint="write yes or no") if value is None else value


def _capability(text: str) -> int | Invalid:
    """The number of a capability."""
    if text.upper() in CAPABILITIES:
        return CAPABILITIES.index(text.upper())
    if text.isascii() and text.isdigit() and len(text) < 3 and int(text) < 64:
        return int(text)
    return Invalid(f"not a capability: '{text}'", hint="write for example CAP_NET_ADMIN")


def _is_virtualized(text: str, world: World) -> bool:
    if text == "private-users":
        return world.has_private_users()
    name = world.virtualization()
    if text.lower() in TRUTH:
        return TRUTH[text.lower()] is (name != "none")
    if text in ("vm", "container"):
        return name != "none" and world.is_container() is (text == "container")
    return name not in ("none", "") and text == name


HIGHEST_SYSTEM_ID = 999
NOBODY = 65534


def _is_user(text: str, world: World) -> bool:
    if text == "@system":
        return any(user <= HIGHEST_SYSTEM_ID for user in world.users())
    known = {"root": 0, "nobody": NOBODY}.get(text, _id(text))
    return (world.user_id(text) if known is None else known) in world.users()


def _is_in_group(text: str, world: World) -> bool:
    known = _id(text)
    return (world.group_id(text) if known is None else known) in world.groups()


def _id(text: str) -> int | None:
    """A number that can be that of an account."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 and str(int(text)) == text else None


CONTROLLERS = {
    *("cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids", "bpf-firewall", "bpf-devices", "bpf-foreign"),
    *("bpf-socket-bind", "bpf-restrict-network-interfaces"),
}


def _has_controllers(text: str, world: World) -> bool:
    """The version of the hierarchy, or all of the controllers; those that systemd does not know do not count."""
    asked = {text} if text in ("v1", "v2") else CONTROLLERS.intersection(text.split())
    return asked <= set(world.controllers())


_FEATURES = """
fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht pni monitor ssse3 cx16
sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand bmi1 avx2 bmi2 rdseed adx sha_ni syscall rdtscp lm lahf_lm abm
constant_tsc"""
CPU_FEATURES = {**{name: name for name in _FEATURES.split()}, "pclmul": "pclmulqdq", "fma3": "fma", "osxsave": "xsave"}
"""What systemd asks CPUID about, with the names that /proc/cpuinfo has for it."""


# What is looked up


def _is_host(text: str, world: World) -> bool:
    """The machine id, or a pattern of the name."""
    digits = text.replace("-", "").lower()
    if len(digits) == 32 and set(digits) <= set("0123456789abcdef"):
        return world.read("/etc/machine-id").strip() == digits
    return matches(text.lower(), world.host_name().lower())


def _is_architecture(text: str, world: World) -> bool:
    return world.architecture(native=False) == (world.architecture(native=True) if text == "native" else text)


def _is_given(text: str, world: World) -> bool:
    """A word of the kernel's command line, whole or up to its `=`."""
    return any(text == (word if "=" in text else word.partition("=")[0]) for word in world.command_line())


def _is_set(text: str, world: World) -> bool:
    name, equals, value = text.partition("=")
    return world.environment.get(name) == value if equals else name in world.environment


def _is_release(asked: tuple[Comparison, ...], world: World) -> bool:
    return all(compares(world.os_release(one.name), one) for one in asked)


def _is_loaded(text: str, world: World) -> bool:
    """A module that has been initialised, or is built in."""
    folder = f"/sys/module/{text.replace('-', '_')}"
    return "/" not in text and world.exists(folder) and world.read(f"{folder}/initstate").strip() in ("live", "")


# Firmware

IN_BRACKETS = ("device-tree-compatible", "smbios-field")


def _firmware(text: str) -> tuple[str, Any] | Invalid:
    name, bracket, rest = text.partition("(")
    if not bracket or name not in IN_BRACKETS:
        return text, None
    if name != "smbios-field":
        return name, rest.removesuffix(")") if rest.endswith(")") else None
    field = _named(rest.removesuffix(")"))
    value = words.split(field.value)
    file = field.name.rstrip()
    if isinstance(value, Invalid) or len(value) != 1 or not (rest.endswith(")") and file and "/" not in file and field.operator):
        return Invalid(f"not a field of SMBIOS: '{text}'", hint="write for example smbios-field(sys_vendor = QEMU)")
    return name, field.replace(name=file, value=value[0].text)


def _has_firmware(asked: tuple[str, Any], world: World) -> bool:
    match asked:
        case ("uefi", None):
            return world.exists("/sys/firmware/efi")
        case ("device-tree", None):
            return world.exists("/sys/firmware/devicetree")
        case ("device-tree-compatible", str() as name):
            return name in world.read("/proc/device-tree/compatible").split("\0")[:-1]
        case ("smbios-field", Comparison() as field):
            path = f"/sys/class/dmi/id/{field.name}"
            return world.exists(path) and compares(world.read(path).rstrip(), field)
    return False


# The table


def _path(holds: Callable[[str, World], bool]) -> Question:
    return Question(absolute, holds, is_path=True)


QUESTIONS = {
    "PathExists": _path(lambda path, world: world.exists(path)),
    "PathExistsGlob": _path(lambda pattern, world: world.any_exists(pattern)),
    "PathIsDirectory": _path(lambda path, world: world.is_directory(path)),
    "PathIsSymbolicLink": _path(lambda path, world: world.is_symbolic_link(path)),
    "PathIsMountPoint": _path(lambda path, world: world.is_mount_point(path)),
    "PathIsReadWrite": _path(lambda path, world: world.is_read_write(path)),
    "PathIsSocket": _path(lambda path, world: world.is_socket(path)),
    "DirectoryNotEmpty": _path(lambda path, world: world.has_entries(path)),
    "FileNotEmpty": _path(lambda path, world: world.has_content(path)),
    "FileIsExecutable": _path(lambda path, world: world.is_executable(path)),
    "User": Question(_as_it_is, _is_user),
    "Group": Question(_as_it_is, _is_in_group),
    "Capability": Question(_capability, lambda number, world: bool(world.capabilities() >> number & 1)),
    "Virtualization": Question(_as_it_is, _is_virtualized),
    "Architecture": Question(_as_it_is, _is_architecture),
    "Firmware": Question(_firmware, _has_firmware),
    "Host": Question(_as_it_is, _is_host),
    "KernelVersion": Question(_versions, lambda asked, world: all(compares(world.kernel_release(), one) for one in asked)),
    "KernelCommandLine": Question(_as_it_is, _is_given),
    "KernelModuleLoaded": Question(_as_it_is, _is_loaded),
    "OSRelease": Question(_releases, _is_release),
    "Environment": Question(_as_it_is, _is_set),
    "Memory": Question(_number(_bytes), lambda asked, world: _compares_number(asked, world.memory())),
    "CPUs": Question(_number(_count), lambda asked, world: _compares_number(asked, world.cpus())),
    "CPUFeature": Question(str.lower, lambda name, world: CPU_FEATURES.get(name) in world.cpu_features()),
    "ACPower": Question(_truth, lambda asked, world: world.is_on_ac_power() is asked),
    "ControlGroupController": Question(_as_it_is, _has_controllers),
    "Security": Question(_as_it_is, lambda technology, world: world.has_security(technology)),
}
"""The kinds of conditions that are tested."""
