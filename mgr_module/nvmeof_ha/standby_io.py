"""A standby mgr's way to RADOS and the mons: ceph-mgr gives its standby modules none, in no release.

So they use a client of their own, under the mgr's name and with its key and caps, configured as the mgr itself is.
Promises: no call here waits; an answer arrives as an item of the caller's queue.  A connection is given up after
``CONNECT_S``, a command to the mons after ``MON_S``; what waits for an OSD keeps one thread at most for each group.
"""

from __future__ import annotations

import errno
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

import rados

from .objects import LongEnded, Place, RadosFailed
from .rados_ops import RadosIo

CONNECT_S = 5
MON_S = 5

_TAKEN_FROM_THE_MGR = ("fsid", "mon_host", "mon_dns_srv_name", "keyring", "keyfile", "key", "auth_cluster_required",
                       "auth_service_required", "auth_client_required", "ms_cluster_mode", "ms_client_mode",
                       "ms_mon_client_mode")

AsksEnded = Callable[[int, List[bytes]], None]
"""Gets 0 or a negative errno, and what those answered that did."""


def client_options(of_mgr: Callable[[str], Any]) -> Dict[str, str]:
    """Options of a client that reaches the cluster as the mgr does; ``of_mgr``: the value of one of the mgr's.

    Its ceph.conf is not read again: the mgr's command line says which it was, and what of it was overruled.
    """
    known = {name: str(of_mgr(name) or "") for name in _TAKEN_FROM_THE_MGR}
    return {**{name: value for name, value in known.items() if value},
            "client_mount_timeout": str(CONNECT_S), "rados_mon_op_timeout": str(MON_S),
            "ms_async_op_threads": "1", "admin_socket": ""}


class Connection:
    """One RADOS client.  ``open`` it, again if that failed; ``close`` it in any case."""

    def __init__(self, name: str, options: Dict[str, str]) -> None:
        """``name``: of the cephx user."""
        self._name, self._options = name, options
        self._in_use = threading.Lock()
        self._closed = False
        self.client: Optional[rados.Rados] = None

    def open(self, ended: LongEnded) -> None:
        """This connection once it stands, or ``RadosFailed``; ``ended`` is called on another thread."""
        def run() -> None:
            with self._in_use:
                result = self._open()
            ended(result)
        threading.Thread(target=run, name="nvmeof_ha.connect", daemon=True).start()

    def _open(self) -> Any:
        if self._closed:
            return RadosFailed("the connection was given back")
        try:
            client = rados.Rados(name=self._name, conf=self._options)
            client.connect()
        except rados.Error as error:
            return RadosFailed(f"no connection to the cluster as {self._name}: {error}")
        self.client = client
        return self

    def send_command(self, result: Any, _service: str, _id: str, command: str, _tag: str) -> None:
        """A command to the mons, as ``MonCommands`` has it sent: it waits for the answer, in that one's thread."""
        with self._in_use:
            code, output, text = self._ask(command)
        result.complete(code, output.decode(errors="replace"), text)

    def _ask(self, command: str) -> Tuple[int, bytes, str]:
        if self.client is None or self._closed:
            return -errno.ESHUTDOWN, b"", "the connection was given back"
        try:
            return self.client.mon_command(command, b"")
        except rados.Error as error:
            return -abs(error.errno or errno.EIO), b"", str(error)

    def close(self) -> None:
        """Waits for the call that is under way: a client that is torn down under one takes the whole mgr with it."""
        with self._in_use:
            self._closed = True
            if self.client is not None:
                self.client.shutdown()


class StandbyIo(RadosIo):
    """Besides, a notification whose answers are wanted."""

    def ask(self, place: Place, name: str, text: str, timeout_ms: int, ended: AsksEnded) -> None:
        """``ended`` once every watcher has answered, or after the timeout."""
        put, answers = self._put, []

        def told(completion: Any, _code: Any, acks: Any, _timeouts: Any) -> None:
            answers.append(acks)
            put(completion)
        self._send(lambda: place.aio_notify(name, told, text, timeout_ms), (told,),
                   lambda code: ended(code, [payload for _, _, payload in (answers and answers[0]) or () if payload]))
