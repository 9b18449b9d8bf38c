"""[Service]: what to run, as whom, and what to do when it ends (systemd.service(5), systemd.exec(5), systemd.kill(5))."""

from __future__ import annotations

from math import inf

from sockact.record import TYPE_CHECKING
from sockact.unit.directives import Section, directive, known, not_applied, ordered
from sockact.unit.values import (
    ACCOUNT,
    BOOLEAN,
    COMMANDS,
    DIRECTORY,
    ENVIRONMENT,
    ENVIRONMENT_FILE,
    SECONDS,
    SIGNAL,
    SOCKET_UNITS,
    TIMEOUT,
    Stream,
    choice,
    stream,
    words_as_choice,
)

if TYPE_CHECKING:
    from sockact.unit.values import Command, MaybePath

TYPES = {
    **{name: name for name in ("simple", "exec", "notify", "oneshot")},
    "idle": "simple",
    "notify-reload": "notify",
}
INPUTS = stream("input", "null", "socket", files=("file",))
OUTPUTS = stream("output", "inherit", "null", "journal", "socket", files=("file", "append", "truncate"))


def _output(section: ServiceSection) -> Stream:
    """An inetd-style service answers on the connection it reads from; what any other prints goes to the log."""
    return Stream("inherit" if section.standard_input.kind == "socket" else "journal")


def _error(section: ServiceSection) -> Stream:
    """Error messages follow standard output, but never into a connection unless that is asked for."""
    return Stream("journal" if section.standard_input.kind == "socket" else "inherit")


class ServiceSection(Section, title="Service"):
    type: str = directive(
        "Type",
        choice(
            TYPES,
            refused={
                "forking": "a service that forks itself into the background loses its supervisor; run it in the foreground",
                "dbus": "sockact does not watch a message bus",
            },
        ),
        "When the service counts as started: at once (simple, idle), when its program runs (exec), when it says READY=1 "
        "(notify), or when it ended (oneshot).",
        "simple",
        examples=("exec", "notify", "oneshot"),
        rejects=("fork", "forking", "dbus"),
        essential=True,
    )
    exec_start: tuple[Command, ...] = directive(
        "ExecStart",
        COMMANDS,
        "The command to run; several only with Type=oneshot. Prefixes: - ignores failure, @ sets argv[0], : expands no "
        "variables, + and ! keep the supervisor's user.",
        (),
        examples=("/bin/sh -c 'echo $HOME'", "-/bin/false", "@/bin/sh sh"),
        rejects=("'open", "bin/relative", "@/bin/sh"),
        essential=True,
    )
    environment: tuple[tuple[str, str], ...] = directive(
        "Environment",
        ENVIRONMENT,
        "Variables for the command; an empty value forgets those before.",
        (),
        examples=('A=1 "B=two words"',),
        rejects=("A", "1A=x", "'A=1"),
    )
    environment_file: tuple[MaybePath, ...] = directive(
        "EnvironmentFile",
        ENVIRONMENT_FILE,
        "Files of NAME=VALUE lines, read at each start; they win over Environment=.",
        (),
        examples=("-/etc/default/web",),
        rejects=("default/web",),
        essential=True,
    )
    user: str | None = directive("User", ACCOUNT, "The user to run as.", examples=("nobody",), rejects=("a b:c",), essential=True)
    group: str | None = directive(
        "Group", ACCOUNT, "The group to run as; by default the user's.", examples=("nogroup",), rejects=("a:b",), essential=True
    )
    working_directory: MaybePath | None = directive(
        "WorkingDirectory",
        DIRECTORY,
        "The directory to run in; / by default, ~ is the user's home.",
        examples=("/tmp", "~", "-/missing"),
        rejects=("tmp",),
        essential=True,
    )
    standard_input: Stream = directive(
        "StandardInput",
        INPUTS,
        "Where standard input comes from; socket hands over the connection, as inetd did.",
        Stream("null"),
        examples=("socket", "file:/etc/hostname"),
        rejects=("tty", "pipe", "file:x"),
    )
    standard_output: Stream = directive(
        "StandardOutput",
        OUTPUTS,
        "Where standard output goes. journal is the supervisor's standard error; the default is journal, "
        "or inherit after StandardInput=socket.",
        _output,
        examples=("null", "append:/tmp/log"),
        rejects=("printer",),
    )
    standard_error: Stream = directive(
        "StandardError",
        OUTPUTS,
        "Where standard error goes; the default is inherit, or journal after StandardInput=socket.",
        _error,
        examples=("null", "truncate:/tmp/log"),
        rejects=("append:log",),
    )
    restart: str = directive(
        "Restart",
        words_as_choice(
            "no",
            "always",
            "on-success",
            "on-failure",
            "on-abnormal",
            "on-abort",
            refused={"on-watchdog": "there is no watchdog"},
        ),
        "After which ends the service is started again by itself.",
        "no",
        examples=("on-failure",),
        rejects=("never",),
    )
    restart_delay: float = directive(
        "RestartSec", SECONDS, "Time between the end and the restart.", 0.1, examples=("1s",), rejects=("x",)
    )
    timeout_start: float = ordered(
        directive(
            "TimeoutStartSec",
            TIMEOUT,
            "How long starting may take; 90 s, for Type=oneshot no limit.",
            lambda section: inf if section.type == "oneshot" else 90.0,
            examples=("5", "infinity"),
            rejects=("x",),
        ),
        directive("TimeoutSec", TIMEOUT, "TimeoutStartSec= and TimeoutStopSec= at once.", examples=("5",), rejects=("x",)),
    )
    timeout_stop: float = ordered(
        directive(
            "TimeoutStopSec",
            TIMEOUT,
            "How long stopping may take before SIGKILL.",
            90.0,
            examples=("5",),
            rejects=("x",),
        ),
        directive("TimeoutSec", TIMEOUT, "TimeoutStartSec= and TimeoutStopSec= at once.", examples=("5",), rejects=("x",)),
    )
    kill_signal: int = directive(
        "KillSignal",
        SIGNAL,
        "The signal that asks the service to end.",
        15,
        examples=("SIGINT", "SIGRTMIN+3"),
        rejects=("SIGNO",),
    )
    kill_mode: str = directive(
        "KillMode",
        words_as_choice("control-group", "mixed", "process", "none"),
        "Whom to signal: all processes of the service, all but only the main one first (mixed), just the main one, or nobody. "
        "sockact's stand-in for the control group is the process group.",
        "control-group",
        examples=("mixed", "process"),
        rejects=("group",),
    )
    notify_access: str = directive(
        "NotifyAccess",
        words_as_choice("none", "main", refused={"exec": "no other commands are run", "all": "only the main process is heard"}),
        "Whose messages on NOTIFY_SOCKET are heard; main for Type=notify.",
        lambda section: "main" if section.type == "notify" else "none",
        examples=("main",),
        rejects=("some",),
    )
    non_blocking: bool = directive(
        "NonBlocking", BOOLEAN, "Whether the sockets are handed over with O_NONBLOCK.", False, examples=("yes",), rejects=("x",)
    )
    sockets: tuple[str, ...] = directive(
        "Sockets",
        SOCKET_UNITS,
        "More socket units whose descriptors the service gets.",
        (),
        examples=("a.socket b.socket",),
        rejects=("a.service",),
    )

    @property
    def is_heard(self) -> bool:
        """Whether messages of the main process are listened to; a Type=notify service could never become ready otherwise."""
        return self.type == "notify" or self.notify_access != "none"

    moved = {"StartLimitInterval": "Unit", "StartLimitBurst": "Unit"}

    known = {
        **known.EXECUTION,
        **not_applied(
            {
                "sockact runs ExecStart= only": """
ExecCondition ExecStartPre ExecStartPost ExecReload ExecReloadPost ExecStop ExecStopPost ReloadSignal RefreshOnReload
PermissionsStartOnly RootDirectoryStartOnly""",
                "sockact does not do this": """
RestartSteps RestartMaxDelaySec RestartRandomizedDelaySec TimeoutAbortSec TimeoutStartFailureMode TimeoutStopFailureMode
RuntimeMaxSec RuntimeRandomizedExtraSec WatchdogSec StartLimitAction FailureAction RebootArgument ExitType RestartMode
RemainAfterExit RestartPreventExitStatus RestartForceExitStatus SuccessExitStatus OOMPolicy FileDescriptorStoreMax
FileDescriptorStorePreserve LUOSession USBFunctionDescriptors USBFunctionStrings OpenFile""",
                "it concerns services that fork themselves into the background": "PIDFile GuessMainPID",
                "sockact does not watch a message bus": "BusName",
                known.OBSOLETE: "SysVStartPriority BusPolicy",
            }
        ),
    }
