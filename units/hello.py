"""The sample service: answers HTTP with what it knows of the connection, and ends when nobody has called for a while.

It needs nothing but Python. `sockact.listen_fds()` would spare it the first lines; it reads LISTEN_FDS itself to show that a
service has to know nothing of sockact.
"""

import os
import select
import socket

IPPROTO_MPTCP = 262
IDLE_SECONDS = 10.0


def tell(message: str) -> None:
    """Say something to the supervisor (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(address.replace("@", "\0", 1))
            channel.send(message.encode())


def answer(connection: socket.socket) -> None:
    """One request, one answer."""
    connection.settimeout(IDLE_SECONDS)
    connection.recv(65536)
    protocol = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)
    spoken = "Multipath TCP" if protocol == IPPROTO_MPTCP else "TCP"
    body = f"Hello over {spoken} from process {os.getpid()}!\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    connection.sendall((head + body).encode())


def main() -> None:
    listeners = [socket.socket(fileno=fd) for fd in range(3, 3 + int(os.environ["LISTEN_FDS"]))]
    tell("READY=1\nSTATUS=waiting for requests")
    while ready := select.select(listeners, [], [], IDLE_SECONDS)[0]:
        for listener in ready:
            connection, _ = listener.accept()
            with connection:
                answer(connection)
    tell("STOPPING=1")


if __name__ == "__main__":
    main()
