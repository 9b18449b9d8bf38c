"""What the control group of a unit is limited to (systemd.resource-control(5)), where it has one; `lifecycle.control` has the
attributes that the kernel knows these by. The rest of it, which sockact does not apply, is named in `known`."""

from __future__ import annotations

from sockact.record import TYPE_CHECKING
from sockact.unit.directives import Section, directive
from sockact.unit.resources import CPU_TIME, CPU_WEIGHT, MEMORY, PROCESSORS, SOME_MEMORY, TASKS, WEIGHT
from sockact.unit.values import SECONDS

if TYPE_CHECKING:
    from sockact.unit.resources import Amount


class CgroupSection(Section):
    """The fields that all sections with processes share."""

    memory_min: Amount | None = directive(
        "MemoryMin",
        MEMORY,
        "Memory that is not taken from it for others, whatever happens.",
        examples=("64M", "5%"),
        rejects=("x", "200%"),
        controller="memory",
    )
    memory_low: Amount | None = directive(
        "MemoryLow",
        MEMORY,
        "Memory that is not taken from it for others as long as there is some elsewhere.",
        examples=("64M",),
        rejects=("1m",),
        controller="memory",
    )
    memory_high: Amount | None = directive(
        "MemoryHigh",
        SOME_MEMORY,
        "Memory above which its processes are slowed down, and what they have is taken away.",
        examples=("1G", "12.5%"),
        rejects=("0",),
        controller="memory",
    )
    memory_max: Amount | None = directive(
        "MemoryMax",
        SOME_MEMORY,
        "Memory that it cannot go beyond: the kernel kills a process then.",
        examples=("1G", "50%", "infinity"),
        rejects=("0", "0%", "1X"),
        controller="memory",
    )
    memory_swap_max: Amount | None = directive(
        "MemorySwapMax",
        MEMORY,
        "Swap that it cannot go beyond.",
        examples=("0", "1G"),
        rejects=("x",),
        controller="memory",
    )
    memory_zswap_max: Amount | None = directive(
        "MemoryZSwapMax",
        MEMORY,
        "Compressed swap in memory that it cannot go beyond.",
        examples=("0", "1G"),
        rejects=("x",),
        controller="memory",
    )
    cpu_weight: int | None = directive(
        "CPUWeight",
        CPU_WEIGHT,
        "Its part of the processors while others want them, too; idle leaves it what nobody wants.",
        examples=("200", "idle"),
        rejects=("0", "10001"),
        controller="cpu",
    )
    cpu_quota: int | None = directive(
        "CPUQuota",
        CPU_TIME,
        "Time on processors that it cannot go beyond.",
        examples=("20%", "150%"),
        rejects=("20", "0%"),
        controller="cpu",
    )
    cpu_quota_period: float = directive(
        "CPUQuotaPeriodSec",
        SECONDS,
        "The period in which CPUQuota= is measured, within 1 ms and 1 s.",
        0.1,
        examples=("10ms",),
        rejects=("x",),
        controller="cpu",
    )
    tasks_max: Amount | None = directive(
        "TasksMax",
        TASKS,
        "Processes and threads that it cannot go beyond; no limit by default.",
        examples=("100", "10%", "infinity"),
        rejects=("0", "x"),
        controller="pids",
    )
    io_weight: int | None = directive(
        "IOWeight",
        WEIGHT,
        "Its part of input and output while others want it, too.",
        examples=("200",),
        rejects=("0",),
        controller="io",
    )
    allowed_processors: tuple[int, ...] = directive(
        "AllowedCPUs",
        PROCESSORS,
        "The processors that it may run on.",
        (),
        examples=("0-3,6",),
        rejects=("x",),
        controller="cpuset",
    )
    allowed_memory_nodes: tuple[int, ...] = directive(
        "AllowedMemoryNodes",
        PROCESSORS,
        "The NUMA nodes whose memory it may have.",
        (),
        examples=("0",),
        rejects=("x",),
        controller="cpuset",
    )
