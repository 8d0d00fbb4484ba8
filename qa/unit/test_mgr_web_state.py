"""What the status page shows of many groups, and that it may be made with pauses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, List

from nvmeof_ha.kv_records import GroupKey
from nvmeof_ha.web_state import Shown

KEYS = [GroupKey('rbd', f'g{number}') for number in range(3)]


def groups(driver: Any) -> Any:
    return SimpleNamespace(records=SimpleNamespace(groups=lambda: KEYS), driver=lambda _key: driver)


def test_there_may_be_a_pause_after_each_group():
    pauses: List[str] = []
    told = Shown(groups(None), 'x', dict).status(lambda: pauses.append('status'))
    assert [group['group'] for group in told['groups']] == ['g0', 'g1', 'g2'] and len(pauses) == 3
    idle = SimpleNamespace(history=SimpleNamespace(records=()))
    told = Shown(groups(idle), 'x', dict).history(lambda: pauses.append('history'))
    assert [group['group'] for group in told['groups']] == ['g0', 'g1', 'g2'] and len(pauses) == 6
