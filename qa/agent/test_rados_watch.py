"""Watches on a real cluster, in a process of their own: what they do wrong ends it with a signal."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

PROGRAM = """
import gc, sys
import rados
from gw_agent import rados_watch

class Holder:
    def __init__(self, ioctx):
        self.heard = []
        self.watch = rados_watch.begin(ioctx, 'watched', self.hear)

    def hear(self, notify_id, notifier_id, watch_id, data):
        self.heard.append(data)
        return b'answer'

    def end_and_fail(self):
        rados_watch.check(self.watch)
        rados_watch.end(self.watch)
        raise RuntimeError

client = rados.Rados(conffile=sys.argv[1], name='client.admin')
client.connect()
ioctx = client.open_ioctx('rbd')
ioctx.write_full('watched', b'')
gc.disable()
for number in range(10):
    holder = Holder(ioctx)
    ioctx.notify('watched', str(number))
    assert holder.heard == [str(number).encode()]
    try:
        holder.end_and_fail()
    except RuntimeError as error:
        holder.error = error   # whose traceback has the frame that has the holder
    del holder
assert gc.collect() > 10
assert not rados_watch._watches
client.shutdown()
print('survived')
"""


def test_a_holder_in_a_cycle_is_collected_and_the_process_survives(cluster):
    done = subprocess.run([sys.executable, '-X', 'faulthandler', '-c', PROGRAM, str(cluster.conf)], cwd=REPOSITORY,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, 'survived\n')
