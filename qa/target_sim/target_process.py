"""For tests: a target process, the stand-in or a real nvmf_tgt, and a plain JSON-RPC client for it.

Every process gets a socket in a directory of its own, and is killed at the end whatever a test did to it.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Optional

START_LIMIT_S = 60.0
ANSWER_LIMIT_S = 60.0
FLAGS = ("--no-huge", "-s", "512", "--no-pci", "-m", "0x1", "--interrupt-mode", "--disable-cpumask-locks")


class RpcFailure(AssertionError):
    """The target answered with an error."""

    def __init__(self, method: str, error: dict) -> None:
        super().__init__(f"{method}: {error}")
        self.error = error


def wait_for(condition: Callable[[], Any], what: str, limit_s: float = ANSWER_LIMIT_S) -> Any:
    """The first true value of `condition`; fails the test when it takes longer than the (generous) limit."""
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit_s:g} s in vain for {what}")
        time.sleep(0.01)


class RpcClient:
    """One connection. Answers are matched by id; `call` raises RpcFailure."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(ANSWER_LIMIT_S)
        self.socket.connect(str(path))
        self._ids = itertools.count(1)
        self._received = b""
        self._answers: dict[Any, dict] = {}

    def send(self, method: str, **params: Any) -> int:
        """Returns the id; `answer` waits for it."""
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method}
        if params:
            request["params"] = params
        self.socket.sendall(json.dumps(request).encode())
        return request["id"]

    def send_many(self, calls: list[tuple[str, dict]]) -> list[int]:
        """All in one write."""
        requests = [
            {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params} for method, params in calls
        ]
        self.socket.sendall("".join(map(json.dumps, requests)).encode())
        return [request["id"] for request in requests]

    def answer(self, identifier: int) -> dict:
        while identifier not in self._answers:
            self._read()
        return self._answers.pop(identifier)

    def _read(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionResetError("the target closed the RPC connection")
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            self._answers[answer["id"]] = answer

    def is_answered(self, identifier: int) -> bool:
        """Without waiting."""
        self.socket.setblocking(False)
        try:
            self._read()
        except BlockingIOError:
            pass
        finally:
            self.socket.settimeout(ANSWER_LIMIT_S)
        return identifier in self._answers

    def call(self, method: str, **params: Any) -> Any:
        answer = self.answer(self.send(method, **params))
        if "error" in answer:
            raise RpcFailure(method, answer["error"])
        return answer["result"]

    def close(self) -> None:
        self.socket.close()


class TargetProcess:
    def __init__(self, binary: Path, directory: Path, *extra: str, environment: Optional[dict] = None) -> None:
        self.socket_path = directory / "rpc.sock"
        self.log_path = directory / "target.log"
        self._client: Optional[RpcClient] = None
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(binary), *FLAGS, "-r", str(self.socket_path), *extra],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )

    def wait_ready(self) -> TargetProcess:
        """Until RPCs are answered (the framework may still wait for framework_start_init)."""
        wait_for(
            self._is_ready,
            f"the target's RPC socket {self.socket_path}; its log: {self.log_path.read_text()[-2000:]}",
            START_LIMIT_S,
        )
        return self

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(
                f"the target ended with {self.process.returncode}: {self.log_path.read_text()[-2000:]}"
            )
        try:
            self.rpc("spdk_get_version")
        except OSError:
            self._client = None
            return False
        return True

    def client(self) -> RpcClient:
        """A connection of its own."""
        return RpcClient(self.socket_path)

    def rpc(self, method: str, **params: Any) -> Any:
        """Over one connection kept for this. Raises RpcFailure."""
        if self._client is None:
            self._client = self.client()
        return self._client.call(method, **params)

    def log_tails(self) -> str:
        return self.log_path.read_text()[-4000:]

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        trace = Path(f"/dev/shm/nvmf_trace.pid{self.process.pid}")
        if trace.exists():
            trace.unlink()

    def __enter__(self) -> TargetProcess:
        return self.wait_ready()

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def listen_address(port: int, address: str = "127.0.0.1") -> dict:
    return {"trtype": "TCP", "adrfam": "IPv4", "traddr": address, "trsvcid": str(port)}
