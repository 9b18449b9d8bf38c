"""Value types of what is run: command lines, variables, files, standard streams; and paths."""

from __future__ import annotations

import pytest

from sockact.unit import commands
from sockact.unit.commands import MaybePath, Stream
from sockact.unit.directives.execution import INPUTS, OUTPUTS
from sockact.unit.values import RESET
from tests.fakes import context, read, refused

# Commands


def command(text: str) -> commands.Command:
    (found,) = read(commands.COMMANDS, text)
    assert isinstance(found, commands.Command)
    return found


def test_a_command_is_a_program_and_its_arguments() -> None:
    found = command("""/bin/sh -c 'echo "$A"' x\\x41""")
    assert (found.program, found.argv0) == ("/bin/sh", "/bin/sh")
    assert found.arguments == ("-c", 'echo "$A"', "xA")
    assert found.prefixes == ""


@pytest.mark.parametrize("prefixes", ["-", ":", "+", "!", "!!", "-:", ":-+", "-!!"])
def test_prefixes_stand_before_the_program_in_any_order(prefixes: str) -> None:
    found = command(f"{prefixes}/bin/x y")
    assert (found.program, found.argv0, found.prefixes, found.arguments) == ("/bin/x", "/bin/x", prefixes, ("y",))


def test_an_at_sign_makes_the_next_word_argv_0() -> None:
    found = command("-@/bin/busybox httpd -i")
    assert (found.program, found.argv0, found.arguments, found.prefixes) == ("/bin/busybox", "httpd", ("-i",), "-@")


def test_a_program_without_a_slash_is_left_to_path() -> None:
    assert command("python3 -V").program == "python3"


def test_a_semicolon_of_its_own_divides_commands_and_an_escaped_or_quoted_one_does_not() -> None:
    found = read(commands.COMMANDS, r"/bin/a x ; -/bin/b \; y ';' z;w ;")
    assert [(c.program, c.arguments) for c in found] == [("/bin/a", ("x",)), ("/bin/b", (";", "y", ";", "z;w"))]


def test_specifiers_are_expanded_in_every_word_after_the_words_are_divided() -> None:
    found = commands.COMMANDS.read("/bin/%p '%n x' 100%%", context("a@b c.service"))
    assert (found[0].program, found[0].arguments) == ("/bin/a", ("a@b c.service x", "100%"))


def test_a_command_shows_what_was_written_and_knows_where() -> None:
    found = read(commands.COMMANDS, "-/bin/a 'x y' ; /bin/b")
    assert [(c.source, c.start) for c in found] == [("-/bin/a 'x y'", 0), ("/bin/b", 16)]
    assert commands.COMMANDS.show(found) == ["-/bin/a 'x y'", "/bin/b"]


def test_an_empty_command_line_is_a_reset() -> None:
    assert read(commands.COMMANDS, "") is RESET


def test_a_semicolon_alone_adds_no_command_and_forgets_none() -> None:
    assert read(commands.COMMANDS, ";") == ()


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("bin/x", 0, 5),
        ("./x", 0, 3),
        ("-bin/x y", 0, 6),
        ("@/bin/x", 0, 7),
        ("-", 0, 1),
        ("/bin/", 0, 5),
        ("/bin/a ; b/c", 9, 12),
        ("/bin/a 'x", 7, 8),
        ("/bin/a %Z", 7, 9),
        ("/bin/a ; @/bin/b ; c", 9, 16),
        ('""', 0, 2),
    ],
)
def test_a_broken_command_is_pointed_at(text: str, start: int, end: int) -> None:
    invalid = refused(commands.COMMANDS, text)
    assert (invalid.start, invalid.end) == (start, end)


# Environments, files, streams


def test_an_environment_is_a_list_of_assignments_quoted_as_needed() -> None:
    found = read(commands.ENVIRONMENT, """A=1 "B=two words" 'C=x=y' D= E=%p _f9="q r" """)
    assert found == (("A", "1"), ("B", "two words"), ("C", "x=y"), ("D", ""), ("E", "web"), ("_f9", "q r"))
    assert commands.ENVIRONMENT.show(found)[1] == "B=two words"
    assert read(commands.ENVIRONMENT, "") is RESET


@pytest.mark.parametrize(
    ("text", "word"), [("A=1 B C=3", "B"), ("A=1 1B=x C=3", "1B=x"), ("A=1 =x C=3", "=x"), ("A=1 é=x C=3", "é=x")]
)
def test_what_is_no_assignment_is_pointed_at_and_the_others_stand(text: str, word: str) -> None:
    invalid = refused(commands.ENVIRONMENT, text)
    assert text[invalid.start : invalid.end] == word
    assert invalid.kept == (("A", "1"), ("C", "3"))


def test_an_environment_with_an_open_quote_says_nothing_else() -> None:
    assert refused(commands.ENVIRONMENT, "A=1 'B=2").kept is None


@pytest.mark.parametrize(
    ("text", "path", "optional"),
    [("/etc/default/x", "/etc/default/x", False), ("-/etc/x", "/etc/x", True), ("%t/x y", "/run/x y", False)],
)
def test_an_environment_file_is_absolute_and_may_be_allowed_to_miss(text: str, path: str, optional: bool) -> None:
    assert read(commands.ENVIRONMENT_FILE, text) == (MaybePath(path, optional),)


@pytest.mark.parametrize("text", ["etc/x", "-etc", "~", "/a/../b", '"/etc/x"'])
def test_an_environment_file_that_is_not_absolute_is_refused(text: str) -> None:
    refused(commands.ENVIRONMENT_FILE, text)


def test_a_directory_is_absolute_or_the_home() -> None:
    assert read(commands.DIRECTORY, "/srv") == MaybePath("/srv")
    assert read(commands.DIRECTORY, "-/srv") == MaybePath("/srv", True)
    assert read(commands.DIRECTORY, "~") == MaybePath("~")
    assert read(commands.DIRECTORY, "") is RESET
    assert str(MaybePath("/srv", True)) == "-/srv"
    for text in ("srv", "~/x", "~root", "/a/.."):
        refused(commands.DIRECTORY, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inherit", Stream("inherit")),
        ("null", Stream("null")),
        ("journal", Stream("journal")),
        ("socket", Stream("socket")),
        ("syslog", Stream("journal")),
        ("journal+console", Stream("journal")),
        ("file:/tmp/a b", Stream("file", "/tmp/a b")),
        ("append:%t/x", Stream("append", "/run/x")),
        ("truncate:/x:y", Stream("truncate", "/x:y")),
        ("kmsg", Stream("kmsg")),
        ("kmsg+console", Stream("kmsg")),
        ("tty", Stream("tty")),
        ("fd", Stream("fd")),
        ("fd:%p", Stream("fd", "web")),
    ],
)
def test_output_streams_are_words_or_files(text: str, expected: Stream) -> None:
    assert read(OUTPUTS, text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "printer", "file:", "file:x", "append:", "tty:/dev/tty1", "NULL", "null:/x", "file", ":/x", "fd:", "fd:a:b", "fd:%Z"],
)
def test_no_other_output_stream_is_applied(text: str) -> None:
    refused(OUTPUTS, text)


def test_input_streams_are_words_or_a_file_or_a_descriptor() -> None:
    for word in ("null", "socket", "data", "tty", "tty-force", "tty-fail", "fd"):
        assert read(INPUTS, word) == Stream(word)
    assert read(INPUTS, "file:/x") == Stream("file", "/x")
    assert read(INPUTS, "fd:web") == Stream("fd", "web")
    for text in ("journal", "append:/x", "inherit", "", "fd:", "file:x", "tty:/dev/tty1"):
        refused(INPUTS, text)


def test_streams_are_shown_as_they_are_written() -> None:
    assert OUTPUTS.show(Stream("append", "/x")) == "append:/x"
    assert OUTPUTS.show(Stream("null")) == "null"


# Paths


def test_a_path_is_absolute_and_simplified() -> None:
    assert read(commands.PATH, "/run//netns/./blue/") == "/run/netns/blue"
    assert read(commands.PATH, "%t/x y") == "/run/x y"
    assert read(commands.PATH, "") is RESET
    for text in ("blue", "/run/../x", "~", "-/x", "%Z"):
        refused(commands.PATH, text)


def test_paths_are_words_and_each_must_be_one() -> None:
    assert read(commands.PATHS, """/run/a '/run/b c' "%t/d" """) == ("/run/a", "/run/b c", "/run/d")
    assert commands.PATHS.show(("/run/a", "/run/b")) == ["/run/a", "/run/b"]
    assert read(commands.PATHS, "") is RESET


@pytest.mark.parametrize(
    ("text", "part"), [("/a b /c", "b"), ("/a /b/../c", "/b/../c"), ("/a '/x", "'"), ("/a %Z", "%Z"), ("/a 'b c'", "'b c'")]
)
def test_the_word_that_is_no_path_is_pointed_at(text: str, part: str) -> None:
    invalid = refused(commands.PATHS, text)
    assert text[invalid.start : invalid.end] == part
