"""What Python keeps of a thread that it did not start, which only a real one of librados' shows."""
from __future__ import annotations

import threading
from typing import List

import pytest
import rados

from gw_agent import rados_watch
from nvmeof_ha.callback_threads import keep_this
from testbed.cluster import ADMIN, POOL, Cluster

NOTIFIED = 40


@pytest.mark.parametrize('kept', [False, True])
def test_a_thread_of_librados_is_the_same_one_to_python_in_its_next_callback(cluster: Cluster, kept: bool):
    local, numbers = threading.local(), []   # type: threading.local, List[int]

    def heard(*_notification: object) -> bytes:
        if kept:
            keep_this()
        local.number = getattr(local, 'number', 0) + 1
        numbers.append(local.number)
        return b'ack'
    with rados.Rados(name=ADMIN, conffile=str(cluster.conf)) as client, client.open_ioctx(POOL) as ioctx:
        ioctx.write_full('watched', b'')
        watch = rados_watch.begin(ioctx, 'watched', heard)
        for _ in range(NOTIFIED):
            ioctx.notify('watched', 'beacon')
        rados_watch.end(watch)
        ioctx.remove_object('watched')
    assert len(numbers) == NOTIFIED
    assert max(numbers) > NOTIFIED / 20 if kept else max(numbers) == 1, numbers
