"""[Service]: what to run, as whom, and what to do when it ends (systemd.service(5), systemd.exec(5), systemd.kill(5))."""

from __future__ import annotations

from math import inf

from sockact.lifecycle.limits import RESTARTS
from sockact.record import TYPE_CHECKING
from sockact.unit.commands import COMMANDS
from sockact.unit.directives import directive, known, not_applied, ordered
from sockact.unit.directives.execution import ExecutionSection
from sockact.unit.places import OPEN_FILE
from sockact.unit.statuses import STATUSES
from sockact.unit.values import (
    BOOLEAN,
    FINITE,
    RUN_PATH,
    SECONDS,
    SIGNAL,
    SOCKET_UNITS,
    TIMEOUT,
    TRUTH,
    UNSIGNED,
    choice,
    words_as_choice,
)

if TYPE_CHECKING:
    from typing import Any

    from sockact.unit.commands import Command
    from sockact.unit.places import OpenFile
    from sockact.unit.statuses import ExitStatus

TYPES = ("simple", "exec", "forking", "oneshot", "notify", "notify-reload", "idle")
"""idle is simple: there are no other jobs to wait for."""


def _type(section: ServiceSection) -> str:
    """What systemd takes a service for that does not say: one with credentials has not started before it has them."""
    has_credentials = section.load_credential or section.import_credential or section.set_credential
    return "exec" if has_credentials else "simple" if section.exec_start else "oneshot"


def _main_too(section: ServiceSection) -> str:
    return "main" if section.type in ("notify", "notify-reload") or section.watchdog or section.fd_store_most else "none"


def _commands(key: str, meaning: str, *examples: str) -> Any:
    return directive(key, COMMANDS, meaning, (), examples=examples or ("/bin/true",), rejects=("'x", "bin/x"))


def _timeout(key: str, meaning: str, default: object) -> Any:
    return directive(key, TIMEOUT, meaning, default, examples=("5", "infinity" if default != inf else "1min"), rejects=("x",))


def _timeout_mode(key: str, what: str) -> Any:
    meaning = (
        f"What is done when {what} takes too long: KillSignal= is sent, and what follows it (terminate), WatchdogSignal= "
        "with TimeoutAbortSec= to die of it (abort), or FinalKillSignal= at once (kill)."
    )
    values = words_as_choice("terminate", "abort", "kill")
    return directive(key, values, meaning, "terminate", examples=("abort", "kill"), rejects=("stop",))


_BOTH = "TimeoutStartSec= and TimeoutStopSec= at once."


class ServiceSection(ExecutionSection, title="Service"):
    type: str = directive(
        "Type",
        words_as_choice(*TYPES, refused={"dbus": "sockact does not watch a message bus"}),
        "When the service counts as started: at once (simple, idle), when its program runs (exec), when it says READY=1 "
        "(notify, notify-reload), when its first process has ended and left another one behind (forking), or when it has "
        "ended (oneshot). If not set: exec with credentials, oneshot without ExecStart=, else simple.",
        _type,
        examples=("exec", "notify", "oneshot", "forking", "notify-reload"),
        rejects=("fork", "dbus"),
        essential=True,
    )
    exec_condition: tuple[Command, ...] = _commands(
        "ExecCondition", "Commands that tell whether to start: a status from 1 to 254 means no, without a failure."
    )
    exec_start_pre: tuple[Command, ...] = _commands("ExecStartPre", "Commands to run before ExecStart=.", "-/bin/false")
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
    exec_start_post: tuple[Command, ...] = _commands("ExecStartPost", "Commands to run when the service has started.")
    exec_reload: tuple[Command, ...] = _commands(
        "ExecReload", "Commands to run at SIGHUP, to have the service read its configuration anew.", "/bin/kill -HUP $MAINPID"
    )
    exec_reload_post: tuple[Command, ...] = _commands("ExecReloadPost", "Commands to run when the service has reloaded.")
    exec_stop: tuple[Command, ...] = _commands(
        "ExecStop",
        "Commands to run before signals are sent to a service that has started; also when it ended by itself without a failure.",
    )
    exec_stop_post: tuple[Command, ...] = _commands(
        "ExecStopPost", "Commands to run when the service has ended, however it has; they get SERVICE_RESULT and EXIT_CODE."
    )
    restart: str = directive(
        "Restart",
        words_as_choice(*RESTARTS),
        "After which ends the service is started again by itself.",
        "no",
        examples=("on-failure", "on-watchdog"),
        rejects=("never",),
    )
    restart_mode: str = directive(
        "RestartMode",
        words_as_choice("normal", "direct", "debug"),
        "Whether a service that is started again by itself has ended for others: OnFailure=, OnSuccess=, FailureAction= and "
        "SuccessAction= apply, units with BindsTo= stop, and who waits for its start waits no longer (normal); nobody is told "
        "of it (direct); as normal, and its processes have DEBUG_INVOCATION=1 from then on (debug).",
        "normal",
        examples=("direct", "debug"),
        rejects=("indirect",),
    )
    restart_delay: float = directive(
        "RestartSec", SECONDS, "Time between the end and the restart.", 0.1, examples=("1s",), rejects=("x",)
    )
    restart_steps: int = directive(
        "RestartSteps",
        UNSIGNED,
        "In how many restarts the time grows from RestartSec= to RestartMaxDelaySec=; 0 leaves it as it is.",
        0,
        examples=("5",),
        rejects=("x",),
    )
    restart_delay_most: float = directive(
        "RestartMaxDelaySec", SECONDS, "The longest time between end and restart.", inf, examples=("1min",), rejects=("x",)
    )
    restart_spread: float = directive(
        "RestartRandomizedDelaySec",
        FINITE,
        "A random time of at most so much is added to the time before a restart.",
        0.0,
        examples=("5s",),
        rejects=("x", "infinity"),
    )
    success_statuses: tuple[ExitStatus, ...] = directive(
        "SuccessExitStatus",
        STATUSES,
        "More ends that are no failure, besides 0, SIGHUP, SIGINT, SIGTERM and SIGPIPE.",
        (),
        examples=("3 TEMPFAIL SIGKILL",),
        rejects=("256", "SIGNO"),
    )
    restart_prevent: tuple[ExitStatus, ...] = directive(
        "RestartPreventExitStatus", STATUSES, "Ends after which Restart= does nothing.", (), examples=("1 6",), rejects=("x",)
    )
    restart_force: tuple[ExitStatus, ...] = directive(
        "RestartForceExitStatus",
        STATUSES,
        "Ends after which the service is started again whatever Restart= says.",
        (),
        examples=("133",),
        rejects=("x",),
    )
    timeout_start: float = ordered(
        _timeout(
            "TimeoutStartSec",
            "How long starting may take, each command anew; 90 s, for Type=oneshot no limit.",
            lambda section: inf if section.type == "oneshot" else 90.0,
        ),
        directive("TimeoutSec", TIMEOUT, _BOTH, examples=("5",), rejects=("x",)),
    )
    timeout_stop: float = ordered(
        _timeout("TimeoutStopSec", "How long each step of stopping may take before the next one.", 90.0),
        directive("TimeoutSec", TIMEOUT, _BOTH, examples=("5",), rejects=("x",)),
    )
    timeout_start_mode: str = _timeout_mode("TimeoutStartFailureMode", "starting")
    timeout_stop_mode: str = _timeout_mode("TimeoutStopFailureMode", "a step of stopping")
    timeout_abort: float = _timeout(
        "TimeoutAbortSec",
        "How long a service may take to end after WatchdogSignal=; TimeoutStopSec= if not set.",
        lambda section: section.timeout_stop,
    )
    runtime_most: float = _timeout("RuntimeMaxSec", "How long the service may run before it is stopped as a failure.", inf)
    runtime_spread: float = directive(
        "RuntimeRandomizedExtraSec",
        FINITE,
        "A random time of at most so much is added to RuntimeMaxSec=.",
        0.0,
        examples=("1min",),
        rejects=("x", "infinity"),
    )
    watchdog: float = directive(
        "WatchdogSec",
        SECONDS,
        "How often the service says WATCHDOG=1, or is ended as a failure; 0 switches it off.",
        0.0,
        examples=("30s",),
        rejects=("x",),
    )
    exit_type: str = directive(
        "ExitType",
        words_as_choice("main", "cgroup"),
        "When the service has ended: with its main process (main), or with the last of its processes (cgroup).",
        "main",
        examples=("cgroup",),
        rejects=("control-group",),
    )
    remains: bool = directive(
        "RemainAfterExit",
        BOOLEAN,
        "Whether the service counts as running when all its processes have ended without a failure.",
        False,
        examples=("yes",),
        rejects=("x",),
    )
    pid_file: str | None = directive(
        "PIDFile",
        RUN_PATH,
        "The file into which a Type=forking service writes the pid of its main process; below /run if it is no absolute path.",
        examples=("/run/web.pid", "web.pid"),
        rejects=("../web.pid",),
    )
    guess_main_pid: bool = directive(
        "GuessMainPID",
        BOOLEAN,
        "Without PIDFile=, whether to take the one process that is left of a Type=forking service for the main one.",
        True,
        examples=("no",),
        rejects=("x",),
    )
    oom_policy: str = directive(
        "OOMPolicy",
        words_as_choice("continue", "stop", "kill"),
        "What is done when the kernel has killed a process of the service for want of memory: it is said in the log, and the "
        "service goes on (continue), it is stopped (stop), or the kernel kills all of its processes at once (kill); a service "
        "that does not go on has failed, with the result oom-kill. Nothing is known of this, and nothing is done, without "
        "MemoryMax= or another directive that takes the controller memory.",
        "stop",
        examples=("continue", "kill"),
        rejects=("terminate",),
    )
    reload_signal: int = directive(
        "ReloadSignal",
        SIGNAL,
        "The signal by which a Type=notify-reload service reloads.",
        1,
        examples=("SIGUSR1",),
        rejects=("x",),
    )
    final_kill_signal: int = directive(
        "FinalKillSignal",
        SIGNAL,
        "The signal after KillSignal= that nobody should survive.",
        9,
        examples=("SIGABRT",),
        rejects=("x",),
    )
    watchdog_signal: int = directive(
        "WatchdogSignal",
        SIGNAL,
        "The signal for a service that did not say WATCHDOG=1 in time.",
        6,
        examples=("SIGKILL",),
        rejects=("x",),
    )
    send_sigkill: bool = directive(
        "SendSIGKILL", BOOLEAN, "Whether FinalKillSignal= follows KillSignal=.", True, examples=("no",), rejects=("x",)
    )
    send_sighup: bool = directive(
        "SendSIGHUP", BOOLEAN, "Whether SIGHUP follows KillSignal= at once.", False, examples=("yes",), rejects=("x",)
    )
    notify_access: str = directive(
        "NotifyAccess",
        words_as_choice("none", "main", "exec", "all"),
        "Whose messages on NOTIFY_SOCKET are heard: of the main process, also of the control processes (exec), or of all that "
        "are known to belong to the service (all); main for Type=notify and with WatchdogSec=.",
        _main_too,
        examples=("main", "all"),
        rejects=("some",),
    )
    fd_store_most: int = directive(
        "FileDescriptorStoreMax",
        UNSIGNED,
        "How many descriptors the service may leave with us (FDSTORE=1) to get them back at its next start.",
        0,
        examples=("16",),
        rejects=("x",),
    )
    fd_store_preserve: str = directive(
        "FileDescriptorStorePreserve",
        choice({**{word: "yes" if yes else "no" for word, yes in TRUTH.items()}, "restart": "restart"}),
        "How long stored descriptors are kept: over restarts only, or also while the service is stopped.",
        "restart",
        examples=("yes",),
        rejects=("x",),
    )
    non_blocking: bool = directive(
        "NonBlocking", BOOLEAN, "Whether the sockets are handed over with O_NONBLOCK.", False, examples=("yes",), rejects=("x",)
    )
    privileged_commands: bool = directive(
        "PermissionsStartOnly",
        BOOLEAN,
        "Whether all commands but ExecStart= are run as if they were prefixed with +.",
        False,
        examples=("yes",),
        rejects=("x",),
    )
    sockets: tuple[str, ...] = directive(
        "Sockets",
        SOCKET_UNITS,
        "More socket units whose descriptors the service gets.",
        (),
        examples=("a.socket b.socket",),
        rejects=("a.service",),
    )
    open_file: tuple[OpenFile, ...] = directive(
        "OpenFile",
        OPEN_FILE,
        "Files, or UNIX sockets to connect to, that are opened with the privileges of the supervisor and handed over behind the "
        "sockets. Options: read-only, append, truncate; graceful goes on without the file.",
        (),
        examples=("/etc/hostname:name:read-only",),
        rejects=("x", "/x:n:write"),
        essential=True,
    )

    @property
    def heard(self) -> str:
        """Whose messages are heard; of a service that has to say READY=1, and could never become ready otherwise, the main
        process's at least."""
        return self.notify_access if self.notify_access != "none" else _main_too(self)

    moved = dict.fromkeys(
        ("StartLimitInterval", "StartLimitBurst", "StartLimitAction", "FailureAction", "RebootArgument"), "Unit"
    )

    known = {
        **known.EXECUTION,
        **not_applied(
            {
                "sockact does not do this": "LUOSession USBFunctionDescriptors USBFunctionStrings",
                "all commands run below RootDirectory=": "RootDirectoryStartOnly",
                "credentials are loaded when the service starts, and stay as they are until then": "RefreshOnReload",
                "it is for systemctl restart; what sockact restarts has ended before": "RestartKillSignal",
                "sockact does not watch a message bus": "BusName",
                known.OBSOLETE: "SysVStartPriority BusPolicy",
            }
        ),
    }
