"""A fleet in a process of its own: told what to do by lines of JSON on standard input, answers each with one line.

``{"do": "add", "group": NAME, "gateways": [NAME, ...], "ana_groups": N}``, ``"reset"``, ``"figures"`` (since the reset),
``"unsettled"`` with ``"groups": {NAME: gateways}``, ``"end"``; the first line that it prints says that it is connected.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from statistics import median
from typing import Any, Dict, List, TypeVar

import rados

from nvmeof_ha.core.model import Subsystem
from testbed.cluster import ADMIN, POOL

from .fleet import Fleet

NAMESPACES = 8
"""In each ANA group."""
UNLIMITED = {'objecter_inflight_ops': '1000000', 'objecter_inflight_op_bytes': '4000000000'}
"""One client speaks for many: what limits one must not stall them all."""
Self = TypeVar('Self', bound='AskedProcess')


class AskedProcess:
    """The parent's side of such a process; a context manager.  The child is ``python -m MODULE ARGUMENTS``."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen([sys.executable, '-m', module, *arguments],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                         env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))})
        self.pid = self._process.pid

    def __enter__(self: Self) -> Self:
        self._answer()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.terminate()
        self._process.wait()

    def ask(self, what: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({'do': what, **arguments}) + '\n')
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f'{self._process.args} has ended with {self._process.wait()}')
        return json.loads(line)


class FleetProcess(AskedProcess):

    def __init__(self, conf: Path) -> None:
        super().__init__('bench.fleet_process', str(conf))


def figures(fleet: Fleet) -> Dict[str, Any]:
    """``ack_ms``: (median, p99, longest); ``late_s``: by how much this process was late at most."""
    ack_ms = sorted(1000 * took_s for took_s in fleet.ack_s) or [0.0]
    return {'sent': fleet.sent, 'acks': len(fleet.ack_s), 'unanswered': fleet.unanswered, 'left_out': fleet.left_out,
            'ack_ms': [median(ack_ms), ack_ms[int(0.99 * (len(ack_ms) - 1))], ack_ms[-1]], 'late_s': fleet.late_s}


def subsystems(ana_groups: int) -> tuple:
    return (Subsystem('nqn.2016-06.io.spdk:bench', ('10.0.0.9:4420',),
                      tuple((group, NAMESPACES) for group in range(1, ana_groups + 1))),)


def _carry_out(fleet: Fleet, request: Dict[str, Any]) -> Any:
    if request['do'] == 'add':
        fleet.add(request['group'], request['gateways'], subsystems(request['ana_groups']))
    elif request['do'] == 'read':
        fleet.reads = request['on']
    elif request['do'] == 'reset':
        fleet.reset()
    elif request['do'] == 'figures':
        return figures(fleet)
    elif request['do'] == 'unsettled':
        return [name for name, group in fleet.groups.items() if not group.settled(request['groups'][name])]
    elif request['do'] == 'end':
        fleet.end()
    return None


def main(arguments: List[str]) -> None:
    conf, = arguments
    with rados.Rados(name=ADMIN, conffile=conf, conf=UNLIMITED) as client:
        fleet = Fleet(client, POOL)

        def listen() -> None:
            for line in sys.stdin:
                fleet.do(lambda request=json.loads(line): print(json.dumps(_carry_out(fleet, request)), flush=True))
            fleet.do(fleet.end)
        threading.Thread(target=listen, daemon=True).start()
        print(json.dumps('connected'), flush=True)
        fleet.run()


if __name__ == '__main__':
    main(sys.argv[1:])
