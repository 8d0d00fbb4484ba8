"""Commands to mgr and mons over a connection that is there already: a `ceph` process takes half a second to start."""

from __future__ import annotations

import json
from typing import Any, Dict, List

import rados

from testbed.cluster import POOL, Cluster
from testbed.gateway import GROUP, nvme_gw_prefix


class CephCommands:
    """`client` stays the caller's.  What is refused raises RuntimeError with the refusal."""

    def __init__(self, cluster: Cluster, client: rados.Rados) -> None:
        self._prefix = nvme_gw_prefix(cluster)
        self._client = client

    def gw(self, verb: str, **arguments: Any) -> str:
        """A command of the module for the group."""
        command = {'prefix': f'{self._prefix} {verb}', 'target': ['mon-mgr', ''], 'pool': POOL, 'group': GROUP, **arguments}
        return _answer(self._client.mgr_command(json.dumps(command), b''), command)

    def group(self, verb: str) -> Dict[str, Any]:
        """What `status` or `history` say of the group."""
        group, = json.loads(self.gw(verb, format='json'))['groups']
        return group

    def mon(self, prefix: str, **arguments: Any) -> str:
        command = {'prefix': prefix, **arguments}
        return _answer(self._client.mon_command(json.dumps(command), b''), command)

    def seat_names(self) -> List[str]:
        """The objects that hold the group's map."""
        return json.loads(self.mon('config-key get', key=f'mgr/nvmeof_ha/group/{POOL}/{GROUP}'))['seats']


def _answer(answer: Any, command: Dict[str, Any]) -> str:
    code, output, text = answer
    if code:
        raise RuntimeError(f'{command} was refused: {text} ({code})')
    return output.decode()
