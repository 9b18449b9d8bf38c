"""What has to be there before a command starts that asks for more than most: its account, directories, credentials, opened files,
terminal. And what is taken away when the unit ends.

The child plan says what is wanted; this looks up, makes and opens. Loaded when a unit asks for any of it.
"""

from __future__ import annotations

import errno
import os
from functools import partial

from sockact.lifecycle.extras import places
from sockact.record import TYPE_CHECKING, Record
from sockact.runtime.spawn import Failure, NotPreparedError, attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.lifecycle.child import ChildPlan, Extras, Place
    from sockact.runtime.kernel import Account, Kernel
    from sockact.runtime.spawn import Preparation
    from sockact.unit.directives.execution import ExecutionSection
    from sockact.unit.places import Credential, OpenFile

    Note = Callable[[str], None]

SOCKETS = ("SOCK_DGRAM", "SOCK_STREAM", "SOCK_SEQPACKET")
"""What OpenFile= tries where a socket is, in the order of systemd."""
LARGEST_CREDENTIALS = 1 << 20
"""Bytes of all credentials of a unit."""


class Provided(Record):
    """What was found, made and opened."""

    account: Account | None = None
    variables: dict[str, str] = {}
    descriptors: tuple[int, ...] = ()
    fd_names: tuple[str, ...] = ()


def provide(preparation: Preparation, account: Account | None) -> Provided:
    """Everything, in the order in which one needs the other."""
    kernel, plan, unit = preparation.kernel, preparation.plan, preparation.unit
    extras = plan.extras
    account = _account(kernel, plan, account, unit)
    owned = extras.places or any(extras.credentials) or extras.terminal
    uid, gid = _owner(kernel, extras, unit) if owned else (-1, -1)
    variables = _login(kernel, extras, account)
    for place in extras.places:
        attempt(f"making the {place.kind.lower()} directory", place.status, partial(_make, kernel, place, extras.root, uid, gid))
        variables[f"{place.kind}_DIRECTORY"] = ":".join(directory.path for directory in place.directories)
    if any(extras.credentials):
        variables["CREDENTIALS_DIRECTORY"] = attempt("providing the credentials", 243, partial(_credentials, preparation, uid))
    if extras.terminal:
        variables |= _terminal(kernel, plan, uid)
    if extras.search:
        variables["PATH"] = extras.search
    variables |= {name: os.environ[name] for name in extras.passed if name in os.environ}
    descriptors, names = _open_files(kernel, extras.open_files, preparation.opened)
    return Provided(account, variables, descriptors, names)


def release(kernel: Kernel, section: ExecutionSection, unit: str, restarts: bool) -> None:
    """Take away what does not outlive the unit, or its restarts. OSError for the first thing that will not go."""
    root = section.root_directory or ""
    if section.runtime_preserve == "no" or (section.runtime_preserve == "restart" and not restarts):
        for directory in section.runtime_directory:
            for link in [directory.link] if directory.link else []:
                kernel.places.remove_tree(f"{root}{directory.base}/{link}")
            kernel.places.remove_tree(root + directory.path)
    if section.load_credential or section.import_credential or section.set_credential:
        kernel.places.withdraw(root + kernel.places.credentials_folder(unit))
    if section.dynamic_user and not restarts:
        for place in places(section):
            for directory in place.directories if place.kind not in ("RUNTIME", "CONFIGURATION") else ():
                kernel.places.lock_away(root + directory.path)
        kernel.places.give_back(_dynamic_name(section.user, unit))


# Accounts


def _account(kernel: Kernel, plan: ChildPlan, account: Account | None, unit: str) -> Account | None:
    extras = plan.extras
    if extras.dynamic and not plan.command.is_privileged:
        account = attempt(
            "allocating a user id", 217, lambda: kernel.places.dynamic_account(_dynamic_name(extras.owner[0], unit))
        )
    if extras.supplementary:
        more = attempt("finding the groups", 216, lambda: [kernel.group_id(group) for group in extras.supplementary])
        account = account or kernel.account(None, None)
        account = account.replace(groups=tuple(dict.fromkeys((*account.groups, *more))))
    return account


def _dynamic(kernel: Kernel, extras: Extras, unit: str) -> Account:
    name = _dynamic_name(extras.owner[0], unit)
    return attempt("allocating a user id", 217, lambda: kernel.places.dynamic_account(name))


def _dynamic_name(user: str | None, unit: str) -> str:
    """User=, or the name of the unit as far as it makes one."""
    stem = unit.rpartition(".")[0]
    return user or "".join(c if c.isalnum() or c in "-_" else "-" for c in stem)[:31] or "dynamic"


def _owner(kernel: Kernel, extras: Extras, unit: str) -> tuple[int, int]:
    """To whom directories and credentials belong; -1 where the unit says nothing."""
    user, group = extras.owner
    if extras.dynamic:
        dynamic = _dynamic(kernel, extras, unit)
        return dynamic.uid, dynamic.gid
    if not user and not group:
        return -1, -1
    gid = attempt("finding the group", 216, lambda: kernel.group_id(group)) if group else None
    found = attempt("finding the user", 217, lambda: kernel.account(user, gid))
    return found.uid if user else -1, found.gid


def _login(kernel: Kernel, extras: Extras, account: Account | None) -> dict[str, str]:
    if extras.login is False:
        return {}
    if account and account.environment:
        return dict(account.environment)
    me = str(kernel.ids()[0])
    return dict(attempt("finding the user", 217, lambda: kernel.account(me, None)).environment) if extras.login else {}


# Directories


def _make(kernel: Kernel, place: Place, root: str, uid: int, gid: int) -> None:
    for directory in place.directories:
        path = root + directory.path
        kernel.places.make_directory(path, place.mode, uid, gid, place.kind == "CONFIGURATION")
        if directory.link:
            kernel.places.make_link(f"{root}{directory.base}/{directory.link}", path)


# Credentials


def _credentials(preparation: Preparation, uid: int) -> str:
    kernel, plan, unit = preparation.kernel, preparation.plan, preparation.unit
    folder, invocation = kernel.places.credentials_folder(unit), plan.handed.get("INVOCATION_ID", "")
    inside = plan.extras.root + folder
    if not kernel.places.has_credentials(inside, invocation):
        contents = _gathered(kernel, plan.extras.credentials, unit)
        owner = kernel.ids()[0] if uid < 0 else uid
        if not kernel.places.provide(inside, contents, owner, invocation):
            preparation.note(f"credentials are in {inside}, which may be swapped out: no file system can be mounted here")
    return folder


def _gathered(
    kernel: Kernel, credentials: tuple[tuple[Credential, ...], tuple[Credential, ...], tuple[Credential, ...]], unit: str
) -> dict[str, bytes]:
    """What is loaded wins over what is imported, and that over what is given in the unit."""
    load, imported, given = credentials
    found: dict[str, bytes] = {}
    for one in load:
        found |= _loaded(kernel, one, unit, any(other.name == one.name for other in given))
    for one in imported:
        begins = one.name.removesuffix("*")
        wanted = begins.__eq__ if begins == one.name else lambda name, begins=begins: name.startswith(begins)
        found = dict(kernel.places.stored_credentials(wanted, LARGEST_CREDENTIALS)) | found
    contents = {one.name: one.given or b"" for one in given} | found
    if sum(map(len, contents.values())) > LARGEST_CREDENTIALS:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return contents


def _loaded(kernel: Kernel, one: Credential, unit: str, has_default: bool) -> dict[str, bytes]:
    """One LoadCredential=. What is missing is missing for the command to see where it was to be inherited; a path must lead
    somewhere, unless SetCredential= has something in its stead."""
    if not one.source.startswith("/"):
        stored = dict(kernel.places.stored_credentials(one.source.__eq__, LARGEST_CREDENTIALS))
        return {one.name: stored[one.source]} if one.source in stored else {}
    try:
        caller = f"{unit}/{one.name}"
        return {
            f"{one.name}{suffix}": data for suffix, data in kernel.places.read_credential(one.source, LARGEST_CREDENTIALS, caller)
        }
    except FileNotFoundError:
        if has_default:
            return {}
        raise


# Terminals, opened files


def _terminal(kernel: Kernel, plan: ChildPlan, uid: int) -> dict[str, str]:
    terminal = plan.extras.terminal
    assert terminal is not None
    owner = uid if terminal.used else -1
    if terminal.hang_up or terminal.reset or terminal.size != (None, None) or owner >= 0:
        action = partial(kernel.places.prepare_terminal, terminal.path, terminal.hang_up, terminal.reset, terminal.size, owner)
        attempt("preparing the terminal", 208, action)
    return {"TERM": plan.base.get("TERM", "vt220")} if terminal.used else {}


def _open_files(kernel: Kernel, files: tuple[OpenFile, ...], opened: list[int]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    found: list[tuple[int, str]] = []
    for file in files:
        try:
            fd = kernel.places.connect(file.path, *SOCKETS)
            fd = kernel.places.open_file(file.path, file.how) if fd < 0 else fd
        except OSError as error:
            if file.graceful:
                continue
            raise NotPreparedError(Failure(f"opening {file.path}", 202, error.errno or 0)) from error
        opened.append(fd)
        found.append((fd, file.name))
    return tuple(fd for fd, _ in found), tuple(name for _, name in found)
