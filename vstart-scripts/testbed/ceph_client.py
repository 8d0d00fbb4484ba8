"""Questions to mons and mgr over one connection, for who asks again and again.

A `ceph` process takes half a second of processor time to start; a cluster that is started beside such questions waits for
them.  For who breaks mons, `Cluster.ceph` is better: a connection to a mon that falls silent is given up after 30 s only.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Tuple

import rados

LIMIT_S = 60
ADMIN = 'client.admin'


class CommandFailed(RuntimeError):
    """A command ended with an error, or (`rc` None) gave no answer in time."""

    def __init__(self, argv: List[str], rc: Optional[int], stdout: str, stderr: str) -> None:
        outcome = 'gave no answer in time' if rc is None else f'ended with {rc}'
        super().__init__(f'`{" ".join(argv)}` {outcome}: {stderr.strip() or stdout.strip() or "(no output)"}')
        self.argv = argv
        self.rc = rc
        self.stdout = stdout
        self.stderr = stderr


class CephClient:
    """A connection as client.admin; see `connected`.  Methods give the answer, or raise CommandFailed."""

    def __init__(self, client: rados.Rados) -> None:
        self._client = client

    def mon(self, prefix: str, **arguments: Any) -> str:
        command = {'prefix': prefix, **arguments}
        return _answer(command, self._client.mon_command(json.dumps(command), b''))

    def mon_json(self, prefix: str, **arguments: Any) -> Any:
        return json.loads(self.mon(prefix, format='json', **arguments))

    def mgr(self, prefix: str, **arguments: Any) -> str:
        """A command of a mgr module."""
        command = {'prefix': prefix, 'target': ['mon-mgr', ''], **arguments}
        return _answer(command, self._client.mgr_command(json.dumps(command), b''))


@contextmanager
def connected(conf: os.PathLike) -> Iterator[CephClient]:
    """Raises CommandFailed when no mon answers."""
    client = rados.Rados(name=ADMIN, conffile=os.fspath(conf), conf={'client_mount_timeout': str(LIMIT_S), 'rados_mon_op_timeout': str(LIMIT_S)})
    try:
        try:
            client.connect()
        except rados.Error as error:
            raise CommandFailed(['connect'], None, '', str(error)) from error
        yield CephClient(client)
    finally:
        client.shutdown()


def _answer(command: Dict[str, Any], answer: Tuple[int, bytes, str]) -> str:
    code, output, text = answer
    if code:
        raise CommandFailed([str(word) for word in command.values()], abs(code), output.decode(errors='replace'), text)
    return output.decode()
