"""What the control group of a unit is limited to, as attributes of the kernel (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

from sockact.lifecycle.child import Control
from sockact.record import TYPE_CHECKING
from sockact.unit.resources import IDLE_WEIGHT, UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sockact.unit.directives.cgroup import CgroupSection
    from sockact.unit.resources import Amount

    Get = Callable[[CgroupSection], Amount | None]

AMOUNTS: tuple[tuple[str, str, str, Get], ...] = (
    ("MemoryMin", "memory", "memory.min", lambda section: section.memory_min),
    ("MemoryLow", "memory", "memory.low", lambda section: section.memory_low),
    ("MemoryHigh", "memory", "memory.high", lambda section: section.memory_high),
    ("MemoryMax", "memory", "memory.max", lambda section: section.memory_max),
    ("MemorySwapMax", "memory", "memory.swap.max", lambda section: section.memory_swap_max),
    ("MemoryZSwapMax", "memory", "memory.zswap.max", lambda section: section.memory_zswap_max),
    ("TasksMax", "pids", "pids.max", lambda section: section.tasks_max),
)
SHORTEST, LONGEST = 1000, 1_000_000
"""Microseconds of a period, and the shortest time in it, that the kernel takes."""


def controls(section: CgroupSection) -> Iterator[Control]:
    """All of a section, in the order of the table."""
    amounts = [(control, amount) for *control, get in AMOUNTS if (amount := get(section)) is not None]
    for (key, controller, file), amount in amounts:
        text = "max" if amount.number == UNLIMITED else str(amount.number)
        yield Control(key, controller, file, text, amount.share)
    if _dies_as_a_whole(section) and any(controller == "memory" for (_, controller, _), _ in amounts):
        yield Control("OOMPolicy", "memory", "memory.oom.group", "1")
    weight = section.cpu_weight
    if weight is not None:
        file, text = ("cpu.idle", "1") if weight == IDLE_WEIGHT else ("cpu.weight", str(weight))
        yield Control("CPUWeight", "cpu", file, text)
    if section.cpu_quota is not None:
        yield Control("CPUQuota", "cpu", "cpu.max", _quota(section.cpu_quota, section.cpu_quota_period))
    if section.io_weight is not None:
        yield Control("IOWeight", "io", "io.weight", f"default {section.io_weight}")
    if section.allowed_processors:
        yield Control("AllowedCPUs", "cpuset", "cpuset.cpus", _list(section.allowed_processors))
    if section.allowed_memory_nodes:
        yield Control("AllowedMemoryNodes", "cpuset", "cpuset.mems", _list(section.allowed_memory_nodes))


def _dies_as_a_whole(section: CgroupSection) -> bool:
    """Whether the OOM killer has to take all processes; services alone can ask for that."""
    return getattr(section, "oom_policy", "") == "kill"


def _quota(share: int, seconds: float) -> str:
    """So much time in so much time, in microseconds."""
    period = round(min(max(seconds * 1e6, SHORTEST), LONGEST))
    return f"{max(share * period // 10000, SHORTEST)} {period}"


def _list(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, sorted(set(numbers))))
