"""The service behind the sockets of sctp_checks.py: it answers with what it sees of the socket it was activated with.

So a check needs no second channel to look into the service.  Standard library only, and little of it: it may run under
emulation.
"""

from __future__ import annotations

import json
import os
import select
import socket

IPPROTO_SCTP = 132
SCTP_NODELAY = 3


def description(listener: socket.socket) -> dict[str, int]:
    protocol = listener.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)
    nodelay = listener.getsockopt(IPPROTO_SCTP, SCTP_NODELAY) if protocol == IPPROTO_SCTP else 0
    return {"family": listener.family, "type": listener.type, "protocol": protocol, "nodelay": nodelay, "pid": os.getpid()}


def answer(listener: socket.socket) -> None:
    if listener.type == socket.SOCK_SEQPACKET:
        message, _, _, peer = listener.recvmsg(4096)
        listener.sendto(reply(listener, message), peer)
    else:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(reply(listener, connection.recv(4096)))


def reply(listener: socket.socket, message: bytes) -> bytes:
    return json.dumps({"echo": message.decode(), **description(listener)}).encode()


def main() -> None:
    listeners = [socket.socket(fileno=3 + index) for index in range(int(os.environ["LISTEN_FDS"]))]
    while True:
        for listener in select.select(listeners, [], [])[0]:
            answer(listener)


if __name__ == "__main__":
    main()
