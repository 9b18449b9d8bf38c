"""Connections of Accept=yes sockets: the names of instances, REMOTE_ADDR and its like, and whom a connection counts for."""

from __future__ import annotations

import pytest

from sockact.lifecycle.connection import Peer, environment, instance, source
from sockact.unit.values import is_unit_name

V4 = Peer("inet", ("127.0.0.1", 2101), ("127.0.0.1", 52486), 4108)
V6 = Peer("inet6", ("::1", 2102, 0, 0), ("::1", 47162, 0, 0), 8)
MAPPED = Peer("inet6", ("::ffff:127.0.0.1", 2101, 0, 0), ("::ffff:127.0.0.1", 52486, 0, 0), 4108)
UNIX = Peer("unix", "/run/web.sock", "", 6, uid=1000, pid=60, pidfd_id=4711)
VSOCK = Peer("vsock", (3, 80), (2, 1025), 9)


@pytest.mark.parametrize(
    ("number", "peer", "name"),
    [
        (0, V4, "0-4108-127.0.0.1:2101-127.0.0.1:52486"),
        (0, V6, "0-8-::1:2102-::1:47162"),
        (0, MAPPED, "0-4108-127.0.0.1:2101-127.0.0.1:52486"),
        (0, UNIX, "0-6-60_4711-1000"),
        (0, UNIX.replace(pidfd_id=None), "0-6-60-1000"),
        (0, UNIX.replace(uid=0), "0-6-60_4711-0"),
        (5, UNIX.replace(pid=0, uid=65534), "5-6-unknown"),
        (5, UNIX.replace(pid=None, uid=None), "5-6-unknown"),
        (17, VSOCK, "17-9-3:80-2:1025"),
        (3, V6.replace(local=("2001:db8::1", 80, 0, 0), remote=("fe80::2", 9, 0, 3)), "3-8-2001:db8::1:80-fe80::2:9"),
    ],
)
def test_an_instance_is_named_by_number_cookie_and_both_ends(number: int, peer: Peer, name: str) -> None:
    assert instance(number, peer) == name


@pytest.mark.parametrize("peer", [V4, V6, MAPPED, UNIX, VSOCK], ids=lambda peer: peer.family)
def test_the_name_of_an_instance_makes_a_valid_unit_name(peer: Peer) -> None:
    assert is_unit_name(f"web@{instance(0, peer)}.service", "service")


@pytest.mark.parametrize(
    ("peer", "variables"),
    [
        (V4, {"REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "52486", "SO_COOKIE": "4108"}),
        (V6, {"REMOTE_ADDR": "::1", "REMOTE_PORT": "47162", "SO_COOKIE": "8"}),
        (MAPPED, {"REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "52486", "SO_COOKIE": "4108"}),
        (VSOCK, {"REMOTE_ADDR": "vsock:2", "REMOTE_PORT": "1025", "SO_COOKIE": "9"}),
        (UNIX, {"SO_COOKIE": "6"}),
        (UNIX.replace(remote=None), {"SO_COOKIE": "6"}),
        (UNIX.replace(remote="/run/client.sock"), {"REMOTE_ADDR": "/run/client.sock", "SO_COOKIE": "6"}),
        (UNIX.replace(remote=b"\0client"), {"REMOTE_ADDR": "@client", "SO_COOKIE": "6"}),
        (UNIX.replace(remote=b'\0a\0\n\xff"'), {"REMOTE_ADDR": '@a\\000\\n\\377\\"', "SO_COOKIE": "6"}),
        (UNIX.replace(remote=b"\0\0\0\0"), {"REMOTE_ADDR": "@\\000\\000\\000", "SO_COOKIE": "6"}),
        (UNIX.replace(remote="\n"), {"REMOTE_ADDR": "\\n", "SO_COOKIE": "6"}),
    ],
)
def test_a_service_is_told_who_calls(peer: Peer, variables: dict[str, str]) -> None:
    assert environment(peer) == variables


def test_an_address_that_only_looks_like_an_embedded_one_stays_as_it_is() -> None:
    peer = V6.replace(remote=("::ffff:0:1", 5, 0, 0))
    assert environment(peer)["REMOTE_ADDR"] == "::ffff:0:1"


def test_connections_count_for_an_address_a_context_or_a_user() -> None:
    assert source(V4) == source(V4.replace(remote=("127.0.0.1", 9)))
    assert source(V4) != source(V4.replace(remote=("127.0.0.2", 52486)))
    assert source(V4) != source(MAPPED), "as in systemd, an embedded address is another one"
    assert source(UNIX) == source(UNIX.replace(pid=61, remote="/x")) == 1000
    assert source(UNIX) != source(UNIX.replace(uid=0))
    assert source(VSOCK) == source(VSOCK.replace(remote=(2, 7))) == 2
