"""Asks the mons whether a fence is where the map says: each address on the blocklist of exactly that OSD map."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Set, Tuple

import rados

from testbed.cluster import ADMIN, Cluster

ANSWER_S = 30


class FenceCheck:
    """Remembers what it has asked; a context manager that gives its client back."""

    def __init__(self, cluster: Cluster) -> None:
        self._client = rados.Rados(name=ADMIN, conffile=str(cluster.conf))
        self._client.connect(timeout=ANSWER_S)
        self._asked: Set[Any] = set()
        self.checked = 0

    def close(self) -> None:
        self._client.shutdown()

    def problems(self, fenced: Dict[Any, Tuple[int, Any]]) -> List[str]:
        """`fenced`: by instance, the osd_epoch and the addresses. An OSD map that the mons have no more is no answer."""
        found = []
        for instance, (osd_epoch, addresses) in fenced.items():
            if instance in self._asked:
                continue
            self._asked.add(instance)
            listed = self._blocklist(osd_epoch)
            if listed is None:
                continue
            self.checked += 1
            missing = sorted(set(addresses) - listed)
            if missing or not addresses:
                found.append(f'{instance} is fenced at osd_epoch {osd_epoch}, says the map; on the blocklist of that OSD '
                             f'map there is no {", ".join(missing) or "address"}')
        return found

    def _blocklist(self, osd_epoch: int) -> Any:
        command = {'prefix': 'osd dump', 'epoch': osd_epoch, 'format': 'json'}
        code, output, _text = self._client.mon_command(json.dumps(command), b'', timeout=ANSWER_S)
        if code:
            return None
        return set(json.loads(output)['blocklist'])
