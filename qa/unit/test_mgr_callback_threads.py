"""Where Python cannot keep a thread, callbacks go on without it; that it can is shown by real threads of librados'
(``integration``)."""

from __future__ import annotations

import ctypes
import sys

import pytest

from nvmeof_ha import callback_threads


@pytest.mark.parametrize("missing", ["ctypes", "the call"])
def test_without_the_call_nothing_is_kept_and_nothing_fails(monkeypatch, missing):
    if missing == "ctypes":
        monkeypatch.setitem(sys.modules, "ctypes", None)
    else:
        monkeypatch.setattr(ctypes, "pythonapi", object())
    monkeypatch.setattr(callback_threads, "_ensure", callback_threads._found())
    monkeypatch.setattr(callback_threads, "_KEPT", set())
    callback_threads.keep_this()


def test_a_thread_is_kept_once(monkeypatch):
    calls = []
    monkeypatch.setattr(callback_threads, "_ensure", lambda: calls.append(1))
    monkeypatch.setattr(callback_threads, "_KEPT", set())
    for _ in range(3):
        callback_threads.keep_this()
    assert calls == [1]
