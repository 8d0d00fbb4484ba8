"""Requests to the agent inside a guest, over a virtio-serial port that QEMU shows as a Unix socket.

Independent of the guest's network. Any number of processes and threads may send requests to one guest: each request has
the channel to itself for its few milliseconds (a file lock next to the socket). The protocol is in guest_agent.c.
"""

from __future__ import annotations

import base64
import fcntl
import socket
import time
import uuid
from pathlib import Path


class ChannelError(Exception):
    """The guest did not answer, or answered that it could not do what was asked."""


def pack(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Channel:
    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path

    def request(self, operation: str, *arguments: str, timeout_s: float = 30) -> list[str]:
        """The words of the answer. Raises ChannelError."""
        try:
            with open(f"{self.socket_path}.lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                words = self.exchange(operation, arguments, timeout_s)
        except OSError as error:
            raise ChannelError(f"no answer to {operation} on {self.socket_path} (limit {timeout_s:g} s): {error}") from error
        if words[:1] == ["ERROR"]:
            raise ChannelError(f"the guest refused {operation}: {base64.b64decode(words[1]).decode()}")
        return words

    def exchange(self, operation: str, arguments: tuple[str, ...], timeout_s: float) -> list[str]:
        name = uuid.uuid4().hex[:12]
        deadline = time.monotonic() + timeout_s
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(self.socket_path))
            # The empty line ends whatever an earlier client that died left unfinished.
            connection.sendall(f"\n{' '.join((operation, name, *arguments))}\n".encode())
            received = bytearray()
            while True:
                end = received.find(b"\n")
                if end >= 0:
                    words = bytes(received[:end]).decode().split(" ")
                    del received[:end + 1]
                    if words[0] == name:    # else an answer that an earlier client did not wait for
                        return words[1:]
                    continue
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                piece = connection.recv(1 << 16)
                if not piece:
                    raise ConnectionError("the guest has gone")
                received += piece
