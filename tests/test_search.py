"""Unit files as systemd finds them: folders in their order, templates, drop-ins, aliases, masks; all with real files.

Where systemd 252 was asked what it makes of the same files, the test says so. `examples` writes a tree from a table:
text is a file, `->` a symbolic link.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from sockact.runtime import search
from sockact.unit.diagnostics import Diagnostic, render
from sockact.unit.gather import Host, Source, UnitSet, gather
from tests.fakes import FACTS, SERVICE

SOCKET = "[Socket]\nListenStream=80\n"
EMPTY = ""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders to search, `1` before `2`; the current directory holds nothing."""
    for name in ("1", "2", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv(search.PATH_VARIABLE, raising=False)
    return tmp_path


def examples(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            path.symlink_to(text.removeprefix("->").strip())
        else:
            path.write_text(text)


def finder(folder: Path) -> search.Finder:
    return search.Finder((str(folder / "1"), str(folder / "2")))


def found(folder: Path, name: str) -> Source:
    source = finder(folder).find(name)
    assert isinstance(source, Source), source
    return source


def wrong(folder: Path, name: str) -> Diagnostic:
    source = finder(folder).find(name)
    assert isinstance(source, Diagnostic), source
    return source


def drop_ins(folder: Path, name: str) -> list[str]:
    return [os.path.relpath(file, folder) for file, _ in found(folder, name).drop_ins]


def gathered(folder: Path, *requests: str) -> UnitSet:
    return gather(requests, finder(folder).find, Host(FACTS))


# Folders


def test_the_folders_of_sockact_are_searched_after_those_of_the_variable_and_those_of_systemd_only_if_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(search.PATH_VARIABLE, f"{folder}/1:{folder}/2")
    own = (f"{folder}/beside", "", f"{folder}/1", f"{folder}/2", "/etc/sockact", "/run/sockact")
    assert search.finder([f"{folder}/beside/web.socket"]).folders == own
    folders = search.finder([f"{folder}/beside/web.socket"], system_units=True).folders
    assert folders[: len(own)] == own
    assert folders[len(own) :][:3] == ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system")


@pytest.mark.parametrize("value", ["{0}/1", "{0}/1:", ":{0}/1", "{0}/1::", ":{0}/1:"])
def test_an_empty_entry_of_the_variable_means_nothing_for_the_default_folders_always_follow(
    folder: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(search.PATH_VARIABLE, value.format(folder))
    assert search.finder(["web.socket"]).folders == ("", f"{folder}/1", "/etc/sockact", "/run/sockact")


def test_a_folder_is_searched_once_by_whatever_paths_it_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "lib").symlink_to(folder / "1")
    monkeypatch.setenv(search.PATH_VARIABLE, f"{folder}/1/:{folder}/lib:{folder}/here:/no/such:/no/such")
    assert search.finder(["./web.socket"]).folders == (".", f"{folder}/1/", "/no/such", "/etc/sockact", "/run/sockact")


def test_a_name_belongs_to_the_first_folder_that_has_it(folder: Path) -> None:
    examples(folder, {"1/web.socket": SOCKET, "2/web.socket": SOCKET, "2/db.socket": SOCKET})
    assert found(folder, "web.socket").file == f"{folder}/1/web.socket"
    assert found(folder, "db.socket").file == f"{folder}/2/db.socket"
    assert str(folder / "2") in wrong(folder, "none.socket").hint


def test_a_path_is_looked_for_nowhere_else(folder: Path) -> None:
    examples(folder, {"1/web.socket": SOCKET, "2/web.socket": SOCKET, "file": "no folder"})
    assert found(folder, f"{folder}/2/web.socket").file == f"{folder}/2/web.socket"
    for path in ("none/web.socket", "file/web.socket", f"1/{'x' * 300}.socket"):
        assert wrong(folder, f"{folder}/{path}").message == "no such file"


def test_an_instance_with_a_file_in_any_folder_does_not_come_from_the_template(folder: Path) -> None:
    """As systemd 252: it looks for the literal name everywhere first."""
    examples(folder, {"1/web@.service": SERVICE, "2/web@a.service": SERVICE})
    assert found(folder, "web@a.service").file == f"{folder}/2/web@a.service"
    assert found(folder, "web@b.service").file == f"{folder}/1/web@.service"


def test_folders_are_read_once_for_all_units(folder: Path) -> None:
    """What is found belongs together: a unit that appears later is for the next search."""
    examples(folder, {"1/web.socket": SOCKET})
    once = finder(folder)
    assert isinstance(once.find("web.socket"), Source)
    examples(folder, {"1/late.socket": SOCKET})
    assert isinstance(once.find("late.socket"), Diagnostic)
    assert isinstance(finder(folder).find("late.socket"), Source)


def test_a_finder_stays_frozen_and_equal_whatever_it_has_read(folder: Path) -> None:
    one, other = finder(folder), finder(folder)
    one.find("web.socket")
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(AttributeError):
        one.folders = ()  # type: ignore[misc]


# Drop-ins


@pytest.mark.parametrize(
    ("name", "directories"),
    [
        ("web.socket", ["web.socket"]),
        ("foo-bar-baz.socket", ["foo-bar-baz.socket", "foo-bar-.socket", "foo-.socket"]),
        ("web@1.service", ["web@1.service", "web@.service"]),
        # An order only systemd could think of; asked of 252 with files of one name in all of them.
        ("foo-bar@1.service", ["foo-bar@1.service", "foo-bar@.service", "foo-.service", "foo-@1.service", "foo-@.service"]),
        ("tr-.service", ["tr-.service"]),
        ("tr--x.service", ["tr--x.service", "tr--.service", "tr-.service"]),
        ("-lead.service", ["-lead.service"]),
    ],
)
def test_a_unit_has_drop_ins_by_its_name_its_template_its_prefixes_and_its_type(
    folder: Path, name: str, directories: list[str]
) -> None:
    kind = name.rpartition(".")[2]
    examples(folder, {f"1/{name}": SERVICE, f"1/foo.{kind}.d/not.conf": "#", f"1/unrelated.{kind}.d/not.conf": "#"})
    directories = [*directories, kind]
    for index, directory in enumerate(directories):
        examples(folder, {f"1/{directory}.d/{9 - index}.conf": "#", f"1/{directory}.d/same.conf": "#"})
    expected = [f"1/{directory}.d/{9 - index}.conf" for index, directory in enumerate(directories)]
    assert drop_ins(folder, name) == [*reversed(expected), f"1/{directories[0]}.d/same.conf"]
    for index in range(len(directories)):
        (folder / f"1/{directories[index]}.d/same.conf").unlink()
        rest = directories[index + 1 :]
        assert drop_ins(folder, name)[len(directories) :] == ([f"1/{rest[0]}.d/same.conf"] if rest else [])


def test_drop_ins_apply_in_the_order_of_their_names_wherever_they_are(folder: Path) -> None:
    files = ("1/web.socket.d/30.conf", "2/web.socket.d/20.conf", "1/socket.d/40.conf", "2/socket.d/10.conf")
    examples(folder, {"2/web.socket": SOCKET, **dict.fromkeys(files, "#")})
    assert drop_ins(folder, "web.socket") == sorted(files, key=os.path.basename)


@pytest.mark.parametrize(
    ("winner", "other"),
    [
        ("1/web-a.socket.d", "2/web-a.socket.d"),
        ("1/web-.socket.d", "2/web-a.socket.d"),
        ("2/web-a.socket.d", "1/socket.d"),
        ("2/web-.socket.d", "1/socket.d"),
        ("2/web-a.socket.d", "1/alias.socket.d"),
        ("2/alias.socket.d", "1/socket.d"),
    ],
)
def test_of_drop_ins_with_one_name_the_earlier_folder_wins_but_the_type_never_and_aliases_only_against_the_type(
    folder: Path, winner: str, other: str
) -> None:
    """All pairs as systemd 252 decides them: the folder counts more than how specific the directory is."""
    examples(folder, {"2/web-a.socket": SOCKET, "2/alias.socket": "-> web-a.socket"})
    examples(folder, {f"{winner}/x.conf": "#", f"{other}/x.conf": "#"})
    assert drop_ins(folder, "web-a.socket") == [f"{winner}/x.conf"]


def test_only_names_that_end_in_conf_and_start_without_a_dot_are_drop_ins(folder: Path) -> None:
    names = ("a.conf", ".hidden.conf", "b.conf~", "README", "c.conf.bak", "conf")
    examples(folder, {"1/web.socket": SOCKET, **{f"1/web.socket.d/{name}": "#" for name in names}})
    assert drop_ins(folder, "web.socket") == ["1/web.socket.d/a.conf"]


@pytest.mark.parametrize("mask", ["-> /dev/null", EMPTY])
def test_an_empty_drop_in_or_a_link_to_dev_null_hides_those_of_its_name_and_does_nothing_else(folder: Path, mask: str) -> None:
    examples(folder, {"1/web.socket": SOCKET, "1/web.socket.d/a.conf": mask, "2/web.socket.d/a.conf": "nonsense"})
    assert drop_ins(folder, "web.socket") == []


def test_a_drop_in_that_leads_nowhere_is_an_error_that_says_where_to(folder: Path) -> None:
    examples(folder, {"1/web.socket": SOCKET, "1/web.socket.d/a.conf": "-> gone.conf"})
    problem = wrong(folder, "web.socket")
    assert (problem.code, problem.file) == ("SA030", f"{folder}/1/web.socket.d/a.conf")
    assert f"{folder}/1/web.socket.d/gone.conf, which does not exist" in problem.message


def test_what_is_named_like_a_directory_of_drop_ins_and_is_none_is_passed_over(folder: Path) -> None:
    examples(folder, {"1/web.socket": SOCKET, "1/web.socket.d": "a file", "2/web.socket.d": "-> nowhere"})
    assert drop_ins(folder, "web.socket") == []


def test_a_directory_of_drop_ins_may_be_a_link(folder: Path) -> None:
    examples(folder, {"1/web.socket": SOCKET, "shared/a.conf": "#", "1/web.socket.d": "-> ../shared"})
    assert drop_ins(folder, "web.socket") == ["1/web.socket.d/a.conf"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody who is not")
def test_a_directory_of_drop_ins_that_may_not_be_read_is_an_error_and_not_skipped(folder: Path) -> None:
    examples(folder, {"1/web.socket": SOCKET, "1/web.socket.d/a.conf": "#"})
    (folder / "1/web.socket.d").chmod(0)
    # Only the last folder of the path is open to others; so be there before leaving root.
    code = "import os, sys; from sockact.runtime.search import Finder; os.chdir(sys.argv[1]); os.setuid(65534)"
    command = [sys.executable, "-c", f"{code}; print(Finder(('',)).find('web.socket'))", str(folder / "1")]
    root = str(Path(search.__file__).parents[2])
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert "file='web.socket.d'" in done.stdout
    assert "cannot be read: Permission denied" in done.stdout


# Aliases


def known_as(folder: Path, name: str) -> tuple[str, str]:
    source = found(folder, name)
    return source.name, os.path.relpath(source.file, folder)


def test_a_link_to_another_name_is_an_alias_and_the_unit_is_the_one_it_leads_to(folder: Path) -> None:
    examples(folder, {"1/web.socket": SOCKET, "1/http.socket": "-> web.socket", "2/ftp.socket": f"-> {folder}/1/http.socket"})
    for name in ("web.socket", "http.socket", "ftp.socket", f"{folder}/1/http.socket", f"{folder}/2/ftp.socket"):
        assert known_as(folder, name) == ("web.socket", "1/web.socket")


def test_where_an_alias_leads_does_not_matter_but_to_which_name(folder: Path) -> None:
    """systemd.unit(5): "the symlink target path is not used"; so an administrator's unit replaces a packaged one."""
    examples(folder, {"1/web.socket": SOCKET, "2/web.socket": SOCKET, "2/http.socket": "-> web.socket"})
    examples(folder, {"1/gone.socket": "-> web.socket", "1/far.socket": f"-> {folder}/2/../2/web.socket"})
    for name in ("http.socket", "gone.socket", "far.socket"):
        assert known_as(folder, name) == ("web.socket", "1/web.socket")
    (folder / "1/web.socket").unlink()
    for name in ("http.socket", "gone.socket", "far.socket"):
        assert known_as(folder, name) == ("web.socket", "2/web.socket")


def test_the_drop_ins_of_all_names_of_a_unit_count_by_whatever_name_it_was_asked_for(folder: Path) -> None:
    examples(folder, {"1/web.socket": SOCKET, "1/http-x.socket": "-> web.socket", "2/ftp.socket": "-> http-x.socket"})
    names = ("web", "http-x", "http-", "ftp")
    examples(folder, {f"2/{name}.socket.d/{name}.conf": "#" for name in names})
    expected = [f"2/{name}.socket.d/{name}.conf" for name in sorted(names)]
    for name in ("web.socket", "http-x.socket", "ftp.socket"):
        assert drop_ins(folder, name) == expected


def test_a_file_in_an_earlier_folder_hides_an_alias(folder: Path) -> None:
    examples(folder, {"2/web.socket": SOCKET, "2/http.socket": "-> web.socket", "1/http.socket": SOCKET})
    examples(folder, {"1/http.socket.d/a.conf": "#"})
    assert known_as(folder, "http.socket") == ("http.socket", "1/http.socket")
    assert drop_ins(folder, "web.socket") == []


@pytest.mark.parametrize(
    ("name", "unit", "file"),
    [
        ("http@1.service", "web@1.service", "web@.service"),
        ("web@2.service", "web@2.service", "web@2.service"),
        ("web@3.service", "web@3.service", "web@.service"),
        ("one@4.service", "web@4.service", "web@.service"),
        ("two@5.service", "web@5.service", "web@.service"),
        ("http@.service", "web@.service", "web@.service"),
    ],
)
def test_an_alias_of_a_template_is_one_for_its_instances_and_an_instance_stays_what_it_is(
    folder: Path, name: str, unit: str, file: str
) -> None:
    files = {"web@.service": SERVICE, "http@.service": "-> web@.service", "web@2.service": SERVICE}
    links = {"web@3.service": "-> web@.service", "one@4.service": "-> web@.service", "two@5.service": "-> web@5.service"}
    examples(folder, {f"1/{given}": text for given, text in (files | links).items()})
    assert known_as(folder, name) == (unit, f"1/{file}")


def test_an_instance_has_the_drop_ins_of_the_aliases_of_its_template_and_of_its_own(folder: Path) -> None:
    """As systemd 252 for t@1, but for the aliases of other instances and those with a file of their own."""
    links = {"a@.service": "-> t@.service", "i@1.service": "-> t@.service", "j@1.service": "-> t@1.service"}
    others = {"k@2.service": "-> t@.service", "o@.service": "-> t@.service", "o@1.service": SERVICE}
    examples(folder, {f"1/{name}": text for name, text in {"t@.service": SERVICE, **links, **others}.items()})
    for name in ("a@", "i@1", "j@1", "t@1", "j@", "i@", "k@2", "k@", "o@1", "o@"):
        examples(folder, {f"1/{name}.service.d/{name}.conf": "#"})
    expected = [f"1/{name}.service.d/{name}.conf" for name in ("a@", "i@", "i@1", "j@", "j@1", "t@1")]
    for name in ("t@1.service", "a@1.service", "i@1.service", "j@1.service"):
        assert drop_ins(folder, name) == expected


@pytest.mark.parametrize(
    ("link", "target", "reason"),
    [
        ("web.socket", "web.service", "not the name of a socket unit"),
        ("web.socket", "web.socket.old", "not the name of a socket unit"),
        ("web.socket", "we b.socket", "not the name of a socket unit"),
        ("web.socket", "web@.socket", "same instance"),
        ("web.socket", "web@1.socket", "same instance"),
        ("web@1.socket", "web@2.socket", "same instance"),
        ("web@1.socket", "web.socket", "same instance"),
    ],
)
def test_a_link_that_cannot_be_an_alias_is_refused_as_systemd_refuses_it(
    folder: Path, link: str, target: str, reason: str
) -> None:
    examples(folder, {f"1/{target}": SOCKET, f"1/{link}": f"-> {target}"})
    for request in (link, f"{folder}/1/{link}"):
        problem = wrong(folder, request)
        assert (problem.code, problem.file) == ("SA031", f"{folder}/1/{link}")
        assert f"alias of {target}" in problem.message
        assert reason in problem.message


def test_a_link_out_of_the_folders_searched_is_a_way_to_a_file_of_whatever_name(folder: Path) -> None:
    """A "linked unit file" of systemd.unit(5)."""
    examples(folder, {"elsewhere/app.conf": SOCKET, "1/web.socket": "-> ../elsewhere/app.conf", "1/sub/x.socket": SOCKET})
    examples(folder, {"1/below.socket": "-> sub/x.socket"})
    assert known_as(folder, "web.socket") == ("web.socket", "1/web.socket")
    assert found(folder, "web.socket").data == SOCKET.encode()
    assert known_as(folder, "below.socket") == ("below.socket", "1/below.socket")


def test_a_link_to_the_same_name_is_a_way_to_a_file(folder: Path) -> None:
    """As kubelet mounts a ConfigMap, and as `systemctl enable` makes links."""
    examples(folder, {"1/..2024/web.socket": SOCKET, "1/..data": "-> ..2024", "1/web.socket": "-> ..data/web.socket"})
    examples(folder, {"2/db.socket": SOCKET, "1/db.socket": "-> ../2/db.socket", "2/sql.socket": "-> db.socket"})
    examples(folder, {"1/sql.socket": "-> ../2/sql.socket"})
    assert known_as(folder, "web.socket") == ("web.socket", "1/web.socket")
    assert known_as(folder, "db.socket") == ("db.socket", "1/db.socket")
    assert known_as(folder, "sql.socket") == ("db.socket", "1/db.socket")


def test_an_enabled_unit_given_by_path_finds_its_companions_beside_the_file_it_leads_to(folder: Path) -> None:
    examples(folder, {"lib/web.socket": SOCKET, "lib/web.service": SERVICE, "lib/web.socket.d/a.conf": "#"})
    link = folder / "etc/sockets.target.wants/web.socket"
    examples(folder, {str(link.relative_to(folder)): "-> ../../lib/web.socket"})
    search_beside = search.finder([str(link)])
    assert search_beside.folders[:2] == (str(link.parent), str(folder / "lib"))
    units = gather([str(link)], search_beside.find, Host(FACTS))
    assert (units.diagnostics, list(units.sockets), list(units.services)) == ((), ["web.socket"], ["web.service"])


def test_an_alias_of_what_is_nowhere_is_told_with_the_link_and_the_folders(folder: Path) -> None:
    examples(folder, {"1/web.socket": "-> gone.socket"})
    problem = wrong(folder, "web.socket")
    assert (problem.code, problem.file) == ("SA030", f"{folder}/1/web.socket")
    assert "an alias of gone.socket" in problem.message
    assert str(folder / "2") in problem.hint


def test_a_link_out_of_the_folders_that_leads_nowhere_is_told_with_its_target(folder: Path) -> None:
    examples(folder, {"1/web.socket": "-> /no/such/web.socket", "2/web.socket": SOCKET})
    for request in ("web.socket", f"{folder}/1/web.socket"):
        problem = wrong(folder, request)
        assert render(problem).startswith(f"{folder}/1/web.socket: error[SA030]: this link leads to /no/such/web.socket, which")


@pytest.mark.parametrize(
    "links",
    [
        {"1/a.socket": "-> b.socket", "1/b.socket": "-> a.socket"},
        {"1/a.socket": "-> a.socket"},
        {"1/a.socket": "-> ../2/a.socket", "2/a.socket": "-> ../1/a.socket"},
        {"1/a.socket": "-> b.socket", "2/b.socket": "-> c.socket", "2/c.socket": "-> b.socket"},
    ],
)
def test_links_in_a_circle_are_told(folder: Path, links: dict[str, str]) -> None:
    examples(folder, links)
    for request in ("a.socket", f"{folder}/1/a.socket"):
        problem = wrong(folder, request)
        assert (problem.code, problem.file) == ("SA030", f"{folder}/1/a.socket")
        assert "symbolic links" in problem.message


def test_links_that_are_wrong_do_not_concern_other_units(folder: Path) -> None:
    links = {"bad.socket": "-> web.service", "loop.socket": "-> loop.socket", "gone.socket": "-> nowhere.socket"}
    examples(folder, {"1/web.socket": SOCKET, **{f"1/{name}": target for name, target in links.items()}})
    assert known_as(folder, "web.socket") == ("web.socket", "1/web.socket")


def test_an_alias_is_loaded_once_with_the_unit_it_names(folder: Path) -> None:
    examples(folder, {"1/web.socket": SOCKET, "1/web.service": SERVICE, "1/http.socket": "-> web.socket"})
    for requests in (("http.socket",), ("http.socket", "web.socket"), ("web.socket", f"{folder}/1/http.socket")):
        units = gathered(folder, *requests)
        assert (units.diagnostics, list(units.sockets), list(units.services)) == ((), ["web.socket"], ["web.service"])


# Masks


@pytest.mark.parametrize("mask", ["-> /dev/null", EMPTY, "-> masked"])
def test_a_masked_unit_is_not_looked_for_in_later_folders(folder: Path, mask: str) -> None:
    examples(folder, {"masked": EMPTY, "1/web.socket": mask.replace("masked", "../masked"), "2/web.socket": SOCKET})
    problem = wrong(folder, "web.socket")
    assert (problem.code, problem.file) == ("SA030", f"{folder}/1/web.socket")
    assert "web.socket is masked" in problem.message


def test_an_alias_of_a_masked_unit_is_masked(folder: Path) -> None:
    examples(folder, {"1/web.socket": "-> /dev/null", "2/web.socket": SOCKET, "2/http.socket": "-> web.socket"})
    problem = wrong(folder, "http.socket")
    assert problem.file == f"{folder}/1/web.socket"
    assert "web.socket is masked" in problem.message


def test_a_socket_whose_service_or_template_is_masked_has_no_service(folder: Path) -> None:
    """systemd: the socket cannot be started."""
    examples(folder, {"1/web.socket": SOCKET, "1/web.service": "-> /dev/null", "2/web.service": SERVICE})
    examples(folder, {"1/each.socket": SOCKET + "Accept=yes\n", "1/each@.service": EMPTY})
    (problem,) = gathered(folder, "web.socket").diagnostics
    assert (problem.code, problem.file) == ("SA032", f"{folder}/1/web.socket")
    assert "web.service is masked" in problem.message
    (problem,) = gathered(folder, "each.socket").diagnostics
    assert problem.code == "SA032"
    assert "each@.service is masked" in problem.message
