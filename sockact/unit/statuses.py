"""Value type of how processes end: exit statuses by number or name, and signals (systemd.service(5), SuccessExitStatus=)."""

from __future__ import annotations

from sockact.net import addresses, linux
from sockact.record import TYPE_CHECKING, Record
from sockact.unit.diagnostics import Invalid
from sockact.unit.values import RESET, Kind

if TYPE_CHECKING:
    from sockact.unit.specifiers import Context

NAMES = {
    **{"SUCCESS": 0, "FAILURE": 1, "INVALIDARGUMENT": 2, "NOTIMPLEMENTED": 3, "NOPERMISSION": 4, "NOTINSTALLED": 5},
    **{"NOTCONFIGURED": 6, "NOTRUNNING": 7, "USAGE": 64, "DATAERR": 65, "NOINPUT": 66, "NOUSER": 67, "NOHOST": 68},
    **{"UNAVAILABLE": 69, "SOFTWARE": 70, "OSERR": 71, "OSFILE": 72, "CANTCREAT": 73, "IOERR": 74, "TEMPFAIL": 75},
    **{"PROTOCOL": 76, "NOPERM": 77, "CONFIG": 78, "CHDIR": 200, "NICE": 201, "FDS": 202, "EXEC": 203, "MEMORY": 204},
    **{"LIMITS": 205, "OOM_ADJUST": 206, "SIGNAL_MASK": 207, "STDIN": 208, "STDOUT": 209, "CHROOT": 210, "IOPRIO": 211},
    **{"TIMERSLACK": 212, "SECUREBITS": 213, "SETSCHEDULER": 214, "CPUAFFINITY": 215, "GROUP": 216, "USER": 217},
    **{"CAPABILITIES": 218, "CGROUP": 219, "SETSID": 220, "CONFIRM": 221, "STDERR": 222, "PAM": 224, "NETWORK": 225},
    **{"NAMESPACE": 226, "NO_NEW_PRIVILEGES": 227, "SECCOMP": 228, "SELINUX_CONTEXT": 229, "PERSONALITY": 230},
    **{"APPARMOR_PROFILE": 231, "ADDRESS_FAMILIES": 232, "RUNTIME_DIRECTORY": 233, "CHOWN": 235, "STATE_DIRECTORY": 238},
    **{"CACHE_DIRECTORY": 239, "LOGS_DIRECTORY": 240, "CONFIGURATION_DIRECTORY": 241, "CREDENTIALS": 243, "EXCEPTION": 255},
}
"""systemd.exec(5), "Process Exit Codes"; sysexits.h; the LSB's statuses of init scripts."""


class ExitStatus(Record):
    """One way to end: by an exit status, or by a signal."""

    code: int = 0
    signal: int = 0

    def __str__(self) -> str:
        return linux.signal_name(self.signal) if self.signal else str(self.code)


def _statuses(text: str, context: Context) -> object:
    found: list[ExitStatus] = []
    for word in text.split():
        status = _status(word)
        if isinstance(status, Invalid):
            at = text.index(word)
            return status.replace(start=at, end=at + len(word))
        found.append(status)
    return tuple(found) or RESET


def _status(word: str) -> ExitStatus | Invalid:
    number = NAMES.get(word, addresses.integer(word))
    if not isinstance(number, Invalid) and 0 <= number <= 255:
        return ExitStatus(number)
    signal = None if word.isdigit() else linux.signal_number(word)
    hint = "write a number from 0 to 255, a name such as TEMPFAIL, or a signal such as SIGKILL"
    return ExitStatus(0, signal) if signal else Invalid(f"neither exit status nor signal: '{word}'", hint=hint)


STATUSES = Kind(
    "statuses",
    "exit statuses by number or name, and signals by name",
    _statuses,
    lambda all_: [str(status) for status in all_],
    appends=True,
)
