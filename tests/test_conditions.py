"""Conditions of [Unit]: what can be written, what is told when it cannot be read, and when they hold, in a world of our own.

What is compared with (versions, patterns, sizes) are facts measured with systemd 252: `systemd-analyze condition` and
`compare-versions`, fnmatch(3) of glibc 2.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from sockact.cli.describe import describe
from sockact.unit import conditions
from sockact.unit.conditions import CPU_FEATURES, QUESTIONS, Condition, unmet
from sockact.unit.diagnostics import Diagnostic
from sockact.unit.directives.unit import UnitSection
from sockact.unit.matching import OPERATORS, braces, matches, order
from tests.fakes import service_unit, socket_unit


class Fake:
    """A world that is what it is said to be."""

    def __init__(self, *paths: str, **facts: Any) -> None:
        self.paths = paths
        self.facts = facts
        self.environment: Mapping[str, str] = facts.get("environment", {})
        self.asked: list[str] = []

    def _has(self, path: str) -> bool:
        self.asked.append(path)
        return path in self.paths

    exists = is_directory = is_symbolic_link = is_mount_point = is_socket = is_executable = _has
    is_read_write = has_content = has_entries = any_exists = _has

    def read(self, path: str) -> str:
        return str(self.facts.get("files", {}).get(path, ""))

    def users(self) -> set[int]:
        return set(self.facts.get("users", {1000}))

    def groups(self) -> set[int]:
        return {1000, 27}

    def user_id(self, name: str) -> int | None:
        return {"web": 1000, "other": 1001}.get(name)

    def group_id(self, name: str) -> int | None:
        return {"web": 1000, "sudo": 27, "other": 1001}.get(name)

    def capabilities(self) -> int:
        return 1 << 12

    def virtualization(self) -> str:
        return str(self.facts.get("virtualization", "none"))

    def is_container(self) -> bool:
        return self.virtualization() == "docker"

    def has_private_users(self) -> bool:
        return bool(self.facts.get("private"))

    def architecture(self, native: bool) -> str:
        return "x86" if native and self.facts.get("narrow") else "x86-64"

    def host_name(self) -> str:
        return "Web1.example.org"

    def kernel_release(self) -> str:
        return str(self.facts.get("kernel", "6.1.0-18-amd64"))

    def command_line(self) -> list[str]:
        return ["quiet", "root=/dev/sda1", "ro"]

    def os_release(self, name: str) -> str:
        return {"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian GNU/Linux 12"}.get(name, "")

    def memory(self) -> int:
        return 1 << 30

    def cpus(self) -> int:
        return 4

    def cpu_features(self) -> set[str]:
        return {"avx2", "fma", "pclmulqdq", "xsave", "avx512f"}

    def is_on_ac_power(self) -> bool:
        return bool(self.facts.get("mains", True))

    def has_security(self, technology: str) -> bool:
        return technology == "apparmor"

    def controllers(self) -> set[str]:
        return {"v2", "cpu", "memory", "pids"}


def loaded(*lines: str) -> tuple[UnitSection, list[Diagnostic]]:
    unit, found = service_unit("\n".join(["[Unit]", *lines, "[Service]", "ExecStart=/bin/true"]), "web@one.service")
    return unit.unit, found


def of(*lines: str, world: Fake | None = None) -> str:
    """What is said of these conditions, in a world."""
    unit, found = loaded(*lines)
    assert found == []
    return unmet(unit.conditions, world or Fake())


def holds(line: str, world: Fake | None = None) -> bool:
    """Whether the condition holds; its negation, and the same as an assertion, must say so, too."""
    key, _, value = line.partition("=")
    found = of(f"Condition{line}", world=world) == ""
    assert (of(f"Condition{key}=!{value}", world=world) == "") is not found
    unit, _ = loaded(f"Assert{line}")
    assert (unmet(unit.asserts, world or Fake()) == "") is found
    return found


# Lists


def test_without_conditions_all_is_well() -> None:
    assert of() == ""


def test_all_conditions_must_hold_and_the_first_that_does_not_is_told() -> None:
    world = Fake("/a", "/b")
    assert of("ConditionPathExists=/a", "ConditionPathExists=/b", world=world) == ""
    assert of("ConditionPathExists=/a", "ConditionPathExists=!/b", "ConditionPathExists=/c", world=world) == (
        "ConditionPathExists=!/b does not hold"
    )


def test_of_those_with_a_bar_one_is_enough() -> None:
    assert of("ConditionPathExists=|/a", "ConditionUser=|web", world=Fake(users={5})) == (
        "none of ConditionPathExists=|/a, ConditionUser=|web holds"
    )
    assert of("ConditionPathExists=|/a", "ConditionUser=|web") == ""
    assert of("ConditionPathExists=|!/a") == ""
    assert of("ConditionPathExists=|/a") == "ConditionPathExists=|/a does not hold"


def test_those_with_a_bar_do_not_excuse_those_without() -> None:
    assert of("ConditionPathExists=|/a", "ConditionPathExists=/b", world=Fake("/a")) == "ConditionPathExists=/b does not hold"
    assert of("ConditionPathExists=|/a", "ConditionPathExists=/b", world=Fake("/b")) == "ConditionPathExists=|/a does not hold"


def test_nothing_more_is_asked_once_the_answer_is_known() -> None:
    world = Fake()
    of("ConditionPathExists=/a", "ConditionPathExists=/b", world=world)
    assert world.asked == ["/a"]


def test_an_empty_condition_takes_back_conditions_of_all_kinds_and_no_assertions() -> None:
    unit, found = loaded(
        *("ConditionPathExists=/a", "ConditionUser=|web", "AssertPathExists=/b", "ConditionHost=", "ConditionFirstBoot=|yes"),
        *("ConditionFirstBoot=", "ConditionUser=root"),
    )
    assert [str(condition) for condition in unit.conditions] == ["ConditionUser=root"]
    assert [str(condition) for condition in unit.asserts] == ["AssertPathExists=/b"]
    assert [diagnostic.code for diagnostic in found] == ["SA008"]


def test_the_order_across_kinds_is_that_of_the_file() -> None:
    unit, _ = loaded("ConditionUser=a", "ConditionPathExists=/b", "ConditionUser=c")
    assert [condition.kind for condition in unit.conditions] == ["User", "PathExists", "User"]
    assert [unit.origin("conditions", index).span().line for index in range(3)] == [2, 3, 4]  # type: ignore[union-attr]


# Reading


def test_a_condition_says_what_it_was_made_of() -> None:
    unit, _ = loaded("ConditionPathExists=|!/etc//%i/./%%x")
    condition = Condition("PathExists", "/etc/one/%x", True, True, "ConditionPathExists=|!/etc/one/%x")
    assert unit.conditions == (condition,)
    assert str(condition) == condition.text


def test_blanks_between_the_marks_are_allowed_except_before_a_path() -> None:
    unit, found = loaded("ConditionUser=| ! root", "ConditionKernelVersion=! >5")
    assert [str(condition) for condition in unit.conditions] == ["ConditionUser=|!root", "ConditionKernelVersion=!>5"]
    assert found == []
    assert [diagnostic.code for diagnostic in loaded("ConditionPathExists=| /etc")[1]] == ["SA010"]


@pytest.mark.parametrize(
    ("line", "code", "message", "hint"),
    [
        ("ConditionPathExists=etc", "SA010", "not an absolute path: 'etc'", "a path starts with / and is not quoted"),
        ('ConditionPathExists="/etc"', "SA010", "not an absolute path", "a path starts with / and is not quoted"),
        ("ConditionPathExists=/a/../b", "SA010", "'..' in the path", "write the path without going back"),
        ("ConditionPathExists=! /a", "SA010", "a blank before the path", "write | and ! right in front of it"),
        ("ConditionPathExists=!|/a", "SA010", "'|' behind '!'", "write | first, then !"),
        ("ConditionPathExists=!", "SA010", "nothing to test", "write what is tested behind | and !"),
        ("ConditionUser=|%X", "SA010", "unknown specifier %X", "a literal percent sign is written %%"),
        ("ConditionMemory=lots", "SA011", "not a size: 'lots'", "write bytes, or a number with one of K M G T P E"),
        ("ConditionMemory=1G 2G", "SA011", "not a size: '1G 2G'", ""),
        ("ConditionMemory=$=1", "SA011", "a number is no pattern", "write for example >=4"),
        ("ConditionCPUs=1.0", "SA011", "1.0", ""),
        ("ConditionCPUs=>=", "SA011", "", ""),
        ("ConditionCPUs=-1", "SA011", "not a number of processors: -1", ""),
        ("ConditionCapability=SYS_ADMIN", "SA011", "not a capability: 'SYS_ADMIN'", "write for example CAP_NET_ADMIN"),
        ("ConditionCapability=99", "SA011", "not a capability: '99'", ""),
        ("ConditionACPower=mains", "SA011", "not a boolean: 'mains'", "write yes or no"),
        ("ConditionKernelVersion=>5 <", "SA011", "an operator without a version", "write for example >=6.1"),
        ("ConditionKernelVersion=>5 < 7", "SA011", "an operator without a version", "with quotes"),
        ("ConditionOSRelease=ID", "SA011", "not NAME=VALUE: 'ID'", "write for example ID=debian"),
        ("ConditionOSRelease=VERSION_ID>= 12", "SA011", "not NAME=VALUE", "VERSION_ID>=12"),
        ("ConditionOSRelease=1D=x", "SA011", "not NAME=VALUE", ""),
        ('ConditionOSRelease=ID=x "', "SA011", "unterminated quote", ""),
        ("ConditionFirmware=smbios-field(x", "SA010", "not a field of SMBIOS", "smbios-field(sys_vendor = QEMU)"),
        ("ConditionFirmware=smbios-field(../x = y)", "SA010", "not a field of SMBIOS", ""),
    ],
)
def test_what_cannot_be_read_is_told_at_its_place(line: str, code: str, message: str, hint: str) -> None:
    unit, (found,) = loaded(line)
    assert (found.code, unit.conditions) == (code, ())
    assert message in found.message
    assert hint in found.hint
    assert found.span is not None
    assert found.span.line == 2
    key = line.index("=") + 2
    assert key <= found.span.column < found.span.end_column <= len(line) + 1


def test_what_is_wrong_behind_the_marks_is_underlined_there() -> None:
    _, (found,) = loaded("ConditionACPower=|!mains")
    assert found.span is not None
    assert (found.span.column, found.span.end_column) == (20, 25)
    _, (found,) = loaded("ConditionHost=|a%Xb")
    assert found.span is not None
    assert (found.span.column, found.span.end_column) == (17, 19)


@pytest.mark.parametrize("kind", ["FirstBoot", "NeedsUpdate", "Version", "Credential", "PathIsEncrypted", "MemoryPressure"])
def test_what_is_not_applied_is_named_and_counts_as_true(kind: str) -> None:
    for prefix in ("Condition", "Assert"):
        unit, (found,) = loaded(f"{prefix}{kind}=!x")
        assert (found.code, unit.conditions, unit.asserts) == ("SA008", (), ())
        assert "is not applied" in found.message


def test_what_is_not_applied_is_enough_where_one_is() -> None:
    unit, (found,) = loaded("ConditionPathExists=|/nope", "ConditionFirstBoot=|no")
    assert found.code == "SA008"
    assert unmet(unit.conditions, Fake()) == ""


def test_conditions_are_shown_as_lines_with_their_places() -> None:
    unit, _ = socket_unit("[Unit]\nConditionUser=web\nConditionPathExists=!/%n\nAssertHost=a\n[Socket]\nListenStream=1")
    shown = describe(unit, False)
    found = [(known["text"], known["origin"]["line"]) for known in shown["conditions"]]
    assert found == [("ConditionUser=web", 2), ("ConditionPathExists=!/web.socket", 3), ("AssertHost=a", 4)]
    assert [key for key in shown["settings"] if key.startswith(("Condition", "Assert"))] == []


def test_every_kind_is_a_condition_and_an_assertion() -> None:
    rows = {row.key for field, row in UnitSection.rows() if field.name in ("conditions", "asserts")}
    assert {f"{prefix}{kind}" for kind in QUESTIONS for prefix in ("Condition", "Assert")} <= rows
    untested = {row.key for _, row in UnitSection.rows() if row.kind.grammar == "not applied"}
    assert rows - untested == {f"{prefix}{kind}" for kind in QUESTIONS for prefix in ("Condition", "Assert")}


# Each kind


@pytest.mark.parametrize("kind", [kind for kind, question in QUESTIONS.items() if question.is_path])
def test_a_condition_on_a_path_asks_about_the_path(kind: str) -> None:
    world = Fake("/srv/web")
    assert holds(f"{kind}=/srv//web/", world)
    assert not holds(f"{kind}=/srv/other", world)
    assert set(world.asked) == {"/srv/web", "/srv/other"}


@pytest.mark.parametrize(
    "line",
    [
        *("User=web", "User=1000", "Group=web", "Group=sudo", "Group=27", "Capability=CAP_NET_ADMIN", "Capability=cap_net_admin"),
        *("Capability=12", "Virtualization=no", "Virtualization=False", "Architecture=x86-64", "Architecture=native"),
        *("Host=web1.example.org", "Host=WEB*", "Host=web[0-9].*", "KernelVersion=6.1.*", "KernelVersion=>=5.10 <7"),
        *("KernelVersion=> 5.10", "KernelVersion==6.1.0-18-amd64", "KernelVersion=!=6.1", "KernelVersion=<>6.1", "CPUs=4"),
        *("KernelCommandLine=quiet", "KernelCommandLine=root", "KernelCommandLine=root=/dev/sda1", "OSRelease=ID=debian"),
        *("OSRelease=VERSION_ID>=12 ID!=fedora", "OSRelease=VERSION_ID==012", 'OSRelease="PRETTY_NAME=Debian GNU/Linux 12"'),
        *("OSRelease=NOPE!=x", "OSRelease=NOPE$=*", "Memory=1G", "Memory=512M", "Memory=<2G", "Memory==1G", "Memory=> 1M"),
        *("Memory=512M 1K", "CPUs=2", "CPUs=<5", "CPUs==0x4", "CPUs=!=3", "CPUFeature=avx2", "CPUFeature=AVX2"),
        *("CPUFeature=fma3", "CPUFeature=pclmul", "CPUFeature=osxsave", "ACPower=yes", "ACPower=1", "Security=apparmor"),
        *("ControlGroupController=v2", "ControlGroupController=cpu", "ControlGroupController=cpu memory"),
        *("ControlGroupController=unheard-of", "ControlGroupController=cpu unheard-of"),
    ],
)
def test_a_condition_holds(line: str) -> None:
    assert holds(line)


@pytest.mark.parametrize(
    "line",
    [
        *("User=root", "User=0", "User=other", "User=nosuch", "User=nobody", "User=@system", "User=01000", "Group=0"),
        *("Group=other", "Group=nosuch", "Group=@system", "Capability=CAP_SYS_ADMIN", "Capability=63", "Virtualization=yes"),
        *("Virtualization=vm", "Virtualization=container", "Virtualization=none", "Virtualization=kvm", "Architecture=arm64"),
        *("Virtualization=private-users", "Architecture=unheard-of", "Host=web1", "Host=web2*", "KernelVersion=6.2*"),
        *("Host=3d1219c7c4c5404aaa1f6d2a48adfda4", "KernelVersion=6.1", "KernelVersion==6.1*", "KernelVersion=>5 <6"),
        *("KernelVersion=~6", "KernelCommandLine=roo", "KernelCommandLine=root=", "KernelCommandLine=r", "OSRelease=ID!=debian"),
        *("OSRelease=ID=debian VERSION_ID<12", "OSRelease=VERSION_ID=012", "OSRelease=NOPE=x", "Memory=2G", "Memory=<1G"),
        *("Memory=1G 1K", "CPUs=5", "CPUs=<4", "CPUs=<>4", "CPUFeature=sse2", "CPUFeature=avx512f", "CPUFeature=fma"),
        *("CPUFeature=unheard-of", "ACPower=no", "Security=selinux", "Security=unheard-of", "ControlGroupController=v1"),
        *("ControlGroupController=io", "ControlGroupController=cpu io", "Environment=X", "Firmware=uefi", "Firmware=device-tree"),
        *("Firmware=unheard-of", "Firmware=device-tree-compatible(x", "KernelModuleLoaded=loop", "KernelModuleLoaded=../x"),
    ],
)
def test_a_condition_does_not_hold(line: str) -> None:
    assert not holds(line)


def test_root_and_accounts_of_the_system_are_known_by_their_numbers() -> None:
    root, nobody = Fake(users={0}), Fake(users={65534})
    assert [holds(f"User={name}", root) for name in ("root", "0", "@system", "nobody")] == [True, True, True, False]
    assert [holds(f"User={name}", nobody) for name in ("root", "nobody", "65534", "@system")] == [False, True, True, False]
    assert [holds("User=@system", Fake(users={user})) for user in (999, 1000)] == [True, False]


def test_virtualization_is_told_by_kind_and_by_name() -> None:
    container, machine = Fake(virtualization="docker", private=True), Fake(virtualization="kvm")
    asked = ("yes", "no", "container", "vm", "docker", "kvm", "private-users")
    assert [holds(f"Virtualization={name}", container) for name in asked] == [True, False, True, False, True, False, True]
    assert [holds(f"Virtualization={name}", machine) for name in asked] == [True, False, False, True, False, True, False]


def test_programs_of_32_bits_have_another_native_architecture() -> None:
    assert not holds("Architecture=native", Fake(narrow=True))


def test_the_host_is_known_by_its_id_with_and_without_dashes() -> None:
    world = Fake(files={"/etc/machine-id": "3d1219c7c4c5404aaa1f6d2a48adfda4\n"})
    assert holds("Host=3d1219c7c4c5404aaa1f6d2a48adfda4", world)
    assert holds("Host=3D1219C7-c4c5-404a-aa1f-6d2a48adfda4", world)
    assert not holds("Host=0123456789abcdef0123456789abcdef", world)


def test_variables_are_those_that_services_start_from() -> None:
    world = Fake(environment={"STAGE": "test", "EMPTY": ""})
    assert [holds(f"Environment={text}", world) for text in ("STAGE", "STAGE=test", "EMPTY", "EMPTY=")] == [True] * 4
    assert [holds(f"Environment={text}", world) for text in ("STAG", "STAGE=", "STAGE=tes", "OTHER")] == [False] * 4


def test_a_module_counts_when_it_is_initialised_or_built_in() -> None:
    def world(state: str) -> Fake:
        return Fake("/sys/module/nf_tables", files={"/sys/module/nf_tables/initstate": state})

    assert [holds("KernelModuleLoaded=nf-tables", world(state)) for state in ("live\n", "", "coming\n")] == [True, True, False]


def test_firmware_is_told_by_the_files_of_the_kernel() -> None:
    tree = {"/proc/device-tree/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0", "/sys/class/dmi/id/sys_vendor": "QEMU\n"}
    world = Fake("/sys/firmware/efi", "/sys/class/dmi/id/sys_vendor", files=tree)
    assert holds("Firmware=uefi", world)
    assert not holds("Firmware=device-tree", world)
    assert holds("Firmware=device-tree-compatible(brcm,bcm2711)", world)
    assert not holds("Firmware=device-tree-compatible(brcm)", world)
    assert holds("Firmware=smbios-field(sys_vendor = QEMU)", world)
    assert holds('Firmware=smbios-field(sys_vendor$="Q*")', world)
    assert not holds("Firmware=smbios-field(sys_vendor != QEMU)", world)
    assert not holds("Firmware=smbios-field(board_name = QEMU)", world)


def test_the_features_of_processors_are_those_that_systemd_asks_for() -> None:
    assert len(CPU_FEATURES) == 51
    assert {name for name, flag in CPU_FEATURES.items() if name != flag} == {"pclmul", "fma3", "osxsave"}


def test_a_kind_that_nobody_tests_holds() -> None:
    assert conditions.holds(Condition("FirstBoot", "yes"), Fake())


# Comparing, as systemd and the C library do


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        *(("1", "1.0"), ("1.0~rc1", "1.0"), ("5.9", "5.10"), ("5.10-1", "5.10.1"), ("1", "1^a"), ("abc", "abcd"), ("1.1", "1a")),
        *(("6.18", "6.18.44-fc-v657"), ("a", "1"), ("1.0.~x", "1.0."), ("1.2", "1_2"), ("", "0"), ("~", ""), ("1~", "1")),
        *(("1^", "1.1"), ("9", "10"), ("1.a", "1.1"), ("1~", "1~~")),
    ],
)
def test_a_version_is_older(older: str, newer: str) -> None:
    assert (order(older, newer), order(newer, older)) == (-1, 1)


@pytest.mark.parametrize(
    ("one", "other"), [("00123", "123"), ("", ""), ("1.0", "1.0"), ("1_", "1"), ("_1", "1"), ("6.018", "6.18")]
)
def test_versions_are_the_same(one: str, other: str) -> None:
    assert (order(one, other), order(other, one)) == (0, 0)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        *(("", ""), ("*", ""), ("**", "ab"), ("a*c", "abbc"), ("?", "x"), ("[a-c]x", "bx"), ("[!a]", "b"), ("[^a]", "b")),
        *(
            ("[]]", "]"),
            ("[]-]", "-"),
            ("[a-]", "-"),
            ("\\*", "*"),
            ("a\\", "a\\"),
            ("[", "["),
            ("[a", "[a"),
            ("[[:digit:]x]", "7"),
        ),
        *(("*a*a*a*", "aaa"), ("a/*", "a/b/c"), ("[\\]]", "]"), ("[a\\-c]", "-"), ("[![:alpha:]]", "1")),
    ],
)
def test_a_pattern_matches(pattern: str, text: str) -> None:
    assert matches(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("", "a"),
        ("?", ""),
        ("a", "A"),
        ("[!a]", "a"),
        ("\\*", "a"),
        ("[[:digit:]]", "x"),
        ("[a\\-c]", "b"),
        ("[[:no:]]", "n"),
        ("a*", "ba"),
    ],
)
def test_a_pattern_does_not_match(pattern: str, text: str) -> None:
    assert not matches(pattern, text)


def test_a_pattern_of_many_stars_takes_no_longer() -> None:
    assert not matches("*a" * 40 + "b", "a" * 2000)


@pytest.mark.parametrize(
    ("pattern", "patterns"),
    [
        ("/a", ["/a"]),
        ("/{a,b}", ["/a", "/b"]),
        ("/{a,{b,c}d}/{x,}", ["/a/x", "/a/", "/bd/x", "/bd/", "/cd/x", "/cd/"]),
        ("/{a", ["/{a"]),
        ("/a}", ["/a}"]),
    ],
)
def test_braces_stand_for_several_patterns(pattern: str, patterns: list[str]) -> None:
    assert braces(pattern) == patterns


def test_no_operator_hides_a_longer_one() -> None:
    for index, known in enumerate(OPERATORS):
        assert not [other for other in OPERATORS[index + 1 :] if other.startswith(known)]


# Other rows of [Unit]


def test_units_add_up_and_an_empty_value_takes_none_back() -> None:
    unit, found = loaded("After=network.target a.service", "After=", "After=dev-disk-by\\x2dlabel-x.device -.mount %p@%i.socket")
    names = ("network.target", "a.service", "dev-disk-by\\x2dlabel-x.device", "-.mount", "web@one.socket")
    assert (unit.after, found) == (names, [])


def test_a_template_stands_for_the_instance_of_our_name() -> None:
    assert loaded("Requires=db@.service", "BindTo=x@y.service")[0].requires == ("db@one.service",)
    unit, _ = service_unit("[Unit]\nWants=db@.service\n[Service]\nExecStart=/bin/true", "web.service")
    assert unit.unit.wants == ("db@web.service",)


def test_a_wrong_name_is_told_and_the_others_stand() -> None:
    unit, (found,) = loaded("Wants=a.service b c.socket")
    assert (found.code, unit.wants) == ("SA010", ("a.service", "c.socket"))
    assert found.span is not None
    assert (found.span.column, found.span.end_column) == (17, 18)
    assert "such as .service or .target" in found.hint


@pytest.mark.parametrize(
    "target", ["network-online.target", "basic.target", "sysinit.target", "syslog.socket", "shutdown.target"]
)
def test_conventional_units_are_no_news(target: str) -> None:
    keys = (
        "After",
        "Before",
        "Requires",
        "Requisite",
        "Wants",
        "BindsTo",
        "PartOf",
        "Upholds",
        "Conflicts",
        "OnFailure",
        "OnSuccess",
    )
    assert loaded(*(f"{key}={target}" for key in keys))[1] == []


@pytest.mark.parametrize("key", ["StartLimitAction", "FailureAction", "SuccessAction"])
def test_actions_end_sockact_and_no_machine(key: str) -> None:
    for action in ("reboot", "poweroff-immediate", "kexec-force", "halt", "soft-reboot"):
        _, (found,) = loaded(f"{key}={action}")
        assert found.code == "SA008"
        assert "sockact ends no machine" in found.message
    assert loaded(f"{key}=exit-force", f"{key}=none")[1] == []


def test_the_status_of_an_action_is_a_byte_and_can_be_unset() -> None:
    assert loaded("FailureActionExitStatus=0")[0].failure_action_status == 0
    assert loaded("FailureActionExitStatus=255", "FailureActionExitStatus=")[0].failure_action_status is None
    assert [found.code for found in loaded("SuccessActionExitStatus=256")[1]] == ["SA010"]
