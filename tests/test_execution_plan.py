"""What commands run in: the value types of limits, priorities, capabilities, directories and credentials; and what a child plan
makes of them."""

from __future__ import annotations

import errno
import struct
from pathlib import Path
from typing import Any

import pytest

from sockact.lifecycle.child import PLAIN, ChildPlan, Extras, Setting, Source, plan
from sockact.runtime import attributes, native
from sockact.runtime.kernel import Kernel
from sockact.runtime.spawn import STEPS, Failure, NotPreparedError, prepare, steps
from sockact.unit import places, resources
from sockact.unit.diagnostics import Invalid
from sockact.unit.places import Credential, Directory, OpenFile
from sockact.unit.resources import ALL_CAPABILITIES, UNLIMITED, Limit, capabilities
from sockact.unit.values import RESET, Kind
from tests.fakes import context, descriptors, service_unit, socket_unit


def read(kind: Kind, text: str) -> Any:
    return kind.read(text, context())


def refused(kind: Kind, text: str) -> Invalid:
    found = read(kind, text)
    assert isinstance(found, Invalid), found
    assert found.message
    return found


# Limits


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (resources.COUNT_LIMIT, "1024", Limit(1024, 1024)),
        (resources.COUNT_LIMIT, "1024:4096", Limit(1024, 4096)),
        (resources.COUNT_LIMIT, "1024:infinity", Limit(1024, UNLIMITED)),
        (resources.COUNT_LIMIT, "infinity", Limit(UNLIMITED, UNLIMITED)),
        (resources.SIZE_LIMIT, "4G:16G", Limit(4 << 30, 16 << 30)),
        (resources.SIZE_LIMIT, "1.5K", Limit(1536, 1536)),
        (resources.SECONDS_LIMIT, "20", Limit(20, 20)),
        (resources.SECONDS_LIMIT, "1min 30s", Limit(90, 90)),
        (resources.SECONDS_LIMIT, "500ms:2s", Limit(1, 2)),
        (resources.MICROSECONDS_LIMIT, "100000", Limit(100000, 100000)),
        (resources.MICROSECONDS_LIMIT, "50ms", Limit(50000, 50000)),
        (resources.NICE_LIMIT, "+0", Limit(20, 20)),
        (resources.NICE_LIMIT, "-20", Limit(40, 40)),
        (resources.NICE_LIMIT, "+19", Limit(1, 1)),
        (resources.NICE_LIMIT, "0", Limit(1, 1)),
        (resources.NICE_LIMIT, "5:-5", Limit(5, 25)),
    ],
)
def test_a_limit_is_one_value_or_two_in_its_own_unit(kind: Kind, text: str, expected: Limit) -> None:
    assert read(kind, text) == expected


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (resources.COUNT_LIMIT, "2:1"),
        (resources.COUNT_LIMIT, "infinity:1"),
        (resources.COUNT_LIMIT, "-1"),
        (resources.COUNT_LIMIT, "1K"),
        (resources.COUNT_LIMIT, ""),
        (resources.COUNT_LIMIT, "1:"),
        (resources.SIZE_LIMIT, "1k"),
        (resources.SECONDS_LIMIT, "x"),
        (resources.NICE_LIMIT, "+20"),
        (resources.NICE_LIMIT, "-21"),
        (resources.NICE_LIMIT, "41"),
    ],
)
def test_what_is_no_limit_is_refused(kind: Kind, text: str) -> None:
    refused(kind, text)


def test_a_limit_is_shown_as_it_may_be_written() -> None:
    assert [str(limit) for limit in (Limit(1, 1), Limit(1, 2), Limit(1, UNLIMITED), Limit(UNLIMITED, UNLIMITED))] == [
        "1",
        "1:2",
        "1:infinity",
        "infinity",
    ]


# Priorities


@pytest.mark.parametrize(
    ("text", "expected"), [("1000", 1000), ("50us", 50000), ("10ns", 10), ("1ms", 1000000), ("2s", 2000000000), ("7 nsec", 7)]
)
def test_a_timer_slack_counts_nanoseconds(text: str, expected: int) -> None:
    assert read(resources.TIMER_SLACK, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("0", (0,)), ("0-3", (0, 1, 2, 3)), ("1,3 5-6", (1, 3, 5, 6)), ("0x10", (16,)), ("", RESET)]
)
def test_processors_are_numbers_and_ranges(text: str, expected: object) -> None:
    assert read(resources.PROCESSORS, text) == expected


def test_no_numa_policy_is_claimed() -> None:
    assert refused(resources.PROCESSORS, "numa").known
    for text in ("3-1", "x", "-1", "1-", "8192"):
        refused(resources.PROCESSORS, text)


def test_words_of_a_scheduler_may_be_numbers() -> None:
    kind = resources.named(resources.POLICIES)
    assert [read(kind, text) for text in ("fifo", "1", "5", "other")] == ["fifo", "fifo", "idle", "other"]
    refused(kind, "4")


def test_a_core_dump_has_the_mappings_that_are_named_or_numbered() -> None:
    assert resources.together(read(resources.COREDUMP_FILTER, "private-anonymous elf-headers 0x2")) == 0x13
    assert resources.together(read(resources.COREDUMP_FILTER, "default")) == 0x33


# Capabilities


@pytest.mark.parametrize(
    ("lines", "initial", "expected"),
    [
        ([], ALL_CAPABILITIES, ALL_CAPABILITIES),
        (["CAP_CHOWN"], ALL_CAPABILITIES, 1),
        (["CAP_CHOWN", "CAP_KILL"], ALL_CAPABILITIES, 1 | 1 << 5),
        (["~CAP_CHOWN"], ALL_CAPABILITIES, ALL_CAPABILITIES - 1),
        (["~CAP_CHOWN", "~CAP_KILL"], ALL_CAPABILITIES, ALL_CAPABILITIES & ~(1 | 1 << 5)),
        (["CAP_CHOWN CAP_KILL", "~CAP_KILL"], ALL_CAPABILITIES, 1),
        ([""], ALL_CAPABILITIES, 0),
        (["CAP_CHOWN", "~"], ALL_CAPABILITIES, ALL_CAPABILITIES),
        (["CAP_CHOWN", "", "CAP_KILL"], 0, 1 << 5),
        (["CAP_CHOWN", "CAP_KILL"], 0, 1 | 1 << 5),
        (["cap_net_bind_service", "21"], 0, 1 << 10 | 1 << 21),
    ],
)
def test_capabilities_of_several_lines_come_together_as_in_systemd(lines: list[str], initial: int, expected: int) -> None:
    parts = tuple(part for line in lines for part in read(resources.BOUNDING, line))
    assert capabilities(parts, initial) == expected


def test_a_capability_that_nobody_knows_is_pointed_at() -> None:
    wrong = refused(resources.AMBIENT, "CAP_CHOWN CAP_FLY")
    assert (wrong.start, wrong.end) == (10, 17)


# Directories, credentials, files, data


def test_a_directory_is_below_its_kind_and_may_have_a_link() -> None:
    kind = places.directories("t")
    assert read(kind, "web web/cache 'a b' x:y") == (
        Directory("/run", "web"),
        Directory("/run", "web/cache"),
        Directory("/run", "a b"),
        Directory("/run", "x", "y"),
    )
    assert kind.show(read(kind, "%p x:y")) == ["web", "x:y"]


@pytest.mark.parametrize("text", ["/web", "../web", "web/..", "a/./b", "private/x", ":x", "x:/y", "'x"])
def test_what_would_lead_elsewhere_is_no_directory_of_a_unit(text: str) -> None:
    refused(places.directories("t"), text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key:/etc/key", Credential("key", "/etc/key")),
        ("key", Credential("key", "key")),
        ("key:other", Credential("key", "other")),
        ("%p.key:%t/key", Credential("web.key", "/run/key")),
    ],
)
def test_a_credential_is_loaded_from_a_path_or_by_its_name(text: str, expected: Credential) -> None:
    assert read(places.LOAD_CREDENTIAL, text) == (expected,)


def test_a_credential_may_stand_in_the_unit_with_any_bytes() -> None:
    assert read(places.SET_CREDENTIAL, r"key:a\n\x00\xff:b") == (Credential("key", given=b"a\n\x00\xff:b"),)
    for text in ("key", "a/b:x", ":x", "..:x"):
        refused(places.SET_CREDENTIAL, text)


@pytest.mark.parametrize("text", ["*.key", "a*b", "a/b", "[ab]", "?"])
def test_of_credentials_to_import_only_the_end_may_vary(text: str) -> None:
    refused(places.IMPORT_CREDENTIAL, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/etc/hosts", OpenFile("/etc/hosts", "hosts")),
        ("/etc/hosts:names:read-only", OpenFile("/etc/hosts", "names", "read-only")),
        ("/x::append,graceful", OpenFile("/x", "x", "append", True)),
        (r"/a\:b:n", OpenFile("/a:b", "n")),
    ],
)
def test_an_opened_file_has_a_path_a_name_and_options(text: str, expected: OpenFile) -> None:
    assert read(places.OPEN_FILE, text) == (expected,)


@pytest.mark.parametrize("text", ["x", "/x:n:write", "/x:n:append,truncate", "/x/../y"])
def test_what_is_no_opened_file_is_refused(text: str) -> None:
    refused(places.OPEN_FILE, text)


def test_text_and_bytes_for_standard_input_form_one_text() -> None:
    unit, found = service_unit("ExecStart=/x\nStandardInputText=a\\tb\nStandardInputData=Yw==\nStandardInputText=%p\n")
    assert found == []
    assert (unit.service.standard_input.kind, b"".join(unit.service.standard_input_data)) == ("data", b"a\tb\ncweb\n")


# The plan


def planned(lines: str, prefix: str = "", *descriptors: tuple[int, str]) -> ChildPlan:
    unit, found = service_unit(f"ExecStart={prefix}/bin/x\n{lines}\n")
    assert found == []
    return plan(unit.service, unit.service.exec_start[0], descriptors, {"PATH": "/bin"}, {}, non_blocking=False)


def before(lines: str, prefix: str = "") -> list[tuple[str, tuple[int, ...], int]]:
    """The settings before the user changes: what, with which numbers, and the status of a failure."""
    return [(one.op, one.numbers, one.status) for one in planned(lines, prefix).extras.before]


def after(lines: str, prefix: str = "") -> list[tuple[str, tuple[int, ...], int]]:
    return [(one.op, one.numbers, one.status) for one in planned(lines, prefix).extras.after]


def test_a_plain_service_has_no_extras() -> None:
    assert planned("User=u\nEnvironment=A=1\nStandardOutput=null\nWorkingDirectory=/srv\nUMask=077").extras is PLAIN
    assert planned("Restart=always\nKillSignal=SIGINT\nStandardInput=socket").extras is PLAIN


def test_the_umask_and_sigpipe_are_as_under_systemd_unless_something_else_is_said() -> None:
    assert (planned("").umask, planned("").ignored) == (0o022, (13,))
    assert (planned("UMask=0077").umask, planned("IgnoreSIGPIPE=no").ignored) == (0o077, ())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("LimitNOFILE=5:6", ("limit", (7, 5, 6), 205)),
        ("LimitCPU=1min", ("limit", (0, 60, 60), 205)),
        ("LimitRTTIME=1ms", ("limit", (15, 1000, 1000), 205)),
        ("Nice=-5", ("nice", (-5,), 201)),
        ("OOMScoreAdjust=300", ("write", (1,), 206)),
        ("CoredumpFilter=all", ("write", (1,), 205)),
        ("CPUAffinity=0 2", ("affinity", (), 215)),
        ("CPUSchedulingPolicy=batch", ("scheduler", (3, 0), 214)),
        ("CPUSchedulingPolicy=rr", ("scheduler", (2, 1), 214)),
        ("CPUSchedulingPolicy=fifo\nCPUSchedulingPriority=7", ("scheduler", (1, 7), 214)),
        ("CPUSchedulingPolicy=batch\nCPUSchedulingPriority=7", ("scheduler", (3, 0), 214)),
        ("CPUSchedulingPriority=7", ("scheduler", (0, 7), 214)),
        ("CPUSchedulingResetOnFork=yes", ("scheduler", (0x40000000, 0), 214)),
        ("IOSchedulingClass=idle", ("io", (3 << 13 | 4,), 211)),
        ("IOSchedulingPriority=2", ("io", (2 << 13 | 2,), 211)),
        ("TimerSlackNSec=7", ("prctl", (29, 7), 212)),
        ("RootDirectory=/srv", ("root", (), 210)),
        ("StandardInput=tty-force", ("terminal", (True,), 208)),
    ],
)
def test_a_setting_is_one_step_with_the_status_that_systemd_gives_it(line: str, expected: object) -> None:
    assert before(line) == [expected]


def test_the_processors_are_a_mask_of_whole_words() -> None:
    (setting,) = planned("CPUAffinity=0 2 64").extras.before
    assert setting.data == struct.pack("=QQ", 1 | 4, 1)


NET_BIND = 1 << 10


def test_capabilities_are_inheritable_before_and_ambient_after_the_user_has_changed() -> None:
    lines = "User=u\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\nNoNewPrivileges=yes"
    assert before(lines) == [
        ("bound", (NET_BIND,), 218),
        ("inherit", (NET_BIND, NET_BIND), 218),
        ("prctl", (28, 16), 213),
    ]
    assert after(lines) == [("ambient", (NET_BIND,), 218), ("prctl", (38, 1), 227)]


def test_without_another_user_capabilities_are_ambient_at_once() -> None:
    lines = "AmbientCapabilities=CAP_NET_BIND_SERVICE\nSecureBits=noroot"
    assert before(lines)[-2:] == [("ambient", (NET_BIND,), 218), ("prctl", (28, 1), 213)]
    assert after(lines) == []


def test_a_plus_switches_limits_and_privileges_off_and_an_exclamation_mark_the_user_only() -> None:
    lines = "User=u\nLimitNOFILE=5\nNoNewPrivileges=yes\nNice=1"
    assert (before(lines, "+"), after(lines, "+")) == ([("nice", (1,), 201)], [])
    assert (before(lines, "!"), after(lines, "!")) == (
        [("nice", (1,), 201), ("limit", (7, 5, 5), 205)],
        [("prctl", (38, 1), 227)],
    )


def test_two_exclamation_marks_say_nothing_on_a_kernel_of_today() -> None:
    assert planned("User=u", "!!").user == "u"


def test_a_dynamic_user_gets_no_new_privileges() -> None:
    assert after("DynamicUser=yes") == [("prctl", (38, 1), 227)]


@pytest.mark.parametrize(
    ("text", "streams"),
    [
        ("StandardInput=data\nStandardOutput=null", (Source(how="data"), Source(path="/dev/null", how="null"))),
        ("StandardInput=fd:b", (Source(fd=8), Source(follows=0))),
        ("StandardInput=tty", (Source(path="/dev/console", how="tty"), Source(follows=0))),
        ("StandardInput=fd:none", (Source(fd=-3), Source(follows=0))),
        ("StandardOutput=tty\nTTYPath=/dev/tty9", (Source(path="/dev/null", how="null"), Source(path="/dev/tty9", how="tty"))),
        ("StandardInput=file:/x\nStandardOutput=file:/x", (Source(path="/x", how="both"), Source(follows=0))),
    ],
)
def test_other_standard_streams_lead_where_they_say(text: str, streams: tuple[Source, ...]) -> None:
    made = planned(text, "", (7, "a"), (8, "b"))
    assert made.streams == (*streams, Source(follows=1))


def test_output_and_errors_into_one_file_share_it() -> None:
    made = planned("StandardOutput=truncate:/x\nStandardError=truncate:/x")
    assert made.streams[1:] == (Source(path="/x", how="truncate"), Source(follows=1))


def test_what_the_supervisor_was_told_is_never_passed_on() -> None:
    assert planned("PassEnvironment=TERM NOTIFY_SOCKET").extras.passed == ("TERM",)


def test_commands_of_a_socket_unit_have_all_of_it_too() -> None:
    unit, found = socket_unit("ListenStream=1\nExecStartPre=/bin/x\nNice=3\nRuntimeDirectory=web\n")
    assert found == []
    made = plan(unit.socket, unit.socket.exec_start_pre[0], (), {}, {}, non_blocking=False)
    assert isinstance(made.extras, Extras)
    assert made.extras.before == (Setting("nice", (3,), "", b"", "setting the nice value", 201),)
    assert [place.kind for place in made.extras.places] == ["RUNTIME"]


# The executors


def test_both_executors_know_the_same_operations_in_the_same_order() -> None:
    source = (Path(native.__file__).parent / "_spawn.c").read_text()
    in_c = source.partition("enum op {")[2].partition("}")[0].lower().replace(",", " ").split()
    assert list(native.OPERATIONS) == list(attributes.OPERATIONS) == in_c


def test_what_was_opened_is_closed_when_something_else_is_missing(tmp_path: Path) -> None:
    before = descriptors()
    made = planned(f"OpenFile=/etc/hostname::read-only\nOpenFile={tmp_path}/missing\nStandardInputText=x")
    with pytest.raises(NotPreparedError) as caught:
        prepare(Kernel(), made, "web.service")
    assert caught.value.failure == Failure(f"opening {tmp_path}/missing", 202, errno.ENOENT)
    assert descriptors() == before


def test_an_image_that_changes_its_memory_is_told_from_others() -> None:
    images = [prepare(Kernel(), planned(lines)) for lines in ("", "Nice=1", "CoredumpFilter=all")]
    assert [image.changes_memory for image in images] == [False, False, True]
    assert [len(steps(image)) - len(STEPS) for image in images] == [0, 1, 1]
