"""A connection of an Accept=yes socket: the name of the instance it gets, its environment, and whom it counts for.

The grammar of instance names is systemd 262's: `NR-COOKIE-LOCAL-REMOTE`, with what each family has to tell about its ends.
"""

from __future__ import annotations

from sockact.net.addresses import escape
from sockact.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from typing import Any


class Peer(Record):
    """Both ends of a connection as the kernel reports them: `local` by getsockname(2), `remote` by getpeername(2)."""

    family: str
    local: Any
    remote: Any
    cookie: int | None
    uid: int | None = None
    pid: int | None = None
    pidfd_id: int | None = None
    scope: str = ""
    """The interface of a link-local IPv6 peer."""


MAPPED = "::ffff:"


def _ip(address: Any) -> tuple[str, int]:
    """Host without `::ffff:` before an IPv4 address, and port."""
    host, port = address[0], address[1]
    return (host[len(MAPPED) :] if host.startswith(MAPPED) and "." in host else host), port


def _internet_ends(peer: Peer) -> str:
    (local, local_port), (remote, remote_port) = _ip(peer.local), _ip(peer.remote)
    return f"{local}:{local_port}-{remote}:{remote_port}"


def _unix_ends(peer: Peer) -> str:
    if not peer.pid:
        return "unknown"
    return f"{peer.pid}{'' if peer.pidfd_id is None else f'_{peer.pidfd_id}'}-{peer.uid}"


def _vsock_ends(peer: Peer) -> str:
    (local, local_port), (remote, remote_port) = peer.local, peer.remote
    return f"{local}:{local_port}-{remote}:{remote_port}"


ENDS = {"inet": _internet_ends, "inet6": _internet_ends, "unix": _unix_ends, "vsock": _vsock_ends}


def instance(number: int, peer: Peer) -> str:
    """The instance name for the connection with this number (the first is 0)."""
    return f"{number}-{peer.cookie or 0}-{ENDS[peer.family](peer)}"


def source(peer: Peer) -> object:
    """Whom MaxConnectionsPerSource= counts: IP address, vsock context id, or user id."""
    return peer.uid if peer.family == "unix" else peer.remote[0]


def environment(peer: Peer) -> dict[str, str]:
    """REMOTE_ADDR, REMOTE_PORT and SO_COOKIE (systemd.socket(5), Accept=); an unnamed UNIX peer has no address."""
    found = {} if peer.cookie is None else {"SO_COOKIE": str(peer.cookie)}
    if peer.family == "unix":
        name = _unix_name(peer.remote)
        return {**found, "REMOTE_ADDR": name} if name else found
    if peer.family == "vsock":
        cid, port = peer.remote
        return {**found, "REMOTE_ADDR": f"vsock:{cid}", "REMOTE_PORT": str(port)}
    host, port = _ip(peer.remote)
    return {**found, "REMOTE_ADDR": f"{host}%{peer.scope}" if peer.scope else host, "REMOTE_PORT": str(port)}


def _unix_name(address: object) -> str:
    """The text of a UNIX address: bytes with a leading NUL are an abstract name."""
    if isinstance(address, bytes):
        return escape("@" + address[1:].decode(errors="surrogateescape")) if address else ""
    return escape(str(address)) if address else ""


def who(peer: Peer) -> str:
    """The peer as logs name it."""
    found = environment(peer)
    port = f" port {found['REMOTE_PORT']}" if "REMOTE_PORT" in found else ""
    return f"{found['REMOTE_ADDR']}{port}" if "REMOTE_ADDR" in found else f"pid {peer.pid}"
