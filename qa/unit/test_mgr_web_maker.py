"""One thread makes what the server's many send."""

from __future__ import annotations

import threading
from typing import List

from nvmeof_ha.web_maker import Closed, Maker
from testbed.waiting import wait_until


def test_closing_waits_for_what_is_being_made_and_for_nothing_else():
    maker, begun, go_on = Maker(), threading.Event(), threading.Event()
    maker.open()
    maker.open()
    made: List[str] = []

    def make(text: str) -> None:
        begun.set()
        go_on.wait(20)
        made.append(text)

    def ask(text: str) -> None:
        try:
            maker.made(lambda _pause: make(text))
        except Closed:
            made.append(f'not {text}')
    threads = [threading.Thread(target=ask, args=('first',)), threading.Thread(target=ask, args=('second',)),
               threading.Thread(target=maker.close)]
    threads[0].start()
    assert begun.wait(20)
    threads[1].start()
    threads[2].start()
    wait_until(lambda: maker._thread is None, 20, 'the maker to be closing')
    assert threads[2].is_alive()
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert sorted(made) == ['first', 'not second']
