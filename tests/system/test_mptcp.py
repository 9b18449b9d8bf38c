"""Multipath TCP, for real: who speaks it gets it, who does not gets plain TCP, and a kernel that refuses is quoted."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import PATIENCE, PROBE, Address, answer, connect, free_port, in_shell, refused, started, write_units

IPPROTO_MPTCP = 262
TCP_IS_MPTCP = 43
IS_MPTCP = f"option:{socket.IPPROTO_TCP}:{TCP_IS_MPTCP}"
NODELAY = f"option:{socket.IPPROTO_TCP}:{socket.TCP_NODELAY}"
LOOPBACK = {"IPv4": "127.0.0.1", "IPv6": "::1"}


def lacking() -> str:
    """Why there is no Multipath TCP here, if there is none."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP).close()
    except OSError as error:
        return f"this kernel offers no Multipath TCP (CONFIG_MPTCP, sysctl net.mptcp.enabled): {error}"
    return ""


needs_mptcp = pytest.mark.skipif(bool(lacking()), reason=lacking() or "it does")
families = pytest.mark.parametrize("host", [pytest.param(host, id=name) for name, host in LOOPBACK.items()])


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextmanager
def listening(folder: Path, host: str, protocol: str, *aspects: str, accept: bool = True, lines: str = "") -> Iterator[Address]:
    port = free_port(socket.AF_INET6 if ":" in host else socket.AF_INET)
    text = f"[Socket]\nListenStream={bracketed(host)}:{port}\nSocketProtocol={protocol}\n{lines}\n"
    files = {
        "one.socket": text + ("Accept=yes\n" if accept else ""),
        "one@.service" if accept else "one.service": f"[Service]\nExecStart={PROBE} answer {' '.join(aspects)}",
    }
    with started(write_units(folder, files)[0]):
        yield host, port


def is_mptcp(client: socket.socket) -> int:
    return client.getsockopt(socket.IPPROTO_TCP, TCP_IS_MPTCP)


@needs_mptcp
@families
def test_the_listener_in_the_service_is_a_multipath_one(host: str, tmp_path: Path) -> None:
    with listening(tmp_path, host, "mptcp", "sockets", accept=False) as address:
        client = connect(address, protocol=IPPROTO_MPTCP)
        client.sendall(b"hello\n")
        (listener,) = answer(client)["sockets"]
    assert (listener["type"], listener["protocol"], listener["listens"]) == ("SOCK_STREAM", IPPROTO_MPTCP, True)


@needs_mptcp
@families
@pytest.mark.parametrize(
    ("listener", "client", "both"),
    [("mptcp", IPPROTO_MPTCP, (262, 1)), ("mptcp", 0, (6, 0)), ("tcp", IPPROTO_MPTCP, (6, 0)), ("", IPPROTO_MPTCP, (6, 0))],
    ids=["mptcp to mptcp", "tcp to mptcp", "mptcp to tcp", "mptcp to the default"],
)
def test_multipath_is_spoken_if_both_sides_speak_it_and_plain_tcp_otherwise(
    host: str, listener: str, client: int, both: tuple[int, int], tmp_path: Path
) -> None:
    with listening(tmp_path, host, listener, "sockets", IS_MPTCP) as address:
        ours = connect(address, protocol=client)
        ours.sendall(b"hello\n")
        on_our_side = is_mptcp(ours)
        found = answer(ours)
    assert (found["sockets"][0]["protocol"], found["options"][0][IS_MPTCP]) == both
    assert on_our_side == both[1]


@needs_mptcp
@pytest.mark.parametrize("client", [0, IPPROTO_MPTCP], ids=["tcp", "mptcp"])
@pytest.mark.parametrize(("line", "expected"), [("NoDelay=yes", True), ("", False)])
def test_a_connection_has_the_options_of_its_listener(line: str, expected: bool, client: int, tmp_path: Path) -> None:
    with listening(tmp_path, "127.0.0.1", "mptcp", NODELAY, lines=line) as address:
        ours = connect(address, protocol=client)
        ours.sendall(b"hello\n")
        assert bool(answer(ours)["options"][0][NODELAY]) is expected


@needs_mptcp
@pytest.mark.parametrize("name", ["mptcp", "MPTCP", "262", "0x106"])
def test_multipath_may_be_asked_for_by_name_in_any_case_and_by_number(name: str, tmp_path: Path) -> None:
    with listening(tmp_path, "127.0.0.1", name, "sockets") as address:
        ours = connect(address, protocol=IPPROTO_MPTCP)
        ours.sendall(b"hello\n")
        assert answer(ours)["sockets"][0]["protocol"] == IPPROTO_MPTCP


@needs_mptcp
@pytest.mark.parametrize(("taken", "asked"), [(0, "mptcp"), (IPPROTO_MPTCP, "tcp"), (IPPROTO_MPTCP, "mptcp")])
def test_tcp_and_multipath_tcp_share_their_ports(taken: int, asked: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, taken) as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        files = {
            "one.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\nSocketProtocol={asked}",
            "one.service": "[Service]\nExecStart=/bin/cat",
        }
        said = refused(write_units(tmp_path, files)[0])
    assert [part for part in ("one.socket", f"{asked} 127.0.0.1:{port}", "bind", "EADDRINUSE") if part not in said] == [], said


@needs_mptcp
def test_tcp_and_multipath_tcp_on_one_port_are_found_when_loading(tmp_path: Path) -> None:
    port = free_port()
    files = {
        "tcp.socket": f"[Socket]\nListenStream=127.0.0.1:{port}",
        "tcp.service": "[Service]\nExecStart=/bin/cat",
        "multi.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\nSocketProtocol=mptcp",
        "multi.service": "[Service]\nExecStart=/bin/cat",
    }
    units = write_units(tmp_path, files)
    said = refused(units[0], units[2])
    assert "multi.socket:2" in said
    assert "tcp.socket" in said


@needs_mptcp
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network namespace")
def test_where_multipath_is_switched_off_the_message_names_the_errno_and_the_switch(tmp_path: Path) -> None:
    """In a network namespace of its own; the switch is one of the namespace, and the machine's stays as it is."""
    files = {
        "one.socket": "[Socket]\nListenStream=127.0.0.1:8080\nSocketProtocol=mptcp",
        "one.service": "[Service]\nExecStart=/bin/cat",
    }
    prefix = ["/usr/bin/unshare", "--net", *in_shell("echo 0 >/proc/sys/net/mptcp/enabled || exit 77")]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True, timeout=PATIENCE).returncode:
        pytest.skip("this machine allows no network namespace with a net.mptcp.enabled of its own")
    said = refused(write_units(tmp_path, files)[0], prefix=prefix)
    wanted = ("one.socket", "mptcp 127.0.0.1:8080", "socket", "ENOPROTOOPT", "net.mptcp.enabled")
    assert [part for part in wanted if part not in said] == [], said


def test_what_cannot_speak_multipath_is_refused_when_loading_with_the_place_and_a_way_out(tmp_path: Path) -> None:
    """The classic: Multipath TCP with UDP, where systemd would silently open plain UDP."""
    files = {
        "one.socket": "[Socket]\nListenDatagram=127.0.0.1:8080\nSocketProtocol=mptcp",
        "one.service": "[Service]\nExecStart=/bin/cat",
    }
    said = refused(write_units(tmp_path, files)[0])
    assert "one.socket:3:16: error" in said
    assert "ListenStream=" in said


def test_a_kernel_without_multipath_says_so(tmp_path: Path) -> None:
    if not lacking():
        pytest.skip("this kernel has Multipath TCP")
    files = {
        "one.socket": f"[Socket]\nListenStream=127.0.0.1:{free_port()}\nSocketProtocol=mptcp",
        "one.service": "[Service]\nExecStart=/bin/cat",
    }
    said = refused(write_units(tmp_path, files)[0])
    assert any(errno.errorcode[number] in said for number in (errno.EINVAL, errno.EPROTONOSUPPORT, errno.ENOPROTOOPT)), said
