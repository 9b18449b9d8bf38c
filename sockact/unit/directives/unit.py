"""[Unit]: what units of every type have (systemd.unit(5)). [Install] is for enabling units, which sockact does not do."""

from __future__ import annotations

from functools import partial

from sockact.net import addresses
from sockact.record import TYPE_CHECKING
from sockact.unit.diagnostics import Invalid
from sockact.unit.directives import Field, Row, Section, directive, not_applied
from sockact.unit.specifiers import split_name
from sockact.unit.values import BOOLEAN, RESET, SECONDS, TEXT, UNSIGNED, Kind, is_unit_name, words_as_choice

if TYPE_CHECKING:
    from typing import Any

    from sockact.unit.conditions import Condition
    from sockact.unit.specifiers import Context

# Other units

UNIT_TYPES = (
    *("service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"),
    "snapshot",
)


def _unit_names(text: str, context: Context) -> object:
    """Names of units. A template stands for its instance that is called as we are. As in systemd, an empty value takes back
    nothing, and of a list with a mistake in it the others stand."""
    found, wrong, at = list[str](), None, 0
    for word in text.split():
        at = text.index(word, at)
        name = context.expand(word)
        if not isinstance(name, Invalid):
            name = _instance(name, context)
        if isinstance(name, Invalid):
            wrong = name.replace(start=at, end=at + len(word))
        else:
            found.append(name)
        at += len(word)
    return wrong.replace(kept=tuple(found)) if wrong else tuple(found)


def _instance(name: str, context: Context) -> str | Invalid:
    prefix, instance, kind = split_name(name)
    if instance == "":
        name = f"{prefix}@{context.expand('%i') or context.expand('%p')}.{kind}"
    if is_unit_name(name, *UNIT_TYPES):
        return name
    return Invalid(f"not the name of a unit: '{name}'", hint="a name ends in its type, such as .service or .target")


UNIT_NAMES = Kind("unit names", "names of units of any type", _unit_names, list, appends=True)


def _units(key: str, meaning: str, *examples: str, **columns: Any) -> Any:
    return directive(key, UNIT_NAMES, meaning, (), examples=examples or ("db.service",), rejects=("db",), **columns)


# What to do in the end

_MACHINE = (
    *("reboot", "reboot-force", "reboot-immediate", "poweroff", "poweroff-force", "poweroff-immediate", "kexec", "kexec-force"),
    *("halt", "halt-force", "halt-immediate", "soft-reboot", "soft-reboot-force"),
)
ACTION = words_as_choice("none", "exit", "exit-force", refused=dict.fromkeys(_MACHINE, "sockact ends no machine"))


def _exit_status(text: str, context: Context) -> object:
    value = addresses.integer(text) if text else RESET
    if isinstance(value, int) and not 0 <= value <= 255:
        return Invalid(f"not an exit status: '{text}'", hint="write a number from 0 to 255")
    return value


EXIT_STATUS = Kind("exit status", "0 to 255; nothing for that of the service", _exit_status)


def _action(key: str, when: str) -> Any:
    meaning = f"What to do {when}: nothing, or end sockact, after stopping all units (exit) or at once (exit-force)."
    return directive(key, ACTION, meaning, "none", examples=("exit", "exit-force"), rejects=("leave", "reboot", "poweroff-force"))


def _status(key: str, action: str) -> Any:
    meaning = f"The exit status of sockact when it ends by {action}=exit; that of the service if not set."
    return directive(key, EXIT_STATUS, meaning, examples=("0", "42"), rejects=("256", "-1", "TEMPFAIL"))


# Conditions: how they are read is in unit/conditions.py, which is loaded when there is one.


def _read(prefix: str, kind: str, text: str, context: Context) -> object:
    from sockact.unit import conditions

    return conditions.read(prefix, kind, text, context)


def _read_not_applied(prefix: str, kind: str, reason: str, text: str, context: Context) -> object:
    from sockact.unit import conditions

    return conditions.read_not_applied(prefix, kind, reason, text, context)


def _texts(conditions: tuple[Condition, ...]) -> list[str]:
    return [condition.text for condition in conditions]


_CONDITION = "what is tested; ! in front is the opposite, and | in front of that makes it one of those of which one is enough"
_RELATIVE = ("etc/web.conf", "!|/etc/web.conf", "/etc/../web.conf")
_PATHS: dict[str, tuple[str, str]] = {
    "PathExists": ("something exists at the path", "/etc/web.conf"),
    "PathIsDirectory": ("a directory is at the path", "/etc/web"),
    "PathIsSymbolicLink": ("a symbolic link is at the path", "/etc/web"),
    "PathIsMountPoint": ("the path is a mount point", "/srv"),
    "PathIsReadWrite": ("something is at the path, and the file system is not read-only", "/srv"),
    "PathIsSocket": ("a socket is at the path", "/run/web.sock"),
    "DirectoryNotEmpty": ("the directory has entries, hidden ones and backups not counted", "/etc/web.d"),
    "FileNotEmpty": ("a file is at the path, and not empty", "/etc/web.conf"),
    "FileIsExecutable": ("a file is at the path, and somebody may execute it", "/usr/bin/web"),
}
_TESTED: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    **{kind: ("", holds, (example, f"|!{example}"), _RELATIVE) for kind, (holds, example) in _PATHS.items()},
    "PathExistsGlob": (
        "with *, ?, [] and {}",
        "some path is of the pattern",
        ("/etc/web.d/*.{conf,yml}",),
        ("*.conf",),
    ),
    "User": (
        "name, id, or @system for ids below 1000",
        "we run as the user",
        ("web", "!@system"),
        ("!|web",),
    ),
    "Group": ("name or id", "we run in the group", ("web", "!0"), ("!|web",)),
    "Virtualization": (
        "boolean, vm, container, private-users, or a name of systemd-detect-virt(1)",
        "the machine is virtual so",
        ("container", "!docker", "no"),
        ("!",),
    ),
    "Architecture": ("native, or a name such as x86-64 or arm64", "the kernel is for the architecture", ("x86-64",), ("!",)),
    "Firmware": (
        "uefi, device-tree, device-tree-compatible(NAME) or smbios-field(NAME = VALUE)",
        "the firmware is of the kind",
        ("uefi", "smbios-field(sys_vendor = QEMU)"),
        ("!",),
    ),
    "Host": ("host name, pattern of it, or machine id", "the host is called so", ("web*",), ("!",)),
    "KernelCommandLine": (
        "word, or the part before its =",
        "the command line of the kernel, or in a container that of process 1, has it",
        ("quiet", "root=/dev/sda1"),
        ("!",),
    ),
    "KernelModuleLoaded": ("name of a module", "the kernel has the module, loaded or built in", ("nf_tables",), ("!",)),
    "Environment": ("NAME or NAME=VALUE", "services start from an environment that has it", ("DEBUG", "STAGE=test"), ("!",)),
    "CPUFeature": ("a flag such as avx2", "the x86 processor has the feature", ("avx2",), ("!",)),
    "ControlGroupController": ("v1, v2, or names of controllers", "control groups are so", ("v2", "cpu memory"), ("!",)),
    "Security": (
        "selinux, apparmor, smack, tomoyo, ima, audit, uefi-secureboot, tpm2, cvm or measured-uki",
        "the kernel or the firmware has the technology",
        ("apparmor",),
        ("!",),
    ),
}
_VERSIONS = "patterns, or versions behind =, !=, <, <=, ==, <>, >=, >; $= and !$= for patterns"
_TESTED_STRICTLY: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "KernelVersion": (_VERSIONS, "the version of the kernel is so", (">=5.15 <7", "6.1*"), (">", '">=5')),
    "OSRelease": ("NAME, operator and value", "os-release(5) says so", ("ID=debian VERSION_ID>=12",), ("debian", "ID=")),
    "Memory": ("size, behind an operator or at least that", "there is so much memory", ("4G", "<512M"), ("much", "4k")),
    "CPUs": ("number, behind an operator or at least that", "there are so many processors", ("4", "<2"), ("many", "-1")),
    "Capability": ("name of a capability", "the capability may be had", ("CAP_NET_ADMIN",), ("NET_ADMIN", "CAP_X")),
    "ACPower": ("boolean", "the machine is on mains power", ("yes",), ("mains",)),
}
_NOT_TESTED = {
    "FirstBoot": "sockact boots nothing",
    "NeedsUpdate": "sockact updates nothing",
    "Version": "there is no systemd whose version counts",
    "Credential": "sockact was given no credentials",
    "PathIsEncrypted": "nobody looks at the devices below a file system",
    "MemoryPressure": "nobody measures pressure",
    "CPUPressure": "nobody measures pressure",
    "IOPressure": "nobody measures pressure",
}


def _conditions(prefix: str, meaning: str) -> Any:
    """The rows of conditions, which are one list: all must hold, and of those marked with | one."""
    rows = []
    for table in (_TESTED, _TESTED_STRICTLY):
        for kind, (grammar, holds, examples, rejects) in table.items():
            value = Kind("condition", _CONDITION, partial(_read, prefix, kind), _texts, True, None)
            text = meaning.format(f"{holds} ({grammar})" if grammar else holds)
            rows.append(_row(prefix + kind, value, text, (examples, rejects), table is _TESTED_STRICTLY))
    for kind, reason in _NOT_TESTED.items():
        value = Kind("refused", "not applied", partial(_read_not_applied, prefix, kind, reason), _texts, True, None)
        rows.append(_row(prefix + kind, value, f"Not applied: {reason}. It counts as true.", ((), ("x", "!x")), False))
    return Field(tuple(rows))


def _row(key: str, kind: Kind, meaning: str, vectors: tuple[tuple[str, ...], tuple[str, ...]], essential: bool) -> Row:
    """With every column given: there are seventy of these, and each start of sockact makes them."""
    return Row(key, kind, meaning, (), *vectors, (), essential, (), None, None, "")


class UnitSection(Section, title="Unit"):
    description: str = directive(
        "Description", TEXT, "What the unit is, for people; shown by sockact show.", "", examples=("A web server",)
    )
    start_limit_interval: float = directive(
        "StartLimitIntervalSec",
        SECONDS,
        "The window in which StartLimitBurst= starts are allowed; 0 switches the limit off.",
        10.0,
        examples=("30s", "0"),
        rejects=("soon",),
        aliases=("StartLimitInterval",),
    )
    start_limit_burst: int = directive(
        "StartLimitBurst",
        UNSIGNED,
        "Starts allowed in the window; one more fails the unit and its sockets. 0 switches the limit off.",
        5,
        examples=("3", "0"),
        rejects=("-1", "few"),
    )
    start_limit_action: str = _action("StartLimitAction", "when the start limit is hit")
    failure_action: str = _action("FailureAction", "when the unit has failed, and is not started again by itself")
    failure_action_status: int | None = _status("FailureActionExitStatus", "FailureAction")
    success_action: str = _action("SuccessAction", "when the unit has ended without a failure")
    success_action_status: int | None = _status("SuccessActionExitStatus", "SuccessAction")

    debug_invocation: bool = directive(
        "DebugInvocation",
        BOOLEAN,
        "Whether the processes of a service have DEBUG_INVOCATION=1, by which programs log more.",
        False,
        examples=("yes",),
        rejects=("x",),
    )

    after: tuple[str, ...] = _units(
        "After", "Units that are started before this one, and stopped after it.", "network.target db.service"
    )
    before: tuple[str, ...] = _units("Before", "Units that are started after this one, and stopped before it.")
    requires: tuple[str, ...] = _units(
        "Requires",
        "Units that are started with this one; it does not start without them, and stops when they are stopped.",
        aliases=("RequiresOverridable",),
    )
    requisite: tuple[str, ...] = _units(
        "Requisite", "Units that must run already when this one starts.", aliases=("RequisiteOverridable",)
    )
    wants: tuple[str, ...] = _units("Wants", "Units that are started with this one, whatever becomes of them.")
    binds_to: tuple[str, ...] = _units(
        "BindsTo", "As Requires=; the unit also stops when they end by themselves.", aliases=("BindTo",)
    )
    part_of: tuple[str, ...] = _units("PartOf", "Units with which this one is stopped.")
    propagates_stop_to: tuple[str, ...] = _units("PropagatesStopTo", "Units that are stopped when this one is stopped.")
    stop_propagated_from: tuple[str, ...] = _units("StopPropagatedFrom", "Units that take this one along when they are stopped.")
    upholds: tuple[str, ...] = _units("Upholds", "Units that are started with this one, and again whenever they have ended.")
    conflicts: tuple[str, ...] = _units("Conflicts", "Units that do not run together with this one: who starts stops the other.")
    on_failure: tuple[str, ...] = _units(
        "OnFailure", "Units that are started when this one has failed, and not before, even if they are named with it."
    )
    on_success: tuple[str, ...] = _units(
        "OnSuccess", "Units that are started when this one has ended without a failure, and not before, as with OnFailure=."
    )

    conditions: tuple[Condition, ...] = _conditions("Condition", "Start only if {}; else the unit is skipped.")
    asserts: tuple[Condition, ...] = _conditions("Assert", "Fail unless {}.")

    silent = frozenset({"Documentation"})
    known = not_applied(
        {
            "reloading one unit reloads no other; SIGHUP reloads all": """
PropagatesReloadTo ReloadPropagatedFrom PropagateReloadTo PropagateReloadFrom""",
            "each service has the namespaces it asks for, and shares them with none": "JoinsNamespaceOf",
            "sockact mounts nothing, and waits for no mount": "RequiresMountsFor WantsMountsFor",
            "there are no jobs that could be queued, merged or wait": """
OnFailureJobMode OnSuccessJobMode OnFailureIsolate JobTimeoutSec JobRunningTimeoutSec JobTimeoutAction
JobTimeoutRebootArgument IgnoreOnIsolate IgnoreOnSnapshot AllowIsolate""",
            "nobody starts or stops single units by hand": "RefuseManualStart RefuseManualStop",
            "a unit that runs stays, whether another needs it or not": "StopWhenUnneeded",
            "sockact adds no dependencies by itself": "DefaultDependencies",
            "sockact ends with its units, and kills nothing in the end but their processes": "SurviveFinalKillSignal",
            "units that have ended stay known": "CollectMode",
            "sockact ends no machine": "RebootArgument",
            "no unit file is generated": "SourcePath",
        }
    )


class InstallSection(Section, title="Install"):
    """Read by `systemctl enable` alone; every key of it is silently in order."""

    silent = frozenset(["Alias", "WantedBy", "RequiredBy", "UpheldBy", "Also", "DefaultInstance"])
