"""What the commands of a unit run in, whatever its type: environment, account, directories, credentials, limits, priorities,
privileges, standard streams, and how they are ended (systemd.exec(5), systemd.kill(5)). The rest of it, which sockact does not
apply, is named in `known`."""

from __future__ import annotations

from sockact.record import TYPE_CHECKING
from sockact.unit.commands import DIRECTORY, ENVIRONMENT, ENVIRONMENT_FILE, PATH, TERMINALS, Stream, stream
from sockact.unit.directives import directive, ordered
from sockact.unit.directives.cgroup import CgroupSection
from sockact.unit.places import (
    ACCOUNTS,
    BASE64_DATA,
    IMPORT_CREDENTIAL,
    LOAD_CREDENTIAL,
    SEARCH_FOLDERS,
    SET_CREDENTIAL,
    TEXT_DATA,
    UNSET_VARIABLES,
    VARIABLES,
    directories,
)
from sockact.unit.resources import (
    AMBIENT,
    BOUNDING,
    COREDUMP_FILTER,
    COUNT_LIMIT,
    IO_CLASSES,
    MICROSECONDS_LIMIT,
    NICE_LIMIT,
    POLICIES,
    PROCESSORS,
    SECONDS_LIMIT,
    SECURE,
    SIZE_LIMIT,
    TIMER_SLACK,
    named,
    within,
)
from sockact.unit.values import ACCOUNT, BOOLEAN, MODE, SIGNAL, TEXT, TRUTH, UNSIGNED, choice, words_as_choice

if TYPE_CHECKING:
    from sockact.unit.commands import MaybePath
    from sockact.unit.places import Credential, Directory
    from sockact.unit.resources import Capabilities, Limit

INPUTS = stream("input", "null", "socket", "data", *TERMINALS, files=("file",))
OUTPUTS = stream("output", "inherit", "null", "journal", "kmsg", "socket", "tty", files=("file", "append", "truncate"))
TWO_WAY = ("socket", "fd", *TERMINALS)
"""Standard inputs that can be written to, so that standard output follows them unless something else is said."""
PRESERVED = {**{word: "yes" if yes else "no" for word, yes in TRUTH.items()}, "restart": "restart"}


def _input(section: ExecutionSection) -> Stream:
    return Stream("data" if section.standard_input_data else "null")


def _output(section: ExecutionSection) -> Stream:
    """An inetd-style service answers on the connection it reads from; what any other prints goes to the log."""
    return Stream("inherit" if section.standard_input.kind in TWO_WAY else "journal")


def _error(section: ExecutionSection) -> Stream:
    """Error messages follow standard output, but never into a connection unless that is asked for."""
    return Stream("journal" if section.standard_input.kind == "socket" else "inherit")


class ExecutionSection(CgroupSection):
    """The fields that [Service] and [Socket] share."""

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
    pass_environment: tuple[str, ...] = directive(
        "PassEnvironment",
        VARIABLES,
        "Variables of the supervisor that are passed on with --clean-environment, too.",
        (),
        examples=("TERM LANG",),
        rejects=("A=1", "1A"),
    )
    unset_environment: tuple[str, ...] = directive(
        "UnsetEnvironment",
        UNSET_VARIABLES,
        "Variables that are removed at last, wherever they came from; NAME=VALUE only if it has that value.",
        (),
        examples=("LANG LC_ALL=C",),
        rejects=("1A",),
    )
    search_path: tuple[str, ...] = directive(
        "ExecSearchPath",
        SEARCH_FOLDERS,
        "Where programs are looked for that are named without a slash; becomes PATH unless Environment= sets one.",
        (),
        examples=("/opt/web/bin:/usr/bin",),
        rejects=("bin", "/usr/bin:"),
    )
    login_environment: bool | None = directive(
        "SetLoginEnvironment",
        BOOLEAN,
        "Whether HOME, USER, LOGNAME and SHELL are set; by default with User= only.",
        examples=("yes", "no"),
        rejects=("x",),
    )
    user: str | None = directive("User", ACCOUNT, "The user to run as.", examples=("nobody",), rejects=("a b:c",), essential=True)
    group: str | None = directive(
        "Group", ACCOUNT, "The group to run as; by default the user's.", examples=("nogroup",), rejects=("a:b",), essential=True
    )
    supplementary_groups: tuple[str, ...] = directive(
        "SupplementaryGroups",
        ACCOUNTS,
        "More groups for the command.",
        (),
        examples=("adm video", "4"),
        rejects=("a:b",),
        essential=True,
    )
    dynamic_user: bool = directive(
        "DynamicUser",
        BOOLEAN,
        "Run as a user id of 61184 to 65519 that nobody else has while the unit is up; takes root. Comes with "
        "NoNewPrivileges=yes, but without the file system sandbox that systemd adds.",
        False,
        examples=("yes",),
        rejects=("x",),
        essential=True,
    )
    working_directory: MaybePath | None = directive(
        "WorkingDirectory",
        DIRECTORY,
        "The directory to run in; / by default, ~ is the user's home.",
        examples=("/tmp", "~", "-/missing"),
        rejects=("tmp",),
        essential=True,
    )
    runtime_directory: tuple[Directory, ...] = directive(
        "RuntimeDirectory",
        directories("t"),
        "Directories below /run (for a user as the user manager has them) that are made for the command, and belong to "
        "it; named in RUNTIME_DIRECTORY. Removed when the unit ends.",
        (),
        examples=("web web/cache",),
        rejects=("/web", "../web"),
        essential=True,
    )
    runtime_mode: int = directive(
        "RuntimeDirectoryMode",
        MODE,
        "Access mode of RuntimeDirectory=.",
        0o755,
        examples=("0700",),
        rejects=("rwx",),
    )
    state_directory: tuple[Directory, ...] = directive(
        "StateDirectory",
        directories("S"),
        "Directories below /var/lib (for a user as the user manager has them) that are made for the command, and belong "
        "to it; named in STATE_DIRECTORY.",
        (),
        examples=("web web/cache",),
        rejects=("/web", "../web"),
        essential=True,
    )
    state_mode: int = directive(
        "StateDirectoryMode",
        MODE,
        "Access mode of StateDirectory=.",
        0o755,
        examples=("0700",),
        rejects=("rwx",),
    )
    cache_directory: tuple[Directory, ...] = directive(
        "CacheDirectory",
        directories("C"),
        "Directories below /var/cache (for a user as the user manager has them) that are made for the command, and "
        "belong to it; named in CACHE_DIRECTORY.",
        (),
        examples=("web web/cache",),
        rejects=("/web", "../web"),
        essential=True,
    )
    cache_mode: int = directive(
        "CacheDirectoryMode",
        MODE,
        "Access mode of CacheDirectory=.",
        0o755,
        examples=("0700",),
        rejects=("rwx",),
    )
    logs_directory: tuple[Directory, ...] = directive(
        "LogsDirectory",
        directories("L"),
        "Directories below /var/log (for a user as the user manager has them) that are made for the command, and belong "
        "to it; named in LOGS_DIRECTORY.",
        (),
        examples=("web web/cache",),
        rejects=("/web", "../web"),
        essential=True,
    )
    logs_mode: int = directive(
        "LogsDirectoryMode",
        MODE,
        "Access mode of LogsDirectory=.",
        0o755,
        examples=("0700",),
        rejects=("rwx",),
    )
    configuration_directory: tuple[Directory, ...] = directive(
        "ConfigurationDirectory",
        directories("E", links=False),
        "Directories below /etc (for a user as the user manager has them) that are made for the command, and belong to "
        "it; named in CONFIGURATION_DIRECTORY. Its owner stays.",
        (),
        examples=("web web/cache",),
        rejects=("/web", "../web", "a:b"),
        essential=True,
    )
    configuration_mode: int = directive(
        "ConfigurationDirectoryMode",
        MODE,
        "Access mode of ConfigurationDirectory=.",
        0o755,
        examples=("0700",),
        rejects=("rwx",),
    )
    runtime_preserve: str = directive(
        "RuntimeDirectoryPreserve",
        choice(PRESERVED),
        "Whether RuntimeDirectory= stays when the unit ends: no, yes, or over its restarts.",
        "no",
        examples=("yes", "restart"),
        rejects=("maybe",),
    )
    root_directory: str | None = directive(
        "RootDirectory",
        PATH,
        "The directory that is / for the command (chroot(2)); takes root. The program and all directories of the "
        "command are looked for inside.",
        examples=("/srv/tree",),
        rejects=("tree",),
        essential=True,
    )
    load_credential: tuple[Credential, ...] = directive(
        "LoadCredential",
        LOAD_CREDENTIAL,
        "A credential from a file, a directory, a UNIX socket, the credentials of the supervisor or a credstore; read "
        "at each start, and found in CREDENTIALS_DIRECTORY by nobody but the command.",
        (),
        examples=("key:/etc/hostname", "key"),
        rejects=("a/b:/x", "key:../x"),
        essential=True,
    )
    set_credential: tuple[Credential, ...] = directive(
        "SetCredential",
        SET_CREDENTIAL,
        "A credential that stands here, for when LoadCredential= finds none of that name.",
        (),
        examples=("key:a\\nb",),
        rejects=("key", "a/b:x"),
        essential=True,
    )
    import_credential: tuple[Credential, ...] = directive(
        "ImportCredential",
        IMPORT_CREDENTIAL,
        "Credentials of the supervisor, or of a credstore, with that name or beginning.",
        (),
        examples=("web.*",),
        rejects=("*.key",),
    )
    umask: int = directive(
        "UMask",
        MODE,
        "The file mode creation mask.",
        0o022,
        examples=("0077",),
        rejects=("rw",),
    )
    no_new_privileges: bool = directive(
        "NoNewPrivileges",
        BOOLEAN,
        "Whether set-user-id programs and file capabilities give nothing to the command and its children.",
        False,
        examples=("yes",),
        rejects=("x",),
        essential=True,
    )
    bounding_set: tuple[Capabilities, ...] = directive(
        "CapabilityBoundingSet",
        BOUNDING,
        "The capabilities that can be had at all; by default all.",
        (),
        examples=("CAP_NET_BIND_SERVICE CAP_CHOWN", "~CAP_SYS_ADMIN", ""),
        rejects=("CAP_FLY",),
        essential=True,
    )
    ambient_set: tuple[Capabilities, ...] = directive(
        "AmbientCapabilities",
        AMBIENT,
        "Capabilities that the command has without being root.",
        (),
        examples=("CAP_NET_BIND_SERVICE",),
        rejects=("NET_BIND",),
        essential=True,
    )
    secure_bits: tuple[int, ...] = directive(
        "SecureBits",
        SECURE,
        "What being root still means (capabilities(7), securebits).",
        (),
        examples=("noroot noroot-locked",),
        rejects=("noroot,locked",),
        essential=True,
    )
    nice: int | None = directive(
        "Nice",
        within("nice value", -20, 19),
        "The nice value.",
        examples=("5", "-5"),
        rejects=("20", "low"),
    )
    oom_score_adjust: int | None = directive(
        "OOMScoreAdjust",
        within("score", -1000, 1000),
        "How gladly the kernel kills the command when memory is short.",
        examples=("-500", "300"),
        rejects=("1001", "x"),
    )
    cpu_policy: str | None = directive(
        "CPUSchedulingPolicy",
        named(POLICIES),
        "The scheduling policy.",
        examples=("batch", "fifo"),
        rejects=("fair",),
    )
    cpu_priority: int | None = directive(
        "CPUSchedulingPriority",
        within("priority", 0, 99),
        "The priority for fifo and rr; 1 unless given.",
        examples=("10",),
        rejects=("100",),
    )
    cpu_reset_on_fork: bool = directive(
        "CPUSchedulingResetOnFork",
        BOOLEAN,
        "Whether children are scheduled as usual again.",
        False,
        examples=("yes",),
        rejects=("x",),
    )
    cpu_affinity: tuple[int, ...] = directive(
        "CPUAffinity",
        PROCESSORS,
        "The processors to run on.",
        (),
        examples=("0", "0-1,3"),
        rejects=("x", "3-1", "numa"),
    )
    io_class: str | None = directive(
        "IOSchedulingClass",
        named(IO_CLASSES),
        "The class of the input and output.",
        examples=("idle", "best-effort"),
        rejects=("slow",),
    )
    io_priority: int | None = directive(
        "IOSchedulingPriority",
        within("level", 0, 7),
        "The priority of the input and output in its class; 4 unless given, 0 comes first.",
        examples=("7",),
        rejects=("8",),
    )
    timer_slack: int | None = directive(
        "TimerSlackNSec",
        TIMER_SLACK,
        "How inexactly timers may wake the command.",
        examples=("50us", "1000000"),
        rejects=("soon",),
    )
    coredump_filter: tuple[int, ...] = directive(
        "CoredumpFilter",
        COREDUMP_FILTER,
        "Which mappings a core dump has.",
        (),
        examples=("private-anonymous elf-headers", "0x33"),
        rejects=("heap",),
    )
    ignore_sigpipe: bool = directive(
        "IgnoreSIGPIPE",
        BOOLEAN,
        "Whether SIGPIPE is ignored, so that writing to nobody is an error and not the end.",
        True,
        examples=("no",),
        rejects=("x",),
    )
    limit_cpu: Limit | None = directive(
        "LimitCPU",
        SECONDS_LIMIT,
        "CPU time.",
        examples=("10", "1min:2min"),
        rejects=("x", "2:1"),
    )
    limit_fsize: Limit | None = directive(
        "LimitFSIZE",
        SIZE_LIMIT,
        "Size of a file that is written.",
        examples=("1M",),
        rejects=("1m",),
    )
    limit_data: Limit | None = directive(
        "LimitDATA",
        SIZE_LIMIT,
        "Size of data in memory.",
        examples=("1G",),
        rejects=("x",),
    )
    limit_stack: Limit | None = directive(
        "LimitSTACK",
        SIZE_LIMIT,
        "Size of the stack.",
        examples=("4M:8M",),
        rejects=("8M:4M",),
    )
    limit_core: Limit | None = directive(
        "LimitCORE",
        SIZE_LIMIT,
        "Size of a core dump.",
        examples=("0", "infinity"),
        rejects=("none",),
    )
    limit_rss: Limit | None = directive(
        "LimitRSS",
        SIZE_LIMIT,
        "Resident memory, which Linux does not limit by it.",
        examples=("1G",),
        rejects=("x",),
    )
    limit_nofile: Limit | None = directive(
        "LimitNOFILE",
        COUNT_LIMIT,
        "Number of open descriptors.",
        examples=("1024:4096",),
        rejects=("1K", "-1"),
    )
    limit_as: Limit | None = directive(
        "LimitAS",
        SIZE_LIMIT,
        "Size of the address space.",
        examples=("4G:16G",),
        rejects=("x",),
    )
    limit_nproc: Limit | None = directive(
        "LimitNPROC",
        COUNT_LIMIT,
        "Number of processes of the user.",
        examples=("100",),
        rejects=("x",),
    )
    limit_memlock: Limit | None = directive(
        "LimitMEMLOCK",
        SIZE_LIMIT,
        "Size of locked memory.",
        examples=("64K",),
        rejects=("x",),
    )
    limit_locks: Limit | None = directive(
        "LimitLOCKS",
        COUNT_LIMIT,
        "Number of file locks, which Linux does not limit by it.",
        examples=("10",),
        rejects=("x",),
    )
    limit_sigpending: Limit | None = directive(
        "LimitSIGPENDING",
        COUNT_LIMIT,
        "Number of queued signals.",
        examples=("100",),
        rejects=("x",),
    )
    limit_msgqueue: Limit | None = directive(
        "LimitMSGQUEUE",
        SIZE_LIMIT,
        "Bytes in message queues.",
        examples=("400K",),
        rejects=("x",),
    )
    limit_nice: Limit | None = directive(
        "LimitNICE",
        NICE_LIMIT,
        "The best nice value that can be taken.",
        examples=("+5", "30"),
        rejects=("+20", "41"),
    )
    limit_rtprio: Limit | None = directive(
        "LimitRTPRIO",
        COUNT_LIMIT,
        "The best real-time priority that can be taken.",
        examples=("10",),
        rejects=("x",),
    )
    limit_rttime: Limit | None = directive(
        "LimitRTTIME",
        MICROSECONDS_LIMIT,
        "CPU time at real-time priority without a pause.",
        examples=("50ms", "100000"),
        rejects=("x",),
    )
    standard_input: Stream = directive(
        "StandardInput",
        INPUTS,
        "Where standard input comes from; socket hands over the connection, as inetd did.",
        _input,
        examples=("socket", "file:/etc/hostname", "data", "tty", "fd:web"),
        rejects=("pipe", "file:x"),
    )
    standard_output: Stream = directive(
        "StandardOutput",
        OUTPUTS,
        "Where standard output goes. The default is the supervisor's standard error, or inherit after an input that can be "
        "written to; journal is the journal where there is one and python-systemd, else the supervisor's standard error.",
        _output,
        examples=("null", "append:/tmp/log", "kmsg", "tty"),
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
    standard_input_data: tuple[bytes, ...] = ordered(
        directive(
            "StandardInputText",
            TEXT_DATA,
            "A line for StandardInput=data, which is the default then. All lines form one text.",
            (),
            examples=("hello\\tworld",),
            rejects=("a\\000b",),
        ),
        directive(
            "StandardInputData",
            BASE64_DATA,
            "Bytes for StandardInput=data.",
            (),
            examples=("aGVsbG8=",),
            rejects=("a",),
        ),
    )
    tty_path: str = directive(
        "TTYPath",
        PATH,
        "The terminal for tty, which becomes the controlling one. It must be free: sockact does not wait for it.",
        "/dev/console",
        examples=("/dev/tty1",),
        rejects=("tty1",),
    )
    tty_reset: bool = directive(
        "TTYReset",
        BOOLEAN,
        "Whether the terminal is set to sane modes before it is used.",
        False,
        examples=("yes",),
        rejects=("x",),
    )
    tty_vhangup: bool = directive(
        "TTYVHangup",
        BOOLEAN,
        "Whether whoever has the terminal open is disconnected before it is used; takes root.",
        False,
        examples=("yes",),
        rejects=("x",),
    )
    tty_rows: int | None = directive(
        "TTYRows",
        UNSIGNED,
        "The lines of the terminal.",
        examples=("24",),
        rejects=("x",),
    )
    tty_columns: int | None = directive(
        "TTYColumns",
        UNSIGNED,
        "The columns of the terminal.",
        examples=("80",),
        rejects=("x",),
    )
    syslog_identifier: str | None = directive(
        "SyslogIdentifier",
        TEXT,
        "The name of the command in the journal, for StandardOutput=journal where there is one.",
        examples=("web",),
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
        "Whom to signal: all processes of the service, all but only the main one first (mixed), just the main one, or nobody.",
        "control-group",
        examples=("mixed", "process"),
        rejects=("group",),
    )
